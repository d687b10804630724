"""Whom the agent takes a client for: what the ingress says is believed, what anybody says over TCP is not."""

from __future__ import annotations

import pytest
from flask import Flask, jsonify, request

from rustploy_agent.api.forwarding import ByIngress

CLAIMS = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.org"}


@pytest.fixture
def seen() -> Flask:
    app = Flask(__name__)
    app.wsgi_app = ByIngress(app.wsgi_app)  # type: ignore[method-assign]
    app.add_url_rule("/", view_func=lambda: jsonify([request.remote_addr, request.scheme, request.host]))
    return app


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("localhost", ["203.0.113.9", "https", "api.example.org"]),
        ("127.0.0.1", ["127.0.0.1", "http", "api.example.org"]),
        ("203.0.113.1", ["203.0.113.1", "http", "api.example.org"]),
    ],
)
def test_forwarded_headers_count_only_from_the_ingress(seen: Flask, peer: str, expected: list[str]) -> None:
    """Else a client escapes its throttle, forges the audit log, or gets a Secure cookie over plain HTTP."""
    with seen.test_client() as client:
        answer = client.get(
            "/", base_url="http://api.example.org", headers=CLAIMS, environ_overrides={"REMOTE_ADDR": peer}
        )
    assert answer.get_json() == expected


def test_of_several_addresses_only_the_one_that_the_ingress_added_counts(seen: Flask) -> None:
    with seen.test_client() as client:
        answer = client.get(
            "/", headers={"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}, environ_overrides={"REMOTE_ADDR": "localhost"}
        )
    assert answer.get_json()[0] == "203.0.113.9"


def test_the_bootstrap_is_closed_to_whom_the_ingress_passes_on(api: Flask) -> None:
    """Else a fresh host is everybody's."""
    with api.test_client() as client:
        answer = client.get(
            "/api/v1/apps", headers={"X-Forwarded-For": "127.0.0.1"}, environ_overrides={"REMOTE_ADDR": "localhost"}
        )
    assert answer.status_code == 401
