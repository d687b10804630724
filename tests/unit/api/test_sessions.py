"""/auth: a person's way in, and nobody else's."""

from __future__ import annotations

import statistics
import threading
import time

import pytest
from flask import Flask

from rustploy_agent import auth, passwords, sessions
from rustploy_agent.api import sessions as view
from rustploy_agent.models import Session, User, database
from rustploy_agent.throttle import FREE, Throttle
from tests.unit.api.conftest import Client
from tests.unit.waiting import until

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


def work(api: Flask, email: str) -> tuple[float, int]:
    """CPU seconds and SQL statements of a refused login."""
    statements: list[str] = []
    database.connection().set_trace_callback(statements.append)
    with api.test_client(use_cookies=False) as client:
        started = time.thread_time()
        status = client.post("/api/v1/auth/login", json={"email": email, "password": "wrong"}).status_code
        spent = time.thread_time() - started
    database.connection().set_trace_callback(None)
    assert status == 401
    return spent, len(statements)


def test_wrong_and_unknown_cost_the_same_work_from_the_first_on(
    api: Flask, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else time tells which addresses have an account. CPU time, for the clock tells how busy the machine is."""
    monkeypatch.setattr("rustploy_agent.throttle.FREE", 1000)
    monkeypatch.setattr("rustploy_agent.throttle.FREE_PER_CLIENT", 1000)
    first, _ = work(api, "nobody@localhost")
    rounds = [(work(api, "admin@localhost"), work(api, "nobody@localhost")) for _ in range(15)]
    wrong, unknown = (statistics.median(one[side][0] for one in rounds) for side in (0, 1))
    assert 0.7 < wrong / unknown < 1.4
    assert first < 1.7 * wrong + 0.05
    assert {one[side][1] for one in rounds for side in (0, 1)} == {rounds[0][0][1]}


def test_a_hash_of_old_parameters_is_made_anew_at_login(person: Client, password: str) -> None:
    from argon2 import PasswordHasher

    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("an old password")
    User.update(password_hash=old).execute()
    login(person, "an old password")
    made = User.get().password_hash
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    login(person, "an old password")
    assert User.get().password_hash == made


def test_a_hash_that_is_none_opens_nothing(person: Client, password: str) -> None:
    User.update(password_hash="!").execute()
    request = {"email": "admin@localhost", "password": "!"}
    assert person.code("POST", "/auth/login", request, headers={}) == (401, "invalid_credentials")


def cookie_of(api: Flask, password: str, address: str = "127.0.0.1", base: str = "http://localhost") -> str:
    """The whole Set-Cookie of a login from there."""
    credentials = {"email": "admin@localhost", "password": password}
    with api.test_client(use_cookies=False) as client:
        environment = {"REMOTE_ADDR": address}
        answer = client.post("/api/v1/auth/login", json=credentials, environ_base=environment, base_url=base)
    return str(answer.headers["Set-Cookie"])


def test_the_cookie_goes_to_the_api_alone_and_behind_tls_never_leaves_it(api: Flask, password: str) -> None:
    plain, behind = cookie_of(api, password).split("; "), cookie_of(api, password, base="https://agent").split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/api/v1"} <= set(plain)
    assert set(behind) - set(plain) >= {"Secure"}


def test_without_tls_the_cookie_is_worthless_to_who_it_was_shown_to(api: Flask, password: str) -> None:
    """A browser shows it to every port of the host, so to apps, and they could use it from wherever they are."""

    def me(address: str, cookie: str) -> int:
        with api.test_client(use_cookies=False) as client:
            headers = {"Cookie": cookie.partition(";")[0]}
            return client.get("/api/v1/auth/me", headers=headers, environ_base={"REMOTE_ADDR": address}).status_code

    bound = cookie_of(api, password, "2001:db8:1:2::3", "http://agent")
    free = cookie_of(api, password, "2001:db8:1:2::3", "https://agent")
    assert me("2001:db8:1:2:ffff::1", bound) == 200  # a computer changes its address within its network
    assert me("2001:db8:1:3::3", bound) == 401
    assert me("127.0.0.1", bound) == 401
    assert me("198.51.100.7", free) == 200


def test_a_person_has_only_so_many_sessions(password: str) -> None:
    made = [sessions.begin(User.get())[0] for _ in range(sessions.MOST + 5)]
    assert Session.select().count() == sessions.MOST
    assert sessions.find(made[-1], lambda: None) is not None


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
    {"Origin": "http://["},
    {"Origin": "http://localhost:x"},
]


def test_logins_never_hold_all_threads(api: Flask, password: str) -> None:
    """Else strangers with many addresses and accounts shut everybody out of the API, for a password takes a while."""
    codes: list[tuple[int, str]] = []

    def try_once(number: int) -> None:
        stranger, body = Client(api, ""), {"email": f"{number}@example.org", "password": "wrong"}
        codes.append(stranger.code("POST", "/auth/login", body, headers={}))

    waiting = [threading.Thread(target=try_once, args=(number,)) for number in range(view.PLACES)]
    with passwords._one_at_a_time:
        for thread in waiting:
            thread.start()
        until(lambda: not view.places._value)
        one_more = Client(api, "")(
            "POST", "/auth/login", {"email": "admin@localhost", "password": password}, headers={}
        )
        assert (one_more.status_code, one_more.headers["Retry-After"]) == (429, "1")
    for thread in waiting:
        thread.join()
    assert codes == [(401, "invalid_credentials")] * view.PLACES
    login(Client(api, ""), password)


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_can_use_no_session(person: Client, password: str, headers: dict[str, str]) -> None:
    headers = headers | {"Cookie": login(person, password)}
    for request in (("GET", "/tokens"), ("POST", "/auth/logout"), ("GET", "/auth/me"), ("GET", "/apps")):
        assert person.code(*request, headers=headers) == (403, "cross_site_request")
    credentials = {"email": "admin@localhost", "password": password}
    assert person.code("POST", "/auth/login", credentials, headers=headers) == (403, "cross_site_request")


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
)
def test_the_own_site_can(person: Client, password: str, headers: dict[str, str]) -> None:
    assert person("GET", "/tokens", headers=headers | {"Cookie": login(person, password)}).status_code == 200


def test_a_cookie_that_an_app_put_beside_it_locks_nobody_out(person: Client, password: str) -> None:
    """Apps on sibling subdomains may set one for the whole domain, and it comes first when its path is longer."""
    own = login(person, password)
    for cookies in (f"{COOKIE}=theirs; {own}", f"{own}; {COOKIE}=theirs", f"{COOKIE}=; {COOKIE}=theirs; {own}"):
        assert person("GET", "/auth/me", headers={"Cookie": cookies}).status_code == 200
    headers = {"Cookie": f"{COOKIE}=theirs; {own}", "Sec-Fetch-Site": "same-site"}
    assert person.code("GET", "/auth/me", headers=headers) == (403, "cross_site_request")


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
