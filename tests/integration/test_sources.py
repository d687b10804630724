"""Repositories that mean harm or are broken: every deployment of one ends, in time, with a code and a sentence."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
GIBIBYTE = 2**30


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def victim(api: Deployments) -> str:
    """An app that serves; its repository turns bad afterwards."""
    api.create("victim", server("good"))
    api.healthy("victim")
    return "victim"


def git(api: Deployments, app: str, *arguments: str, text: str = "") -> str:
    argv = ["git", "-C", api.machine.repositories.path(app), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    return api.machine.run([*argv, *arguments], input=text).stdout.strip()


def commit_of(api: Deployments, app: str, *entries: str) -> None:
    """A commit on main with these `mode type object<TAB>name` entries beside an index.html."""
    blob = git(api, app, "hash-object", "-w", "--stdin", text="page")
    tree = git(api, app, "mktree", "--missing", text="\n".join([f"100644 blob {blob}\tindex.html", *entries]) + "\n")
    git(api, app, "update-ref", "refs/heads/main", git(api, app, "commit-tree", "-m", "bad", tree))


def refused(api: Deployments, app: str, code: str, *says: str, **asked: str) -> None:
    """The deployment failed with that code and those words, and what served before still does."""
    about = api.failed(app, **asked)
    assert about["error_code"] == code, about
    for words in says:
        assert words in about["last_error"]
    assert words_of_the_log(api, app, about["id"]).count(code) >= 1
    assert api.get(app).body == "good"
    api.machine.wait_for(lambda: len(api.slugs(app)) == 1, 20, "what was fetched to be gone")


def words_of_the_log(api: Deployments, app: str, deployment: str) -> str:
    return api.machine.wait_for(lambda: api.logs(app, deployment), 5, "the log")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../../etc/passwd", "/var/lib/rustploy/agent/rustploy.db"]
)
def test_a_link_out_of_the_tree_is_refused_and_reveals_nothing(api: Deployments, victim: str, target: str) -> None:
    """Served by the app, it would hand out files of the host."""
    blob = git(api, victim, "hash-object", "-w", "--stdin", text=target)
    commit_of(api, victim, f"120000 blob {blob}\tpasswd")
    refused(api, victim, "unsafe_symlink", "passwd", target)


def test_a_submodule_is_refused_by_name(api: Deployments, victim: str) -> None:
    commit_of(api, victim, f"160000 commit {'1' * 40}\tvendored")
    refused(api, victim, "unsupported_submodule", "vendored is a git submodule")


def test_a_branch_that_does_not_exist_is_named(api: Deployments, victim: str) -> None:
    refused(api, victim, "ref_not_found", "nowhere", source_ref="nowhere")
    refused(api, victim, "commit_not_found", "0123456789", commit_sha="0123456789" * 4)


def test_a_hook_in_a_repository_never_runs(api: Deployments) -> None:
    """git runs hooks of the repository it works in; the fetch must never take a foreign one for its own."""
    api.create("hooked", server("good"))
    api.healthy("hooked")
    mirror = "/var/lib/rustploy/apps/hooked/mirror/repository.git"
    for hooks in (f"{api.machine.repositories.path('hooked')}/.git/hooks", f"{mirror}/hooks"):
        for hook in (
            "post-checkout",
            "post-index-change",
            "reference-transaction",
            "pre-auto-gc",
            "fsmonitor-watchman",
        ):
            api.machine.write(f"{hooks}/{hook}", "#!/bin/sh\ntouch /tmp/hooked /var/tmp/hooked\nexit 1\n", 0o755)
    found = api.machine.run(["find", "/tmp", "/var/tmp", mirror, "-name", "hooked"]).stdout
    git(api, "hooked", "-c", "core.hooksPath=/dev/null", "commit", "--allow-empty", "-m", "again")
    api.healthy("hooked")
    assert api.machine.run(["find", "/tmp", "/var/tmp", mirror, "-name", "hooked"]).stdout == found == ""


def test_a_gigabyte_file_is_refused_before_it_is_on_the_disk(api: Deployments, victim: str) -> None:
    """A gigabyte of zeros is a megabyte in git."""
    path = api.machine.repositories.path(victim)
    git(api, victim, "config", "core.bigFileThreshold", "16m")
    git(api, victim, "config", "core.compression", "1")
    api.machine.run(["truncate", f"--size={GIBIBYTE}", f"{path}/zeros"])
    blob = git(api, victim, "hash-object", "-w", "zeros")
    api.machine.run(["rm", f"{path}/zeros"])
    commit_of(api, victim, f"100644 blob {blob}\tzeros")
    refused(api, victim, "repository_too_large", "512 MiB", "zeros")
    used = api.machine.run(["du", "--summarize", "--bytes", f"/var/lib/rustploy/apps/{victim}"]).stdout.split()[0]
    assert int(used) < GIBIBYTE // 8


def test_a_host_that_hangs_ends_at_the_deadline(api: Deployments) -> None:
    """One silent host must not hold a place in the queue for ever."""
    quick = {"timeouts": {"fetch_seconds": 3}, "attempts": 1}
    settings = helpers.quick_settings(api.machine, deployments=quick)
    before = helpers.replace_settings(api.machine, settings)
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/x.git"
            repository = {"provider": "git", "owner": "tests", "name": "hanging", "clone_url": url}
            begun = time.monotonic()
            answer = api.machine.http("POST", "/api/v1/apps/import", {"repository": repository, "name": "hanging"})
            taken = time.monotonic() - begun
        assert answer.status >= 400, answer.body
        assert "hunter2" not in str(answer.body)
        assert taken < 20
        journal = api.machine.journal("_SYSTEMD_UNIT=rustploy-fetch@hanging.service")
        assert "hunter2" not in str(journal)
        assert any("fetch_timeout" in entry["MESSAGE"] for entry in journal)
    finally:
        helpers.restore_settings(api.machine, before)
        api.machine.http("DELETE", "/api/v1/apps/hanging", timeout=120)


def test_lines_of_the_fetch_carry_the_fields_operators_select_by(api: Deployments, victim: str) -> None:
    deployment = api.failed(victim, source_ref="nowhere")["id"]
    entries = api.machine.journal(f"RUSTPLOY_DEPLOYMENT={deployment}", f"_SYSTEMD_UNIT=rustploy-fetch@{victim}.service")
    assert entries
    for entry in entries:
        assert (entry["RUSTPLOY_APP"], entry["RUSTPLOY_STEP"]) == (victim, "fetch")


def test_a_mirror_that_a_power_cut_ruined_is_fetched_anew(api: Deployments) -> None:
    api.create("ruined", server("good"))
    api.healthy("ruined")
    mirror = "/var/lib/rustploy/apps/ruined/mirror/repository.git"
    for file in ("HEAD", "shallow", "shallow.lock"):
        api.machine.run(["truncate", "--size=0", f"{mirror}/{file}"])
    api.commit("ruined", {"version.txt": "better"})
    api.healthy("ruined")
    assert api.get("ruined").body == "better"
