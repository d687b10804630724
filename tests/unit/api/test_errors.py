"""The one error shape: clients parse it, whatever went wrong and wherever."""

from __future__ import annotations

import logging

import pytest
from flask import Flask

from rustploy_agent.core import Core
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager


def test_an_unknown_path_is_json(admin: Client) -> None:
    assert admin.code("GET", "/nope") == (404, "not_found")


def test_a_wrong_method_says_which_are_right(admin: Client) -> None:
    answer = admin("PUT", "/apps")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("data", ["{", "nul", '{"a":', b"\xff", "[" * 100_000, '"text"', "[]", "1"])
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
    assert reference in caplog.text and "secret detail" in caplog.text


def test_the_contract_judge_can_fail(api: Flask, core: Core, admin: Client) -> None:
    """The document is only held if a wrong answer is noticed."""
    api.view_functions["apps.list_apps"] = lambda: {"items": [{"id": "1"}]}
    with pytest.raises(Exception, match="required property"):
        admin("GET", "/apps")
