"""A forgotten password: a way back in for its owner, and no way in, nor a word, for anybody else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from flask import Flask

from rustploy_agent import auth, config, resets, sessions
from rustploy_agent.api import create_app
from rustploy_agent.api import resets as view
from rustploy_agent.api import sessions as login_view
from rustploy_agent.core import Core
from rustploy_agent.models import PasswordReset, Session, User
from rustploy_agent.resets import Resets
from rustploy_agent.throttle import Buckets, Throttle
from tests.mailbox import Mailbox
from tests.unit.api.conftest import Client
from tests.unit.waiting import until

pytestmark = pytest.mark.processes
OWNER = "anna@example.org"
PAGE = "https://dashboard.example.org/reset"
ASK, CONFIRM = "/auth/password-reset/request", "/auth/password-reset/confirm"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "asked", Buckets(1000, 1))
    monkeypatch.setattr(login_view, "throttle", Throttle())


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def app(core: Core, box: Mailbox) -> Iterator[Flask]:
    """With a mail server, and an account."""
    auth.reset_admin_password(OWNER)
    with box.open() as port:
        section = {"host": "127.0.0.1", "port": port, "tls": "none", "from": "agent@example.org", "reset_page": PAGE}
        mail = config.parse({"mail": section}).mail
        yield create_app(dataclasses.replace(core, resets=Resets(mail)))


@pytest.fixture
def person(app: Flask) -> Client:
    return Client(app, "")


def ask(person: Client, email: str = OWNER, **headers: str) -> bytes:
    answer = person("POST", ASK, {"email": email}, headers=headers)
    assert answer.status_code == 202
    return answer.data


def secret_of(text: str) -> str:
    found = re.search(r"rpr_[A-Za-z0-9_-]{43}", text)
    assert found, text
    return found[0]


def confirm(person: Client, secret: str, password: str = "a new password") -> tuple[int, str]:
    answer = person("POST", CONFIRM, {"reset_token": secret, "new_password": password}, headers={})
    return answer.status_code, str(answer.get_json().get("error", {}).get("code"))


def test_the_owner_gets_back_in_once_and_everybody_else_out(person: Client, box: Mailbox) -> None:
    sessions.begin(User.get())
    ask(person, OWNER.upper(), Host="evil.example")
    mail = box.wait()
    assert mail["To"] == OWNER
    text = mail.get_content()
    assert "evil.example" not in text and f"{PAGE}#reset_token=" in text
    secret = secret_of(text)
    assert secret not in str(list(PasswordReset.select().dicts()))

    assert confirm(person, secret, "short") == (400, "invalid_request")
    assert confirm(person, secret) == (200, "None")
    assert Session.select().count() == 0
    credentials = {"email": OWNER, "password": "a new password"}
    assert person("POST", "/auth/login", credentials, headers={}).status_code == 200
    assert confirm(person, secret, "another password") == (401, "invalid_reset_token")


def test_an_unknown_address_gets_the_same_answer_and_no_mail(person: Client, box: Mailbox) -> None:
    unknown = ask(person, "nobody@example.org")
    assert unknown == ask(person) == b'{"accepted":true}\n'
    assert box.wait()["To"] == OWNER and len(box.mails) == 1


def test_the_answer_waits_for_nothing_that_depends_on_the_account(
    core: Core, api: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its time tells who has one: the request itself does not even look."""
    from rustploy_agent.models import database

    auth.reset_admin_password(OWNER)
    statements: list[str] = []
    database.connection().set_trace_callback(statements.append)
    ask(Client(api, ""))
    database.connection().set_trace_callback(None)
    assert not [one for one in statements if "user" in one.lower()]
    until(lambda: PasswordReset.select().exists())


def test_without_a_mail_server_the_token_goes_to_the_journal_alone(
    core: Core, api: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    auth.reset_admin_password(OWNER)
    assert b"rpr_" not in ask(Client(api, ""))
    until(lambda: "rpr_" in caplog.text)
    assert confirm(Client(api, ""), secret_of(caplog.text)) == (200, "None")


def test_a_stranger_floods_neither_the_mailbox_nor_makes_its_mails_useless(person: Client, box: Mailbox) -> None:
    for _ in range(20):
        ask(person)
    first = secret_of(box.wait(resets.BURST).get_content())
    until(lambda: person.app.extensions["rustploy"].resets._asked.unfinished_tasks == 0)
    assert len(box.mails) == resets.BURST
    assert confirm(person, first) == (200, "None")
    others = {secret_of(mail.get_content()) for mail in box.mails} - {first}
    assert {confirm(person, secret) for secret in others} == {(401, "invalid_reset_token")}


def test_a_client_may_ask_only_so_often_whatever_it_asks_for(person: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "asked", Buckets(2, 60))
    for number in range(2):
        ask(person, f"{number}@example.org")
    assert person.code("POST", ASK, {"email": OWNER}, headers={}) == (429, "too_many_requests")


def test_a_token_ends_by_itself_and_with_a_password_that_root_set(person: Client, box: Mailbox) -> None:
    ask(person)
    old = secret_of(box.wait().get_content())
    PasswordReset.update(expires_at_unix_ms=1).execute()
    assert confirm(person, old) == (401, "invalid_reset_token")
    ask(person)
    second = secret_of(box.wait(2).get_content())
    auth.reset_admin_password(OWNER)
    assert confirm(person, second) == (401, "invalid_reset_token")


def test_a_mail_that_was_not_taken_leaves_no_token(
    person: Client, box: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    box.mode = "refuse"
    ask(person)
    until(lambda: "was not sent" in caplog.text)
    assert not PasswordReset.select().exists() and "rpr_" not in caplog.text


def test_mails_go_to_the_address_that_root_gave_the_admin(person: Client, box: Mailbox) -> None:
    auth.set_admin_email("new@example.org")
    ask(person)
    ask(person, "new@example.org")
    assert box.wait()["To"] == "new@example.org" and len(box.mails) == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (ASK, {}, "email"),
        (ASK, {"email": ["a@b"]}, "email"),
        (ASK, {"email": "a\r\nBcc: b@c"}, "email"),
        (CONFIRM, {"new_password": "12345678"}, "reset_token"),
        (CONFIRM, {"reset_token": "x"}, "new_password"),
        (CONFIRM, {"reset_token": "x", "new_password": "1234567"}, "new_password"),
        (CONFIRM, {"reset_token": "x", "new_password": "x" * 1025}, "new_password"),
        (CONFIRM, {"reset_token": "x", "new_password": "\ud800" * 8}, "new_password"),
    ],
)
def test_what_is_wrong_is_named(api: Flask, path: str, body: object, field: str) -> None:
    answer = Client(api, "")("POST", path, body, headers={})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]


@pytest.mark.parametrize("path", [ASK, CONFIRM])
def test_no_other_site_asks_in_a_visitor_s_name(api: Flask, path: str) -> None:
    body = {"email": OWNER}
    headers = {"Sec-Fetch-Site": "same-site"}
    assert Client(api, "").code("POST", path, body, headers=headers) == (403, "cross_site_request")
