"""POST and GET /apps: without them nobody can make an app or find it again."""

from __future__ import annotations

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import App, Process
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager


def test_a_made_app_is_listed_and_its_directories_exist(admin: Client, core: Core) -> None:
    made = admin("POST", "/apps", {"name": "blog"})
    assert made.status_code == 201
    assert admin("GET", "/apps").get_json()["items"] == [made.get_json()]
    assert (core.settings.paths.app("blog") / "slots").is_dir()


def test_apps_are_listed_by_name(admin: Client) -> None:
    for name in ("b", "a"):
        admin("POST", "/apps", {"name": name})
    assert [app["name"] for app in admin("GET", "/apps").get_json()["items"]] == ["a", "b"]


def test_every_app_has_two_ports_of_its_own(admin: Client) -> None:
    for name in ("a", "b"):
        admin("POST", "/apps", {"name": name})
    ports = [port for row in Process.select() for port in (row.port_a, row.port_b)]
    assert len(set(ports)) == 4


def test_a_taken_name_is_refused_and_the_app_keeps_its_own(admin: Client) -> None:
    admin("POST", "/apps", {"name": "blog"})
    assert admin.code("POST", "/apps", {"name": "blog"}) == (409, "app_exists")
    assert App.select().count() == 1


@pytest.mark.parametrize("name", ["", "Blog", "a--b", "-a", "a-", "../x", "a.b", "a" * 28, "ä", 7, ["a"]])
def test_a_bad_name_is_refused_by_field(admin: Client, name: object) -> None:
    answer = admin("POST", "/apps", {"name": name})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["name"]
    assert App.select().count() == 0


def test_an_unknown_key_is_refused_with_those_that_are_known(admin: Client) -> None:
    (detail,) = admin("POST", "/apps", {"name": "a", "nmae": 1}).get_json()["error"]["details"]
    assert detail == {"field": "nmae", "message": "is not a known key; known are: name"}


def test_a_name_that_apply_refuses_leaves_nothing(admin: Client, manager: Manager) -> None:
    manager.refused["blog"] = "user or group rp-blog exists with another purpose"
    answer = admin("POST", "/apps", {"name": "blog"})
    assert answer.status_code == 500
    assert "another purpose" in answer.get_json()["error"]["message"]
    manager.refused.clear()
    assert admin("GET", "/apps").get_json()["items"] == []
    assert admin("POST", "/apps", {"name": "blog"}).status_code == 201
