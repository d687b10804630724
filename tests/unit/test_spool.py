"""Bodies at the real server: what strangers send costs neither memory nor disk, and keeps nobody else out."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from rustploy_agent import integrations, spool
from rustploy_agent.api.resource import LARGEST_BODY
from rustploy_agent.config import Settings
from rustploy_agent.listening import own
from rustploy_agent.server import Server
from rustploy_agent.spool import Body, Places
from rustploy_agent.webhooks import LARGEST, PROVIDERS, may_be_large
from tests.githost import SECRET, signature
from tests.unit.waiting import until

PATH = "/api/v1/integrations/github/webhook"
MIB = 1 << 20


class TestBody:
    def body(self, *, large: bool = True, places: Places | None = None) -> Body:
        return Body(100, (places or Places()) if large else None)

    def test_what_is_ordinary_is_kept_as_it_came(self) -> None:
        body = self.body(large=False)
        for piece in (b"a" * 50, b"b" * 50):
            body.append(piece)
        assert (len(body), body.getfile().read()) == (100, b"a" * 50 + b"b" * 50)

    def test_more_is_counted_and_not_kept(self) -> None:
        body = self.body(large=False)
        for _ in range(10):
            body.append(b"a" * 60)
        assert (len(body), len(body.getfile().read())) == (600, 60)

    def test_a_large_one_is_kept_whole(self) -> None:
        body = self.body()
        for _ in range(20):
            body.append(b"a" * 10_000)
        assert len(body.getfile().read()) == len(body) == 200_000

    def test_only_a_few_large_ones_are_kept_at_a_time(self) -> None:
        places = Places()
        bodies = [self.body(places=places) for _ in range(spool.MOST_LARGE + 1)]
        for one in bodies:
            one.append(b"a" * 101)
        assert [len(one.getfile().read()) for one in bodies] == [101] * spool.MOST_LARGE + [0]
        bodies[0].close()
        another = self.body(places=places)
        another.append(b"a" * 101)
        assert len(another.getfile().read()) == 101

    def test_one_that_is_let_go_frees_its_place(self) -> None:
        places = Places()
        for _ in range(3 * spool.MOST_LARGE):
            body = self.body(places=places)
            body.append(b"a" * 101)
        assert len(body.getfile().read()) == 101

    def test_a_slow_one_gives_its_place_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else four connections that send a byte a minute keep large webhooks out for ever."""
        places = Places()
        slow = [self.body(places=places) for _ in range(spool.MOST_LARGE)]
        for one in slow:
            one.append(b"a" * 101)
        slow[0].getfile()
        now = time.monotonic() + spool.PATIENCE_SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: now)
        quick = self.body(places=places)
        quick.append(b"b" * 101)
        assert len(quick.getfile().read()) == 101
        slow[1].append(b"a")
        assert (len(slow[1]), slow[1].getfile().read()) == (102, b"")
        assert len(slow[0].getfile().read()) == 101, "what is being read already stays"

    def test_a_full_disk_loses_the_body_and_not_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        body = self.body()
        body.append(b"a" * 50)

        def full(_: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(body._buffer, "append", full)
        body.append(b"a")
        body.append(b"a")
        assert (len(body), body.getfile().read()) == (52, b"")


@pytest.fixture
def port(api: Flask, settings: Settings) -> Iterator[int]:
    integrations.set_secret(PROVIDERS["github"], SECRET, settings.paths)
    listener = own(("127.0.0.1", 0))
    number = listener.getsockname()[1]
    server = Server(api, [listener], 4, spool.channel_class(LARGEST_BODY, may_be_large))
    loop = threading.Thread(target=server.run, daemon=True)
    loop.start()
    yield number
    server.close()
    loop.join(10)


def _post(port: int, body: Any, path: str = PATH, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body=body, headers={"Content-Type": "application/json"} | sent)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def _half(port: int, size: int) -> socket.socket:
    """A connection that has sent `size` bytes of a body that never ends."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=0\r\nContent-Length: {LARGEST}\r\n\r\n"
    connection.sendall(head.encode() + b" " * size)
    return connection


@pytest.mark.processes
class TestServer:
    def test_a_large_webhook_arrives(self, port: int) -> None:
        body = b'{"n": 1}' + b" " * (LARGEST - 8)
        proof = f"sha256={signature(SECRET, body)}"
        status, found = _post(port, body, X_Hub_Signature_256=proof, X_GitHub_Event="ping", X_GitHub_Delivery="1")
        assert (status, found["accepted"]) == (202, True)

    def test_a_chunked_one_too(self, port: int) -> None:
        body = b" " * (3 * MIB)
        proof = f"sha256={signature(SECRET, body)}"
        pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
        status, _ = _post(port, pieces, X_Hub_Signature_256=proof, X_GitHub_Event="ping", X_GitHub_Delivery="1")
        assert status == 202

    def test_without_a_proof_nothing_large_is_kept(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: list[int] = []
        monkeypatch.setattr(Body, "close", lambda self: kept.append(self._kept))
        status, found = _post(port, b" " * (2 * MIB))
        assert (status, found["error"]["code"]) == (401, "invalid_signature")
        until(lambda: kept)  # the answer may be here before the server has put the body away
        assert max(kept) <= LARGEST_BODY

    def test_one_that_is_too_large_is_told_so(self, port: int) -> None:
        status, found = _post(port, b" " * (LARGEST + 1), X_Hub_Signature_256="sha256=0")
        assert (status, found["error"]["code"]) == (413, "body_too_large")

    def test_when_all_places_are_taken_small_ones_still_come_through(self, port: int) -> None:
        """Four strangers who never finish must not keep a single push out; a fifth large body is to be sent again."""
        held = [_half(port, 2 * MIB) for _ in range(spool.MOST_LARGE)]
        body, large = b'{"n": 2}', b" " * (2 * MIB)
        headers = {"X_GitHub_Event": "ping", "X_GitHub_Delivery": "2"}

        def large_one() -> tuple[int, dict[str, Any]]:
            return _post(port, large, X_Hub_Signature_256=f"sha256={signature(SECRET, large)}", **headers)

        until(lambda: large_one()[0] == 503)
        assert large_one()[1]["error"]["code"] == "busy"
        assert _post(port, body, X_Hub_Signature_256=f"sha256={signature(SECRET, body)}", **headers)[0] == 202
        for one in held:
            one.close()
        until(lambda: large_one()[0] == 202)
