"""POST /apps/import: the one way a repository comes in."""

from __future__ import annotations

import json
import threading

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import App
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.manager import Manager


def fields(answer: object) -> list[str]:
    return [detail["field"] for detail in answer.get_json()["error"]["details"]]  # type: ignore[attr-defined]


def test_an_import_answers_with_the_app_what_it_is_and_what_comes_next(admin: Client) -> None:
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY})
    found = answer.get_json()
    assert answer.status_code == 201
    assert (found["app"]["name"], found["detection"]["framework"]) == ("blog", "static")
    assert found["next_action"]["deploy_endpoint"] == f"/api/v1/apps/{found['app']['id']}/deployments"


def test_an_import_builds_nothing(admin: Client, manager: Manager) -> None:
    """Else what it has built is thrown away, and the journal tells of a build that no deployment has."""
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    assert [job["fetch"]["inspect_only"] for job in manager.jobs] == [True]


def test_importing_again_updates_the_same_app(admin: Client, blog: str) -> None:
    again = admin("POST", "/apps/import", {"repository": REPOSITORY, "source": {"branch": "next"}})
    assert again.get_json()["app"]["id"] == blog
    assert admin("GET", f"/apps/{blog}/config").get_json()["source"]["branch"] == "next"


def test_an_app_that_is_removed_while_its_import_waits_is_not_half_imported(
    admin: Client, blog: str, core: Core
) -> None:
    answers: list[tuple[int, str]] = []
    again = threading.Thread(
        target=lambda: answers.append(admin.code("POST", "/apps/import", {"repository": REPOSITORY}))
    )
    with core.worker.hold(blog, 1):
        again.start()
        again.join(0.5)  # it has found the app by now, and waits for whoever holds it
        App.delete().execute()
    again.join(20)
    assert answers == [(409, "app_removed")]


def test_the_default_branch_is_taken_when_no_branch_is_named(admin: Client) -> None:
    admin("POST", "/apps/import", {"repository": REPOSITORY | {"default_branch": "trunk"}})
    assert admin("GET", "/apps/blog/config").get_json()["source"]["branch"] == "trunk"


def test_a_hosted_repository_needs_no_url(admin: Client) -> None:
    admin("POST", "/apps/import", {"repository": {"provider": "github", "owner": "anna", "name": "Site.JS"}})
    config = admin("GET", "/apps/site-js/config").get_json()
    assert config["repository"]["clone_url"] == "https://github.com/anna/Site.JS.git"


def test_a_repository_whose_name_is_no_app_name_asks_for_one(admin: Client) -> None:
    repository = REPOSITORY | {"name": "2048"}
    assert fields(admin("POST", "/apps/import", {"repository": repository})) == ["name"]
    assert admin("POST", "/apps/import", {"repository": repository, "name": "game"}).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"clone_url": None}, "repository.clone_url"),
        ({"clone_url": "http://host/x.git"}, "repository.clone_url"),
        ({"clone_url": "file:///etc"}, "repository.clone_url"),
        ({"clone_url": "/srv/x"}, "repository.clone_url"),
        ({"clone_url": "ext::sh -c x"}, "repository.clone_url"),
        ({"clone_url": "--upload-pack=x"}, "repository.clone_url"),
        ({"clone_url": "https://host/x\ny"}, "repository.clone_url"),
        ({"owner": "../x"}, "repository.owner"),
        ({"provider": None}, "repository.provider"),
        ({"default_branch": "-x"}, "repository.default_branch"),
        ({"token": "x"}, "repository.token"),
    ],
)
def test_a_wrong_repository_is_refused_by_field(
    admin: Client, manager: Manager, change: dict[str, object], field: str
) -> None:
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY | change})
    assert answer.status_code == 400
    assert fields(answer) == [field], "each is told once"
    assert not any("rustploy-fetch" in unit for _, unit in manager.calls)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("healthcheck_path", "up"),
        ("healthcheck_status", 99),
        ("healthcheck_status", "200-299"),
        ("healthcheck_timeout_seconds", 0),
        ("healthcheck_interval_seconds", 61),
        ("healthcheck_host", "a b"),
        ("healthcheck_host", "a\r\nX: y"),
        ("healthcheck_method", "HEAD"),
    ],
)
def test_a_wrong_health_check_is_refused_by_field(admin: Client, option: str, value: object) -> None:
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY, "runtime": {option: value}})
    assert (answer.status_code, fields(answer)) == (400, [f"runtime.{option}"])


@pytest.mark.parametrize("mode", ["dockerfile", "compose", "cobol"])
def test_a_build_mode_without_buildpack_is_refused(admin: Client, mode: str) -> None:
    request = {"repository": REPOSITORY, "build_mode": mode}
    assert admin.code("POST", "/apps/import", request) == (400, "unsupported_build_mode")


