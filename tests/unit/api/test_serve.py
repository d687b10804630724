"""The real server in front of the app: what it does to a request decides who counts as a caller from this host."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from rustploy_agent.config import Settings
from rustploy_agent.serve import listen

pytestmark = pytest.mark.processes


@pytest.fixture
def port(api: Flask, settings: Settings) -> Iterator[int]:
    server = listen(dataclasses.replace(settings, listen_port=0, threads=4), api)
    threading.Thread(target=_run, args=(server,), daemon=True).start()
    yield server.effective_port
    server.close()


def _run(server: Any) -> None:
    with contextlib.suppress(OSError):  # closed under its loop when the test is over
        server.run()


def get(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via", "X-Forwarded-Proto"])
def test_what_a_proxy_on_this_host_passes_on_is_not_from_this_host(port: int, header: str) -> None:
    """A web server before an agent without users would else make the whole Internet admin."""
    assert get(port, "/api/v1/tokens")[0] == 200
    assert get(port, "/api/v1/tokens", **{header: "for=192.0.2.1"})[0] == 401


def test_a_forwarded_address_does_not_make_anybody_local(port: int) -> None:
    assert get(port, "/api/v1/tokens", **{"X-Forwarded-For": "127.0.0.1"})[0] == 401


def test_a_chunked_body_is_held_to_the_limit_too(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    pieces = (b" " * 65536 for _ in range(20))
    connection.request("POST", "/api/v1/apps", body=pieces, headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "body_too_large")
