"""/apps/{app}/env: an app's secrets, shown to admin only, stored byte for byte."""

from __future__ import annotations

import pytest

from rustploy_agent import vault
from rustploy_agent.core import Core
from rustploy_agent.models import EnvVar
from tests.unit.api.conftest import Client

NASTY = "a'b\"c$d%e\\f\n\tg\r ü \U0001f980 `h` $(i)"


def test_a_value_comes_back_byte_for_byte(admin: Client, blog: str) -> None:
    assert admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": NASTY}).get_json()["value"] == NASTY
    assert [item["value"] for item in admin("GET", f"/apps/{blog}/env").get_json()["items"]] == [NASTY]


def test_setting_again_replaces(admin: Client, blog: str) -> None:
    for value in ("1", "2"):
        admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": value})
    assert [item["value"] for item in admin("GET", f"/apps/{blog}/env").get_json()["items"]] == ["2"]


@pytest.mark.parametrize("scope", ["reader", "deployer"])
def test_only_admin_sees_values(admin: Client, blog: str, scope: str, request: pytest.FixtureRequest) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "s3cret"})
    shown = request.getfixturevalue(scope)("GET", f"/apps/{blog}/env")
    assert b"s3cret" not in shown.data
    (item,) = shown.get_json()["items"]
    assert (item["key"], item["value"], item["masked"]) == ("A", "********", True)


def test_an_empty_value_is_a_value(admin: Client, blog: str) -> None:
    assert admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": ""}).get_json()["value"] == ""


@pytest.mark.parametrize(
    "key", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "PORT", "HOME", "IFS", "rustploy_command", "RUSTPLOY_APP", 1]
)
def test_a_key_that_would_not_arrive_is_refused(admin: Client, blog: str, key: object) -> None:
    answer = admin("PUT", f"/apps/{blog}/env", {"key": key, "value": "x"})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["key"]


@pytest.mark.parametrize("value", [None, 1, True, ["a"], "a\0b", "\ud800", "x" * (64 * 1024 + 1)])
def test_a_value_that_no_process_can_get_is_refused(admin: Client, blog: str, value: object) -> None:
    answer = admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": value})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["value"]
    assert EnvVar.select().count() == 0


def test_all_variables_together_stay_below_what_a_program_can_be_given(admin: Client, blog: str) -> None:
    for number in range(7):
        admin("PUT", f"/apps/{blog}/env", {"key": f"A{number}", "value": "x" * 65536})
    assert admin.code("PUT", f"/apps/{blog}/env", {"key": "B", "value": "x" * 65536}) == (400, "invalid_request")
    assert admin("PUT", f"/apps/{blog}/env", {"key": "A0", "value": "y" * 65536}).status_code == 200


def test_a_deleted_variable_is_gone(admin: Client, blog: str) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    assert admin("DELETE", f"/apps/{blog}/env/A").status_code == 204
    assert admin("GET", f"/apps/{blog}/env").get_json()["items"] == []
    assert admin.code("DELETE", f"/apps/{blog}/env/A") == (404, "env_not_found")


def test_variables_of_one_app_are_not_those_of_another(admin: Client, blog: str) -> None:
    admin("POST", "/apps", {"name": "other"})
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    assert admin("GET", "/apps/other/env").get_json()["items"] == []
    assert admin.code("DELETE", "/apps/other/env/A") == (404, "env_not_found")


def keys_of(client: Client, app: str) -> dict[str, str]:
    return {item["key"]: item["value"] for item in client("GET", f"/apps/{app}/env").get_json()["items"]}


def test_several_are_changed_at_once_and_the_answer_is_what_is_there(admin: Client, blog: str) -> None:
    admin("PATCH", f"/apps/{blog}/env", {"A": "1", "B": NASTY, "C": ""})
    answer = admin("PATCH", f"/apps/{blog}/env", {"A": None, "C": "3", "NEVER": None})
    assert {item["key"]: item["value"] for item in answer.get_json()["items"]} == {"B": NASTY, "C": "3"}
    assert keys_of(admin, blog) == {"B": NASTY, "C": "3"}


def test_changing_nothing_shows_what_is_there(admin: Client, blog: str) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    assert [item["key"] for item in admin("PATCH", f"/apps/{blog}/env", {}).get_json()["items"]] == ["A"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"A": "2", "B-C": "x"}, ["B-C"]),
        ({"A": "2", "PORT": "80", "D": 7}, ["D", "PORT"]),
        ({"A": None, "B": "a\0b"}, ["B"]),
        ({"A": "2", "\ud800": "x"}, ["?"]),
        ({"A": "2", "B": ["x"]}, ["B"]),
        ({"A": "2", "PORT": None}, ["PORT"]),
    ],
)
def test_one_wrong_change_refuses_all_of_them(
    admin: Client, blog: str, changes: dict[str, object], fields: list[str]
) -> None:
    """Else a typing error leaves an app with half of a configuration."""
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    answer = admin("PATCH", f"/apps/{blog}/env", changes)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == fields
    assert keys_of(admin, blog) == {"A": "1"}


