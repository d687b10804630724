"""The real server in front of the app: what it does to a request decides who counts as a caller from this host."""

from __future__ import annotations

import contextlib
import http.client
import json
import pwd
import socket
import threading
from collections.abc import Iterator

import pytest
from flask import Flask

from rustploy_agent.listening import own
from rustploy_agent.server import Server
from tests.unit import contract

pytestmark = pytest.mark.processes


@pytest.fixture
def port(api: Flask) -> Iterator[int]:
    listener = own(("127.0.0.1", 0))
    number = listener.getsockname()[1]
    server = Server(api, [listener], threads=4)
    loop = threading.Thread(target=server.run, daemon=True)
    loop.start()
    yield number
    server.close()
    loop.join(10)


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


def test_the_first_token_can_be_made_from_this_host_but_not_by_an_app(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that lost all its data has no users, but the apps still run."""
    assert get(port, "/api/v1/tokens")[0] == 200
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(("rp-blog", "x", 1, 1, "", "/", "/bin/sh")))
    assert get(port, "/api/v1/tokens")[0] == 401


def test_a_chunked_body_is_held_to_the_limit_too(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    pieces = (b" " * 65536 for _ in range(20))
    connection.request("POST", "/api/v1/apps", body=pieces, headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "body_too_large")


def ask(port: int, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back for these very bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):  # refused while still sending
            connection.sendall(raw)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, dict(response.getheaders()), response.read()


MALFORMED = {
    "no request line": b"nonsense\r\n\r\n",
    "header without colon": b"GET /api/v1/health HTTP/1.1\r\nHost x\r\n\r\n",
    "blank in a header's name": b"GET /api/v1/health HTTP/1.1\r\nContent-Length : 0\r\n\r\n",
    "negative length": b"POST /api/v1/apps HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "length that is no number": b"POST /api/v1/apps HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
    "two lengths": b"POST /api/v1/apps HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bare newline": b"GET /api/v1/health\nx HTTP/1.1\r\n\r\n",
    "wrong chunk": b"POST /api/v1/apps HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        *(pytest.param(raw, 400, "malformed_request", id=name) for name, raw in MALFORMED.items()),
        pytest.param(
            b"POST /api/v1/apps HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "unsupported_transfer_encoding",
            id="encoding",
        ),
        pytest.param(
            b"GET /api/v1/health HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431, "headers_too_large", id="headers"
        ),
        pytest.param(
            b"POST /api/v1/apps HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413, "body_too_large", id="body"
        ),
    ],
)
def test_what_is_no_request_gets_the_one_error_shape_too(port: int, raw: bytes, status: int, code: str) -> None:
    """Clients parse errors; a page of text in between breaks them just when they need to know."""
    got, headers, body = ask(port, raw)
    assert (got, json.loads(body)["error"]["code"]) == (status, code)
    contract.check("GET", "/api/v1/health", got, headers, body, json.loads(body))


def test_a_defect_beneath_the_application_gets_it_too(
    port: int, api: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halfway() -> Iterator[bytes]:
        raise ZeroDivisionError("secret detail")
        yield b""

    monkeypatch.setitem(api.view_functions, "health-alias.health", halfway)
    got, headers, body = ask(port, b"GET /health HTTP/1.0\r\n\r\n")
    assert (got, json.loads(body)["error"]["code"]) == (500, "internal_error")
    assert b"secret detail" not in body and headers["X-Request-Id"] in json.loads(body)["error"]["message"]
    assert "secret detail" in caplog.text and headers["X-Request-Id"] in caplog.text
