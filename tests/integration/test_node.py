"""Node repositories as other people have them, deployed unedited on a host that has node and no npm."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments
from tests.integration.test_buildpacks import again, deployed, sample
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
#: Package managers and frameworks that are tried in the long run only: each installs a lot.
full = pytest.mark.skipif(os.environ.get("CI_FULL") != "1", reason="CI_FULL=1 tries them all")


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.patient_deployments(session_machine)


def answer(api: Deployments, app: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(api.get(app).body)
    return told


def test_npm_start_in_a_procfile_works_without_npm_and_stays_out_of_memory(api: Deployments) -> None:
    log = deployed(api, "procfile", sample("node-procfile"))
    assert "from the package index" in log
    told = answer(api, "procfile")
    assert told["node"].startswith("v22.")
    assert (told["version"], told["arguments"], told["odd"]) == ("1.2.3", ["--flag"], True)
    # npm would be a second node, which calls itself `npm start`; the launcher and the command's shell are no programs.
    running = api.machine.run(["ps", "-o", "comm=", "-u", "rp-procfile"]).stdout.split()
    assert set(running) <= {"launch", "sh", "node"} and running.count("node") == 1, running
    log = again(api, "procfile", {"note.txt": "x"})
    assert "sharing node_modules" in log
    assert "fetching node" not in log
    assert "fetching npm" not in log


def test_a_hook_of_developers_does_not_end_the_build(api: Deployments) -> None:
    """`prepare: husky` is in every second repository; husky is a development package."""
    deployed(api, "husky", sample("node-husky"))
    assert answer(api, "husky")["odd"] is True
    modules = api.machine.run(["sh", "-c", "ls /var/lib/rustploy/apps/husky/slugs/*/app/node_modules"]).stdout
    assert "husky" not in modules


def test_a_start_command_keeps_the_development_package_that_it_is(api: Deployments) -> None:
    deployed(api, "nodemon", sample("node-nodemon"))
    assert answer(api, "nodemon")["odd"] is True


def test_an_old_node_is_fetched_with_the_npm_of_its_time(api: Deployments) -> None:
    log = deployed(api, "old", sample("node-old"))
    assert "npm 6" in log
    assert "removing development packages" in log
    assert answer(api, "old")["node"].startswith("v12.")


def test_pnpm_installs_and_starts_what_its_lock_file_says(api: Deployments) -> None:
    log = deployed(api, "pnpm", sample("node-pnpm"))
    assert "pnpm@9.15.9" in log
    assert answer(api, "pnpm")["arguments"] == ["--flag"]


@full
@pytest.mark.parametrize("name", ["yarn", "berry"])
def test_yarn_of_both_kinds_installs_and_starts(api: Deployments, name: str) -> None:
    deployed(api, name, sample(f"node-{name}"))
    assert (answer(api, name)["arguments"], answer(api, name)["odd"]) == (["--flag"], True)
    assert answer(api, name)["version"] == "1.2.3"


@full
@pytest.mark.parametrize("name", ["next", "vite"])
def test_frameworks_build_and_answer_as_in_production(api: Deployments, name: str) -> None:
    """`vite preview` refuses the app's public name; Next's standalone build has no start command of its own."""
    log = deployed(api, name, sample(f"node-{name}"))
    assert ("serving dist" if name == "vite" else ".next/standalone/server.js") in log
    assert f"{name} sample answers" in api.get(name).body
    assert f"{name} sample answers" in api.visit(name).body


def test_a_lock_file_that_is_out_of_step_is_the_reason_and_no_usage_text(api: Deployments) -> None:
    lock = sample("node-deps")["package-lock.json"].replace('"3.0.1"', '"3.0.0"')
    api.create("step", sample("node-deps") | {"package-lock.json": lock})
    about = api.wait("step", api.start("step"), 120)
    assert about["error_code"] == "build_failed"
    assert "in sync" in about["last_error"]
    assert "Usage" not in about["last_error"]


def test_two_lock_files_are_refused_before_anything_is_installed(api: Deployments) -> None:
    api.create("two", sample("node-deps") | {"yarn.lock": "# yarn lockfile v1\n"})
    about = api.wait("two", api.start("two"), 60)
    assert "two lock files: yarn.lock and package-lock.json" in about["last_error"]
    assert "installing" not in api.logs("two", about["id"])


def test_a_single_page_app_answers_its_own_paths_and_pages_without_html(api: Deployments) -> None:
    package = '{"scripts": {"start": "vite", "build": "make -s dist"}, "dependencies": {}}'
    files = {"site/index.html": "home", "site/about.html": "about", "Makefile": "dist:\n\tcp -r site dist\n"}
    deployed(api, "pages", {"package.json": package} | files)
    assert api.get("pages").body == "home"
    assert api.get("pages", "/about").body == "about"
    assert api.get("pages", "/missing").status == 404


def test_nothing_to_start_is_told_before_anything_is_installed(api: Deployments) -> None:
    api.create("nothing", {"package.json": '{"main": "gone.js", "dependencies": {"is-odd": "3.0.1"}}'})
    about = api.wait("nothing", api.start("nothing"), 60)
    assert 'add a "start" script' in about["last_error"]
    assert "installing" not in api.logs("nothing", about["id"])