def test_a_refused_fetch_is_told_with_its_own_code_and_changes_nothing(
    admin: Client, manager: Manager, core: Core
) -> None:
    manager.fetched = {"ok": False, "code": "ref_not_found", "message": "there is no branch or tag x"}
    assert admin.code("POST", "/apps/import", {"repository": REPOSITORY}) == (400, "ref_not_found")
    assert App.select().count() == 0
    assert not core.settings.paths.app("blog").exists()


def test_a_refused_fetch_leaves_an_imported_app_as_it_was(admin: Client, blog: str, manager: Manager) -> None:
    before = admin("GET", f"/apps/{blog}/config").get_json()
    manager.fetched = {"ok": False, "code": "repository_not_found", "message": "no"}
    request = {"repository": REPOSITORY | {"clone_url": "https://git.example.org/x.git"}}
    assert admin.code("POST", "/apps/import", request) == (400, "repository_not_found")
    assert admin("GET", f"/apps/{blog}/config").get_json() == before


def test_every_wrong_key_of_rustploy_yaml_is_named(admin: Client, manager: Manager) -> None:
    manager.fetched = {"manifest": "version: 1\nbuild:\n  mode: 7\napp:\n  prot: 1\n"}
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY})
    assert answer.get_json()["error"]["code"] == "invalid_manifest"
    assert sorted(fields(answer)) == ["app.prot", "build.mode"]


def test_a_result_that_is_not_text_does_not_break_the_answer(admin: Client, manager: Manager) -> None:
    """What fetch leaves was made in the reach of the repository's own code."""
    manager.fetched = {"detection": {"framework": "\ud800", "package_manager": "npm", "build_profile": "x"}}
    assert admin.code("POST", "/apps/import", {"repository": REPOSITORY}) == (400, "fetch_failed")


def test_the_directory_that_is_the_app_is_asked_for_and_shown(admin: Client, manager: Manager) -> None:
    """In a repository with several apps, the wrong one goes live otherwise."""
    request = {"repository": REPOSITORY, "build": {"root": "./apps/web/"}}
    manager.fetched = {"root": "apps/web"}
    assert admin("POST", "/apps/import", request).get_json()["detection"]["root"] == "apps/web"
    assert manager.jobs[-1]["fetch"]["root"] == "apps/web"
    config = admin("GET", "/apps/blog/config").get_json()
    assert (config["build"], config["effective"]["build_root"]) == ({"root": "apps/web"}, "apps/web")
    assert admin("PATCH", "/apps/blog", {"build": {"root": None}}).status_code == 200
    assert admin("GET", "/apps/blog/config").get_json()["build"] == {"root": None}


@pytest.mark.parametrize("root", ["../x", "/srv", "a b", 7, "x/../y"])
def test_a_directory_outside_the_repository_is_refused(admin: Client, root: object) -> None:
    request = {"repository": REPOSITORY, "build": {"root": root}}
    assert fields(admin("POST", "/apps/import", request)) == ["build.root"]
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    assert fields(admin("PATCH", "/apps/blog", {"build": {"root": root}})) == ["build.root"]


def test_a_fetch_that_looked_elsewhere_is_not_believed(admin: Client, manager: Manager) -> None:
    """The fetch works with a stranger's repository; what is built must be what was asked for."""
    manager.fetched = {"root": "apps/other"}
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY, "build": {"root": "apps/web"}})
    assert (answer.status_code, fields(answer)) == (400, ["repository"])


def variables(admin: Client) -> dict[str, str]:
    return {item["key"]: item["value"] for item in admin("GET", "/apps/blog/env").get_json()["items"]}


def test_the_variables_of_an_app_json_are_set_once(admin: Client, manager: Manager) -> None:
    """A secret that changed with each import would end all sessions; one that somebody set must stay."""
    wanted = {"SECRET": {"generator": "secret"}, "MODE": "prod", "NEEDED": {}}
    manager.fetched = {"app_json": json.dumps({"env": wanted})}
    detection = admin("POST", "/apps/import", {"repository": REPOSITORY}).get_json()["detection"]
    assert any("needs the variable NEEDED" in warning for warning in detection["warnings"])
    first = variables(admin)
    assert (first["MODE"], len(first["SECRET"]), set(first)) == ("prod", 64, {"MODE", "SECRET"})
    admin("PUT", "/apps/blog/env", {"key": "MODE", "value": "mine"})
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    assert variables(admin) == first | {"MODE": "mine"}


def test_an_import_of_what_nothing_can_build_says_so(admin: Client, manager: Manager) -> None:
    """Else the first to tell of it is a failed deployment."""
    manager.fetched = {"buildpack": None, "candidates": ["api (go)", "web (node)"]}
    detection = admin("POST", "/apps/import", {"repository": REPOSITORY}).get_json()["detection"]
    assert "no buildpack recognises the repository" in detection["warnings"][0]
    assert "api (go), web (node)" in detection["warnings"][0]
