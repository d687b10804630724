"""The one error shape: clients parse it, whatever went wrong and wherever."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator

import pytest
from flask import Flask

from rustploy_agent import sqlite
from rustploy_agent.core import Core
from rustploy_agent.models import database, rest
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager


def test_an_unknown_path_is_json(admin: Client) -> None:
    assert admin.code("GET", "/nope") == (404, "not_found")


def test_a_wrong_method_says_which_are_right(admin: Client) -> None:
    answer = admin("PUT", "/apps")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "data",
    [
        *("{", "nul", '{"a":', b"\xff", "[" * 100_000, '{"a":' * 100_000, '"text"', "[]", "1"),
        '{"name": "a", "name": "b"}',
        '{"name": NaN}',
        '{"name": -Infinity}',
        '{"name": 1e999}',
        '{"name": %s}' % ("9" * 5000),
        '{"a": {"b": 1, "b": 2}}',
        '{"name": "a"}'.encode("utf-16"),
        b'{"name": "\xc3\x28"}',
        b'\xef\xbb\xbf{"name": "a"}',
        '{"name": "a"} {}',
        "",
    ],
    ids=lambda data: repr(data)[:40],
)
def test_a_body_that_is_no_json_object_is_refused(admin: Client, data: str | bytes) -> None:
    headers = {"Authorization": f"Bearer {admin.token}", "Content-Type": "application/json"}
    assert admin.code("POST", "/apps", headers=headers, data=data) == (400, "invalid_json")


def test_a_missing_body_is_refused(admin: Client) -> None:
    assert admin.code("POST", "/apps") == (415, "unsupported_media_type")


def test_a_form_is_refused(admin: Client) -> None:
    """What a browser sends across sites without asking."""
    assert admin.code("POST", "/apps", data={"name": "x"}) == (415, "unsupported_media_type")


def test_a_huge_body_is_refused(admin: Client) -> None:
    headers = {"Authorization": f"Bearer {admin.token}", "Content-Type": "application/json"}
    assert admin.code("POST", "/apps", headers=headers, data=b" " * (1 << 20) + b"{}") == (413, "body_too_large")


def test_a_trailing_slash_does_not_matter(admin: Client) -> None:
    assert (
        admin("GET", "/apps").data
        == admin.app.test_client().get("/api/v1/apps/", headers={"Authorization": f"Bearer {admin.token}"}).data
    )


@pytest.mark.parametrize(
    "path",
    [
        "/apps/%00",
        "/apps/%ff",
        "/apps/%2e%2e",
        "/apps/a%2Fb",
        "/apps/" + "x" * 900,
        "/apps/%F0%9F%98%80",
        "/apps/a%0d%0ab",
        "/apps/blog/deployments/%00",
        "/apps/blog/deployments/" + "9" * 900,
        "/tokens/%00",
        "/apps/blog/env/%00",
    ],
)
def test_names_that_nothing_can_have_are_unknown(admin: Client, blog: str, path: str) -> None:
    for method in ("GET", "DELETE") if "env" not in path and "tokens" not in path else ("DELETE",):
        answer = admin(method, path)
        assert answer.status_code == 404 or (method, answer.status_code) == ("DELETE", 405)
        assert len(answer.data) < 3000


def test_addresses_longer_than_any_that_leads_somewhere_are_refused(admin: Client) -> None:
    """Else each is a line of that length in the journal."""
    assert admin.code("GET", "/apps/" + "x" * 2000) == (414, "uri_too_long")
    assert admin.code("GET", "/apps?limit=1&x=" + "x" * 9000) == (414, "uri_too_long")


def test_a_doubled_slash_is_no_redirect(admin: Client) -> None:
    assert admin.code("GET", "//apps") == (404, "not_found")


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PROPFIND", "X"])
def test_every_method_is_answered_sanely(admin: Client, method: str) -> None:
    with admin.app.test_client() as client:
        answer = client.open("/api/v1/apps", method=method, headers={"Authorization": f"Bearer {admin.token}"})
        gone = client.open("/api/v1/nope", method=method)
    assert gone.status_code == 404 and gone.content_type == "application/json"
    if method == "OPTIONS":
        assert (answer.status_code, answer.data) == (204, b"") and "POST" in answer.headers["Allow"]
    elif method == "HEAD":
        assert (answer.status_code, answer.data) == (200, b"")
    else:
        assert answer.status_code == 405 and "GET" in answer.headers["Allow"]


def test_each_request_has_an_id_that_its_client_did_not_choose(admin: Client) -> None:
    """A chosen one could be that of another request, and the trail would name the wrong one."""
    headers = {"Authorization": f"Bearer {admin.token}", "X-Request-Id": "0123456789abcdef"}
    found = {admin("GET", path, headers=headers).headers["X-Request-Id"] for path in ("/apps", "/apps", "/nope")}
    assert len(found) == 3 and "0123456789abcdef" not in found


def test_a_defect_is_told_by_a_reference_and_never_by_a_trace(
    admin: Client, manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    manager.StartUnit = broken  # type: ignore[method-assign,assignment]
    with caplog.at_level(logging.ERROR):
        answer = admin("POST", "/apps", {"name": "x"})
    message = answer.get_json()["error"]["message"]
    assert answer.status_code == 500
    assert "secret detail" not in message and "Zero" not in message
    reference = message.split()[2].rstrip(";")
    assert reference == answer.headers["X-Request-Id"]
    assert reference in caplog.text and "secret detail" in caplog.text


def test_a_failure_with_a_code_of_its_own_can_be_looked_up_too(
    admin: Client, blog: str, core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "x"})
    core.settings.paths.vault_key.unlink()
    with caplog.at_level(logging.ERROR):
        answer = admin("GET", f"/apps/{blog}/env")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (500, "environment_unreadable")
    (said,) = [line for line in caplog.messages if "environment_unreadable" in line]
    assert answer.headers["X-Request-Id"] in said


def test_the_contract_judge_can_fail(api: Flask, core: Core, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is only held if a wrong answer is noticed."""
    monkeypatch.setitem(api.view_functions, "apps.list_apps", lambda: {"items": [{"id": "1"}]})
    with pytest.raises(Exception, match="required property"):
        admin("GET", "/apps")


@pytest.mark.parametrize("who", ["another thread", "another process"])
def test_a_database_that_others_hold_is_a_wait_and_not_a_defect(
    admin: Client, core: Core, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a backup that takes its time makes a pipeline fail for good, with a reference that says nothing."""
    monkeypatch.setattr(sqlite, "TURN_SECONDS", 0.1)
    with contextlib.ExitStack() as stack:
        if who == "another process":
            other = stack.enter_context(contextlib.closing(sqlite3.connect(core.settings.paths.database)))
            other.execute("BEGIN IMMEDIATE")
            database.execute_sql("PRAGMA busy_timeout = 50")  # the connection goes from hand to hand
        else:
            stack.enter_context(_held_by_a_thread())
        answer = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "database_busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert "nothing was changed" in answer.get_json()["error"]["message"]
    database.execute_sql("PRAGMA busy_timeout = 10000")
    assert admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).status_code == 201


@contextlib.contextmanager
def _held_by_a_thread() -> Iterator[None]:
    began, end = threading.Event(), threading.Event()

    def hold() -> None:
        with database.atomic("IMMEDIATE"):
            began.set()
            end.wait(20)
        rest()

    thread = threading.Thread(target=hold)
    thread.start()
    assert began.wait(10)
    yield
    end.set()
    thread.join(10)
