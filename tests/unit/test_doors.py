"""The doors of the API: whoever opens connections and sends nothing keeps nobody else out."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from rustploy_agent import descriptors, peers, refusals
from rustploy_agent.errors import SystemdError
from rustploy_agent.listening import own
from rustploy_agent.server import Server
from rustploy_agent.systemd import Systemd
from tests.unit import contract
from tests.unit.waiting import until

pytestmark = pytest.mark.processes
MOST = 40
QUARTER = MOST // 4
#: Where the ingress comes in, in these tests.
Knock = Callable[..., socket.socket]


@pytest.fixture
def held() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def server(tmp_path: Path, held: threading.Event) -> Iterator[Server]:
    app = Flask("api")

    @app.route("/", methods=["GET", "POST"])
    def answer() -> str:
        return "answered"

    @app.get("/held")
    def wait() -> str:
        held.wait(30)
        return "answered late"

    ingress = socket.socket(socket.AF_UNIX)
    ingress.bind(str(tmp_path / "socket"))
    ingress.listen(1024)
    made = Server(app, [own(("127.0.0.1", 0)), ingress], threads=QUARTER + 4, connections=MOST)
    loop = threading.Thread(target=made.run, daemon=True)
    loop.start()
    yield made
    held.set()
    made.close()
    loop.join(10)


@pytest.fixture
def knock(server: Server, tmp_path: Path) -> Iterator[Knock]:
    """Opens a connection as the ingress does for this visitor, and sends the beginning of a request."""
    with contextlib.ExitStack() as opened:

        def make(visitor: str, rest: str = "", what: str = "POST / HTTP/1.1\r\nContent-Length: 9") -> socket.socket:
            connection = opened.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(20)
            connection.connect(str(tmp_path / "socket"))
            with contextlib.suppress(BrokenPipeError):  # refused already; the answer is there
                headers = f"Host: x\r\nX-Forwarded-For: 192.0.2.99, {visitor}"
                connection.sendall(f"{what}\r\n{headers}\r\n\r\n{rest}".encode())
            return connection

        yield make


def answered(connection: socket.socket) -> tuple[int, str]:
    """Status, and the body or the code of the error."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    if response.status < 400:
        return response.status, body.decode()
    contract.check("GET", "/api/v1/health", response.status, dict(response.getheaders()), body, json.loads(body))
    return response.status, json.loads(body)["error"]["code"]


def opened(server: Server, door: str = "ingress") -> int:
    return server.connections()[door][0]


def test_one_visitor_has_a_quarter_of_the_door_and_others_are_served(server: Server, knock: Knock) -> None:
    """Else a thousand slow requests from one address are an API that answers nobody."""
    slow = [knock("192.0.2.1") for _ in range(MOST * 3)]
    assert answered(knock("192.0.2.2", "complete.")) == (200, "answered")
    assert answered(slow[0]) == (429, "too_many_connections")
    until(lambda: opened(server) <= QUARTER + 1)
    slow[-1].sendall(b"complete.")
    assert answered(slow[-1]) == (200, "answered")


def test_many_visitors_fill_it_and_one_more_is_served(server: Server, knock: Knock) -> None:
    """Else four addresses do what one may not."""
    for number in range(MOST * 2):
        knock(f"192.0.2.{number % 8}")
    assert answered(knock("198.51.100.1", "complete.")) == (200, "answered")
    until(lambda: opened(server) <= MOST)
    assert opened(server) > MOST // 2


def test_what_is_being_answered_is_not_ended(server: Server, knock: Knock, held: threading.Event) -> None:
    """Else a visitor's own flood, or that of a neighbour at the same address, breaks off a deployment's answer."""
    waiting = knock("192.0.2.1", what="GET /held HTTP/1.1")
    until(lambda: any(channel.requests for channel in server._channels()))
    slow = [knock("192.0.2.1") for _ in range(MOST)]
    assert answered(slow[0]) == (429, "too_many_connections")
    held.set()
    assert answered(waiting) == (200, "answered late")


def test_an_ipv6_visitor_is_its_network(server: Server, knock: Knock) -> None:
    """Whoever has one address there has a /64 of them."""
    for number in range(MOST):
        knock(f"2001:db8::{number:x}")
    assert answered(knock("2001:db8:1::1", "complete.")) == (200, "answered")
    until(lambda: opened(server) <= QUARTER + 1)


