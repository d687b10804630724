"""Health checks: a release that does not answer well must not serve, and nothing an app does may hold a deployment."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rustploy_agent import health

pytestmark = pytest.mark.processes
App = Callable[[socket.socket], None]


@pytest.fixture
def app() -> Iterator[Callable[[App], int]]:
    """Listens and lets a function answer each connection; the port."""
    sockets: list[socket.socket] = []

    def listen(answer: App) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(listening.getsockname()[1])

    yield listen
    for listening in sockets:
        listening.close()


def saying(text: bytes) -> App:
    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(text)

    return answer


@pytest.mark.parametrize("status", [200, 204, 301, 399])
def test_a_good_status_is_healthy(app: Callable[[App], int], status: int) -> None:
    found = health.probe(app(saying(b"HTTP/1.1 %d Whatever\r\n\r\n" % status)), "/")
    assert found == health.Probe(True, f"status {status}")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "status 500"),
        (b"HTTP/1.0 404\r\n\r\n", "status 404"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer but b'SSH-2.0-OpenSSH\\r'"),
        (b"HTTP/1.1 20000 x\r\n", "no HTTP answer"),
        (b"x" * 100_000, "no HTTP answer"),
        (b"", "closed the connection"),
    ],
)
def test_everything_else_is_not_and_is_told(app: Callable[[App], int], text: bytes, outcome: str) -> None:
    found = health.probe(app(saying(text)), "/")
    assert not found.healthy
    assert outcome in found.outcome


def test_an_app_that_drips_does_not_hold_the_probe(app: Callable[[App], int]) -> None:
    """Each byte came in time, so a limit for each wait alone let a deployment hang for days."""

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b"H")
                time.sleep(0.05)

    started = time.monotonic()
    assert health.probe(app(drip), "/", 0.4).outcome == "no answer within 0.4 s"
    assert time.monotonic() - started < 2


def test_a_port_where_nothing_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert "ConnectionRefusedError" in health.probe(port, "/").outcome


def test_the_request_names_its_path_and_host(app: Callable[[App], int]) -> None:
    seen: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            seen.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    port = app(answer)
    health.probe(port, "/up?x=%20")
    assert seen[0].startswith(b"GET /up?x=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.parametrize(("answered", "outcome"), [(401, "status 401"), (200, "status 200, not 401")])
def test_only_the_status_that_was_chosen_is_healthy(app: Callable[[App], int], answered: int, outcome: str) -> None:
    """Else a placeholder page with 200 takes the place of what should serve, and a login wall never gets to serve."""
    port = app(saying(b"HTTP/1.1 %d Whatever\r\n\r\n" % answered))
    assert health.probe(port, "/", status=401) == health.Probe(answered == 401, outcome)


def check(port: int, owner: int | None = None, seconds: float = 0.5, **wishes: int) -> health.HealthCheck:
    return health.HealthCheck(port, os.geteuid() if owner is None else owner, "/", seconds, **wishes)


def test_an_app_that_becomes_well_in_time_is_healthy(app: Callable[[App], int]) -> None:
    answers = iter([b"HTTP/1.1 503 Later\r\n\r\n"] * 3)
    port = app(lambda connection: saying(next(answers, b"HTTP/1.1 200 OK\r\n\r\n"))(connection))
    assert "answered status 200" in check(port, seconds=10).wait(lambda: None)


def test_the_chosen_interval_lies_between_two_requests(app: Callable[[App], int]) -> None:
    """Else an app whose check costs much is asked twice a second while it starts."""
    asked: list[float] = []

    def answer(connection: socket.socket) -> None:
        asked.append(time.monotonic())
        saying(b"HTTP/1.1 503 Later\r\n\r\n" if len(asked) < 2 else b"HTTP/1.1 200 OK\r\n\r\n")(connection)

    check(app(answer), seconds=10, interval_seconds=1).wait(lambda: None)
    assert len(asked) == 2 and 0.9 < asked[1] - asked[0] < 2  # the server notes when its thread runs


def test_a_listener_of_another_user_is_not_the_app(app: Callable[[App], int]) -> None:
    """Another app could take the port and be given this one's visitors."""
    port = app(saying(b"HTTP/1.1 200 OK\r\n\r\n"))
    with pytest.raises(health.Unhealthy, match="another user"):
        check(port, owner=os.geteuid() + 1).wait(lambda: None)


def test_a_listener_that_may_be_of_two_users_is_not_the_app(
    app: Callable[[App], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is not said to be another user's, which would send its owner looking for one."""
    monkeypatch.setattr("rustploy_agent.sockets.server", lambda port: None)
    with pytest.raises(health.Unhealthy, match="not certain whose"):
        check(app(saying(b"HTTP/1.1 200 OK\r\n\r\n"))).wait(lambda: None)


def test_the_reason_says_what_was_tried(app: Callable[[App], int]) -> None:
    port = app(saying(b"HTTP/1.1 500 Oops\r\n\r\n"))
    with pytest.raises(health.Unhealthy, match=rf"GET http://127.0.0.1:{port}/ .* 0.5 s; .* the last: status 500"):
        check(port).wait(lambda: None)


def test_a_last_try_that_the_deadline_cut_short_does_not_hide_what_was_seen(app: Callable[[App], int]) -> None:
    answers = iter([saying(b"HTTP/1.1 500 Oops\r\n\r\n")])
    port = app(lambda connection: next(answers, lambda _: time.sleep(2))(connection))
    with pytest.raises(health.Unhealthy, match="the last: status 500"):
        check(port).wait(lambda: None)


def test_a_cancelled_deployment_is_not_waited_for() -> None:
    class Cancelled(Exception):
        pass

    def interrupt() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        check(1, seconds=60).wait(interrupt)


def test_where_nothing_listened_is_said() -> None:
    """An app that takes another port than $PORT is the commonest mistake there is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check = health.HealthCheck(port, os.getuid(), "/", 0.05)
    with pytest.raises(health.Unhealthy, match=rf"nothing listened on 127\.0\.0\.1:{port}, the app's \$PORT"):
        check.wait(lambda: None)