def test_changes_that_are_too_large_together_are_refused_together(admin: Client, blog: str) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    changes = {f"B{number}": "x" * 65000 for number in range(9)}
    assert admin.code("PATCH", f"/apps/{blog}/env", changes) == (400, "invalid_request")
    assert keys_of(admin, blog) == {"A": "1"}


@pytest.mark.parametrize("body", [[], "x", 7])
def test_changes_that_are_no_object_are_refused(admin: Client, blog: str, body: object) -> None:
    assert admin.code("PATCH", f"/apps/{blog}/env", body) == (400, "invalid_json")


def test_without_its_key_the_environment_is_an_error_and_never_empty(admin: Client, blog: str, core: Core) -> None:
    """Else a person, or a script, takes the empty list for the truth and deploys or sets it anew."""
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    key = core.settings.paths.vault_key
    saved = key.read_bytes()
    key.unlink()
    refused = (500, "environment_unreadable")
    assert admin.code("GET", f"/apps/{blog}/env") == refused
    assert admin.code("PUT", f"/apps/{blog}/env", {"key": "A", "value": "2"}) == refused
    assert admin.code("PATCH", f"/apps/{blog}/env", {"A": "2"}) == refused
    key.write_bytes(saved)
    assert keys_of(admin, blog) == {"A": "1"}


def test_changes_that_leave_an_unreadable_variable_are_not_made(admin: Client, blog: str, core: Core) -> None:
    """What the answer could not show must not have happened."""
    admin("PATCH", f"/apps/{blog}/env", {"A": "1", "B": "1"})
    vault.replace_key(core.settings.paths)
    answer = admin("PATCH", f"/apps/{blog}/env", {"A": "2"})
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["B"]
    assert admin("PATCH", f"/apps/{blog}/env", {"A": "2", "B": "2"}).status_code == 200


def marks(client: Client, app: str) -> dict[str, bool]:
    return {item["key"]: item["build"] for item in client("GET", f"/apps/{app}/env").get_json()["items"]}


def test_builds_see_what_is_marked_and_what_exists_to_be_public(admin: Client, blog: str) -> None:
    """A password in a build is there for every install script; a missing VITE_ variable is an app that calls nobody."""
    for key in ("PASSWORD", "NEXT_PUBLIC_URL", "VITE_API", "PUBLIC_KEY"):
        assert admin("PUT", f"/apps/{blog}/env", {"key": key, "value": "x"}).status_code == 200
    marked = admin("PUT", f"/apps/{blog}/env", {"key": "NPM_TOKEN", "value": "x", "build": True})
    assert marked.get_json()["build"] is True
    private = admin("PUT", f"/apps/{blog}/env", {"key": "VITE_PRIVATE", "value": "x", "build": False})
    assert private.get_json()["build"] is False
    expected = {"PASSWORD": False, "NEXT_PUBLIC_URL": True, "VITE_API": True, "PUBLIC_KEY": True}
    assert marks(admin, blog) == expected | {"NPM_TOKEN": True, "VITE_PRIVATE": False}


def test_a_new_value_keeps_the_mark_and_patch_can_set_it(admin: Client, blog: str) -> None:
    """Who rotates a build token must not have to know that it is one."""
    admin("PUT", f"/apps/{blog}/env", {"key": "NPM_TOKEN", "value": "x", "build": True})
    assert admin("PUT", f"/apps/{blog}/env", {"key": "NPM_TOKEN", "value": "y"}).get_json()["build"] is True
    changes = {"NPM_TOKEN": "z", "OTHER": {"value": "o", "build": True}, "PLAIN": {"value": "p"}}
    assert admin("PATCH", f"/apps/{blog}/env", changes).status_code == 200
    assert marks(admin, blog) == {"NPM_TOKEN": True, "OTHER": True, "PLAIN": False}
    assert keys_of(admin, blog) == {"NPM_TOKEN": "z", "OTHER": "o", "PLAIN": "p"}


@pytest.mark.parametrize(
    "change", [{"build": True}, {"value": "x", "build": "yes"}, {"value": "x", "built": True}, {"value": 7}, {}]
)
def test_a_change_that_is_no_value_with_a_mark_is_refused(admin: Client, blog: str, change: object) -> None:
    answer = admin("PATCH", f"/apps/{blog}/env", {"KEY": change})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["details"][0]["field"] == "KEY"
    assert marks(admin, blog) == {}
