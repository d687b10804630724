"""/auth: a person's way in, and nobody else's."""

from __future__ import annotations

import pytest
from flask import Flask

from rustploy_agent import auth
from rustploy_agent.api import sessions as view
from rustploy_agent.models import Session
from rustploy_agent.throttle import FREE, Throttle
from tests.unit.api.conftest import Client

COOKIE = "rustploy_session"


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "throttle", Throttle())


@pytest.fixture
def password(opened: None) -> str:
    return auth.reset_admin_password("admin@localhost")[1]


@pytest.fixture
def person(api: Flask) -> Client:
    """Without a token."""
    return Client(api, "")


def login(person: Client, password: str, email: str = "admin@localhost") -> str:
    answer = person("POST", "/auth/login", {"email": email, "password": password}, headers={})
    assert answer.status_code == 200, answer.get_json()
    header = answer.headers["Set-Cookie"]
    assert "HttpOnly" in header and "SameSite=Lax" in header
    return header.partition(";")[0]


def test_a_login_opens_everything_until_the_logout(person: Client, password: str) -> None:
    cookie = {"Cookie": login(person, password)}
    me = person("GET", "/auth/me", headers=cookie).get_json()
    assert (me["email"], me["role"]) == ("admin@localhost", "admin")
    assert person("GET", "/tokens", headers=cookie).status_code == 200
    assert person("POST", "/auth/logout", headers=cookie).status_code == 204
    assert person.code("GET", "/auth/me", headers=cookie) == (401, "unauthorized")
    assert person.code("GET", "/tokens", headers=cookie) == (401, "unauthorized")


def test_a_new_password_ends_all_sessions(person: Client, password: str) -> None:
    cookie = {"Cookie": login(person, password)}
    auth.reset_admin_password("admin@localhost")
    assert person.code("GET", "/auth/me", headers=cookie) == (401, "unauthorized")


def test_a_session_ends_by_itself(person: Client, password: str) -> None:
    cookie = {"Cookie": login(person, password)}
    Session.update(expires_at_unix_ms=1).execute()
    assert person.code("GET", "/auth/me", headers=cookie) == (401, "unauthorized")


def test_the_database_does_not_hold_the_cookie(person: Client, password: str) -> None:
    secret = login(person, password).partition("=")[2]
    assert secret not in str(list(Session.select().dicts()))


def test_wrong_and_unknown_answer_alike(person: Client, password: str) -> None:
    """Else the answer tells which addresses have an account."""
    answers = [
        person("POST", "/auth/login", {"email": email, "password": "wrong"}, headers={}).data
        for email in ("admin@localhost", "nobody@localhost")
    ]
    assert answers[0] == answers[1]
    assert b"invalid_credentials" in answers[0]


def test_guessing_is_slowed_down(person: Client, password: str) -> None:
    for _ in range(FREE):
        person("POST", "/auth/login", {"email": "admin@localhost", "password": "wrong"}, headers={})
    request = {"email": "admin@localhost", "password": password}
    assert person.code("POST", "/auth/login", request, headers={}) == (429, "too_many_requests")


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_can_use_no_session(person: Client, password: str, headers: dict[str, str]) -> None:
    headers = headers | {"Cookie": login(person, password)}
    for request in (("GET", "/tokens"), ("POST", "/auth/logout"), ("GET", "/auth/me")):
        assert person.code(*request, headers=headers) == (403, "cross_site_request")
    credentials = {"email": "admin@localhost", "password": password}
    assert person.code("POST", "/auth/login", credentials, headers=headers) == (403, "cross_site_request")


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
)
def test_the_own_site_can(person: Client, password: str, headers: dict[str, str]) -> None:
    assert person("GET", "/tokens", headers=headers | {"Cookie": login(person, password)}).status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", "ü", "a" * 5000, "%00"])
def test_a_made_up_cookie_opens_nothing(person: Client, password: str, cookie: str) -> None:
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    assert person.code("GET", "/tokens", headers=headers) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "a@b"}, "password"),
        ({"password": "x"}, "email"),
        ({"email": 1, "password": "x"}, "email"),
        ({"email": "a@b", "password": ""}, "password"),
        ({"email": "a@b", "password": "x" * 1025}, "password"),
        ({"email": "a@b", "password": "\ud800"}, "password"),
    ],
)
def test_a_wrong_login_is_refused_by_field(person: Client, body: object, field: str) -> None:
    answer = person("POST", "/auth/login", body, headers={})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]