def test_one_door_does_not_fill_the_other(server: Server, knock: Knock) -> None:
    """Else visitors of api.domain keep root's curl out."""
    for number in range(MOST * 2):
        knock(f"192.0.2.{number % 100}")
    port = server._doors[0].effective_port
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"answered"
    connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_idle_connections_of_this_host_end_when_there_are_too_many(server: Server, sent: bytes) -> None:
    port = int(server._doors[0].effective_port)
    with contextlib.ExitStack() as stack:
        for _ in range(MOST * 2):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            one.sendall(sent)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"answered"
        connection.close()
        until(lambda: opened(server, "tcp") <= QUARTER + 17)


def test_tables_that_cannot_be_read_do_not_end_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the agent ends as soon as it wants to know who fills it and has no descriptor left to look."""
    monkeypatch.setattr(peers, "TABLES", (tmp_path,))
    port = int(server._doors[0].effective_port)
    with contextlib.ExitStack() as stack:
        for _ in range(QUARTER * 2):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        until(lambda: opened(server, "tcp") == QUARTER * 2)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"answered"
        connection.close()
        assert server.turns(10)


class TestSlow:
    """A request that does not come holds a connection, and what was kept of its body."""

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rustploy_agent.doors.LOOK_SECONDS", 0.05)
        monkeypatch.setattr(refusals, "HEADERS_SECONDS", 0.3)
        monkeypatch.setattr(refusals, "BODY_SECONDS", 0.3)
        monkeypatch.setattr(refusals, "BODY_BYTES_PER_SECOND", 10)

    def test_headers_have_a_deadline(self, server: Server) -> None:
        port = int(server._doors[0].effective_port)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            until(lambda: opened(server, "tcp") == 1)
            assert answered(connection) == (408, "request_timeout")
        assert server.connections()["tcp"][1] == 1

    def test_dripping_headers_do_not_move_it(self, server: Server) -> None:
        port = int(server._doors[0].effective_port)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - begun < 20:
                    connection.sendall(b"x")
                    time.sleep(0.02)
            assert time.monotonic() - begun < 10

    def test_a_body_has_one_that_grows_with_what_came(self, server: Server, knock: Knock) -> None:
        slow, steady = knock("192.0.2.1"), knock("192.0.2.2", "complete", "POST / HTTP/1.1\r\nContent-Length: 9")
        assert answered(slow) == (408, "request_timeout")
        steady.sendall(b".")
        assert answered(steady) == (200, "answered")

    def test_between_two_requests_there_is_none(self, server: Server) -> None:
        """Else a client that keeps its connection is cut off between two requests."""
        port = int(server._doors[0].effective_port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"answered"
            time.sleep(0.4)
            assert connection.sock is not None
        connection.close()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """This process has as few left as keep the agent from taking more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_connection_takes_the_last_descriptors(server: Server, knock: Knock, few_descriptors: None) -> None:
    """Else GLib, which asks systemd, finds none and ends the whole agent."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors.KEPT + 1, hard))
    refused = knock("192.0.2.1", what="GET / HTTP/1.1")
    assert answered(refused) == (503, "too_many_connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors.KEPT + 100, hard))
    assert answered(knock("192.0.2.1", what="GET / HTTP/1.1")) == (200, "answered")


def test_systemd_is_not_asked_when_there_are_no_descriptors_left(
    few_descriptors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GLib ends the process that gets none for its own pipe; an error ends one request."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors.LAST, hard))
    monkeypatch.setattr("rustploy_agent.systemd.AGAIN_SECONDS", 0)
    with pytest.raises(SystemdError, match="no file descriptors left"):
        Systemd().state("rustploy-agent.service")


def test_where_few_descriptors_are_allowed_doors_take_fewer(few_descriptors: None) -> None:
    """Else a host whose operator lowered LimitNOFILE= has the agent end for want of one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    listener = own(("127.0.0.1", 0))
    made = Server(Flask("api"), [listener], threads=4)
    assert 16 < made._doors[0].most < (1024 - descriptors.KEPT) // 3
    listener.close()
