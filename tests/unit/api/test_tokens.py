"""/tokens: made once, listed without secrets, refused from the moment they are revoked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from flask import Flask

from rustploy_agent import auth, sessions
from rustploy_agent.clock import now_ms
from rustploy_agent.models import App, Token, User
from tests.unit.api.conftest import Client


def test_a_made_token_works_and_is_shown_only_once(admin: Client) -> None:
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["deploy"]}).get_json()
    assert Client(admin.app, made["token"])("GET", "/apps").status_code == 200
    listed = admin("GET", "/tokens")
    assert made["token"].encode() not in listed.data
    assert made["summary"]["id"] in [item["id"] for item in listed.get_json()["items"]]


def test_the_database_does_not_hold_the_secret(admin: Client) -> None:
    secret = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()["token"]
    stored = [str(value) for row in Token.select().dicts() for value in row.values()]
    assert not any(secret in value or secret[4:-8] in value for value in stored)


def test_scopes_are_kept_in_order_and_once(admin: Client) -> None:
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["admin", "read", "admin"]}).get_json()
    assert made["summary"]["scopes"] == ["read", "admin"]


def test_a_revoked_token_is_refused_from_then_on(admin: Client) -> None:
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()
    assert admin("DELETE", f"/tokens/{made['summary']['id']}").status_code == 204
    assert Client(admin.app, made["token"]).code("GET", "/apps") == (401, "unauthorized")
    assert admin("DELETE", f"/tokens/{made['summary']['id']}").status_code == 204


def test_a_token_may_revoke_itself(admin: Client) -> None:
    (own,) = admin("GET", "/tokens").get_json()["items"]
    assert admin("DELETE", f"/tokens/{own['id']}").status_code == 204
    assert admin.code("GET", "/tokens") == (401, "unauthorized")


def test_an_unknown_token_is_not_found(admin: Client) -> None:
    assert admin.code("DELETE", "/tokens/nope") == (404, "token_not_found")


def test_use_is_noted(admin: Client) -> None:
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()
    assert made["summary"]["last_used_at_unix_ms"] is None
    Client(admin.app, made["token"])("GET", "/apps")
    assert Token.get_by_id(made["summary"]["id"]).last_used_at_unix_ms is not None


def cookie() -> dict[str, str]:
    auth.reset_admin_password("admin@localhost")
    return {"Cookie": f"rustploy_session={sessions.begin(User.get())[0]}"}


def test_a_person_s_token_is_personal_and_goes_with_the_person(admin: Client) -> None:
    new = {"name": "laptop", "scopes": ["admin"]}
    made = admin("POST", "/tokens", new, headers=cookie()).get_json()
    assert (made["summary"]["kind"], made["summary"]["user_id"]) == ("personal", User.get().id)
    own = Client(admin.app, made["token"])
    further = own("POST", "/tokens", new | {"name": "second"}).get_json()["summary"]
    assert (further["kind"], further["user_id"]) == ("personal", User.get().id)
    assert own("POST", "/tokens", new | {"kind": "service"}).get_json()["summary"]["user_id"] is None
    User.delete().execute()
    assert own.code("GET", "/apps") == (401, "unauthorized")
    assert {one["kind"] for one in admin("GET", "/tokens").get_json()["items"]} == {"service"}


def test_a_person_s_token_may_not_more_than_the_person(admin: Client) -> None:
    made = admin("POST", "/tokens", {"name": "laptop", "scopes": ["admin"]}, headers=cookie()).get_json()
    User.update(role="nothing").execute()
    assert Client(admin.app, made["token"]).code("GET", "/apps") == (403, "insufficient_scope")


def test_a_program_s_token_is_a_service_s(admin: Client) -> None:
    new = {"name": "ci", "scopes": ["deploy"]}
    assert admin("POST", "/tokens", new).get_json()["summary"]["kind"] == "service"
    assert admin.code("POST", "/tokens", new | {"kind": "personal"}) == (400, "invalid_request")


class TestExpiry:
    """A token that ends tomorrow means nothing if it can make one that never does."""

    NEW: ClassVar = {"name": "next", "scopes": ["admin"]}

    @pytest.fixture
    def expiring(self, api: Flask, token: Callable[..., str]) -> Client:
        return Client(api, token("admin", 3600))

    def test_what_it_makes_expires_with_it(self, expiring: Client) -> None:
        made = expiring("POST", "/tokens", self.NEW).get_json()
        (own,) = Token.select().where(Token.name == "admin token")
        assert made["summary"]["expires_at_unix_ms"] == own.expires_at_unix_ms
        second = Client(expiring.app, made["token"])("POST", "/tokens", self.NEW).get_json()
        assert second["summary"]["expires_at_unix_ms"] == own.expires_at_unix_ms

    def test_it_may_make_shorter_ones_and_no_longer_ones(self, expiring: Client) -> None:
        shorter = expiring("POST", "/tokens", self.NEW | {"expires_in_seconds": 60}).get_json()["summary"]
        assert shorter["expires_at_unix_ms"] <= now_ms() + 60_000
        answer = expiring("POST", "/tokens", self.NEW | {"expires_in_seconds": 3700})
        assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["expires_in_seconds"]
        assert Token.select().where(Token.name == "next").count() == 1

    def test_one_without_an_end_and_a_person_may(self, admin: Client) -> None:
        for headers in ({"Authorization": f"Bearer {admin.token}"}, cookie()):
            made = admin("POST", "/tokens", self.NEW, headers=headers).get_json()
            assert made["summary"]["expires_at_unix_ms"] is None


def test_a_token_for_some_apps_says_which(admin: Client) -> None:
    for name in ("blog", "shop"):
        App.create(name=name)
    new = {"name": "ci", "scopes": ["deploy"], "apps": ["shop", App.get(name="blog").id, "blog"]}
    assert admin("POST", "/tokens", new).get_json()["summary"]["apps"] == ["blog", "shop"]
    App.delete().execute()
    assert admin("GET", "/tokens").get_json()["items"][-1]["apps"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": "admin"}, "scopes"),
        ({"scopes": [["admin"]]}, "scopes"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": 2**70}, "expires_in_seconds"),
        ({"expires_in_seconds": True}, "expires_in_seconds"),
        ({"role": "admin"}, "role"),
        ({"kind": "root"}, "kind"),
        ({"kind": ["service"]}, "kind"),
        ({"apps": []}, "apps"),
        ({"apps": "blog"}, "apps"),
        ({"apps": [1]}, "apps"),
        ({"apps": ["nope"]}, "apps"),
        ({"apps": ["\x1b[2J"]}, "apps"),
        ({"apps": ["blog"] * 101}, "apps"),
    ],
)
def test_a_wrong_token_is_refused_by_field(admin: Client, change: dict[str, object], field: str) -> None:
    answer = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]} | change)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]
    assert Token.select().count() == 1


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Token abc", "Basic dXNlcjpwYXNz"])
def test_who_sends_no_token_is_told_so(api: Flask, header: str) -> None:
    """An empty shell variable in a pipeline, mostly; "unknown or expired" sends people to look at the wrong end."""
    answer = api.test_client().get("/api/v1/apps", headers={"Authorization": header})
    assert answer.status_code == 401 and "no token" in answer.get_json()["error"]["message"]
