"""Health checks: a release that does not answer well must not serve, and nothing an app does may hold a deployment."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rustploy_agent import health, http_probe
from rustploy_agent.http_probe import Probe, Visitor

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
    found = http_probe.probe(app(saying(b"HTTP/1.1 %d Whatever\r\n\r\n" % status)), "/")
    assert found == Probe(True, f"status {status}", status=status)


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
    found = http_probe.probe(app(saying(text)), "/")
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
    assert http_probe.probe(app(drip), "/", 0.4).outcome == "no answer within 0.4 s"
    assert time.monotonic() - started < 2


def test_a_port_where_nothing_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert "ConnectionRefusedError" in http_probe.probe(port, "/").outcome


def test_the_request_names_its_path_and_host(app: Callable[[App], int]) -> None:
    seen: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            seen.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    port = app(answer)
    http_probe.probe(port, "/up?x=%20")
    assert seen[0].startswith(b"GET /up?x=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.parametrize(("answered", "outcome"), [(401, "status 401"), (200, "status 200, not 401")])
def test_only_the_status_that_was_chosen_is_healthy(app: Callable[[App], int], answered: int, outcome: str) -> None:
    """Else a placeholder page with 200 takes the place of what should serve, and a login wall never gets to serve."""
    port = app(saying(b"HTTP/1.1 %d Whatever\r\n\r\n" % answered))
    assert http_probe.probe(port, "/", status=401) == Probe(answered == 401, outcome, status=answered)


def check(port: int, owner: int | None = None, seconds: float = 0.5, **wishes: Any) -> health.HealthCheck:
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


def routes(pages: dict[str, bytes], seen: list[str] | None = None) -> App:
    """Answers each path with its head; notes the heads of the requests."""

    def answer(connection: socket.socket) -> None:
        with connection:
            request = connection.recv(4096).decode()
            if seen is not None:
                seen.append(request)
            connection.sendall(pages.get(request.split()[1], b"HTTP/1.1 404 No\r\n\r\n"))

    return answer


def moved(where: str, status: int = 302, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} Moved\r\n{more}Location: {where}\r\n\r\n".encode()


OK = b"HTTP/1.1 200 OK\r\n\r\n"
SECURE = Visitor("blog.example.org", "https")


def test_the_probe_asks_as_a_visitor_would(app: Callable[[App], int]) -> None:
    """An app that refuses its public name was called healthy and answered 400 to everybody."""
    seen: list[str] = []
    http_probe.probe(app(routes({"/": OK}, seen)), "/", visitor=SECURE)
    assert "\r\nHost: blog.example.org\r\n" in seen[0]
    assert "\r\nX-Forwarded-Proto: https\r\n" in seen[0]


@pytest.mark.parametrize("where", ["/login?next=/", "https://blog.example.org/login?next=/", "login?next=/"])
def test_a_redirect_on_the_same_host_is_followed(app: Callable[[App], int], where: str) -> None:
    """A login page that fails is an app that nobody can use."""
    port = app(routes({"/": moved(where), "/login?next=/": OK}))
    assert http_probe.probe(port, "/", visitor=SECURE) == Probe(True, "status 200 at /login?next=/", status=302)
    port = app(routes({"/": moved(where), "/login?next=/": b"HTTP/1.1 500 Oops\r\n\r\n"}))
    assert http_probe.probe(port, "/", visitor=SECURE) == Probe(False, "status 500 at /login?next=/", status=302)


@pytest.mark.parametrize(
    "where",
    ["https://accounts.example.net/", "http://blog.example.org/", "//other.example.org/x", "http://[", "mailto:x"],
)
def test_a_redirect_to_elsewhere_is_healthy_and_told(app: Callable[[App], int], where: str) -> None:
    """Single sign-on is no fault of the app, and no request of ours goes where an app says."""
    found = http_probe.probe(app(routes({"/": moved(where)})), "/", visitor=SECURE)
    assert found == Probe(True, f"status 302 to {where}", status=302)


def test_a_redirect_to_itself_is_no_answer(app: Callable[[App], int]) -> None:
    """An app that wants HTTPS and does not believe the ingress redirects its visitors for ever."""
    port = app(routes({"/": moved("https://blog.example.org/", 301)}))
    found = http_probe.probe(port, "/", visitor=SECURE)
    assert (found.healthy, found.outcome) == (False, "status 301 to itself, https://blog.example.org/")
    port = app(routes({"/": moved("/", 302, "Set-Cookie: seen=1\r\n")}))
    assert http_probe.probe(port, "/", visitor=SECURE).healthy, "it may be content once the cookie comes back"


def test_redirects_without_end_do_not_hold_the_probe(app: Callable[[App], int]) -> None:
    seen: list[str] = []

    def answer(connection: socket.socket) -> None:
        routes({f"/{len(seen)}": moved(f"/{len(seen) + 1}")}, seen)(connection)

    assert http_probe.probe(app(answer), "/0").healthy
    assert len(seen) <= http_probe.MOST_REDIRECTS + 1


def test_a_steady_refusal_is_told_after_seconds_and_names_the_host(
    app: Callable[[App], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django answers 400 to a name that ALLOWED_HOSTS lacks; nobody should wait a minute for that."""
    monkeypatch.setattr(health, "STEADY_SECONDS", 0.3)

    def answer(connection: socket.socket) -> None:
        with connection:
            named = b"Host: blog.example.org" in connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" if named else OK)

    started = time.monotonic()
    with pytest.raises(
        health.Unhealthy, match=r"last: status 400; without that name it answers status 200.*ALLOWED_HOSTS"
    ):
        check(app(answer), seconds=30, host="blog.example.org", scheme="https").wait(lambda: None)
    assert time.monotonic() - started < 10


def test_what_may_heal_is_waited_for(app: Callable[[App], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers answer 404 until their routes are there."""
    monkeypatch.setattr(health, "STEADY_SECONDS", 0.1)
    until = time.monotonic() + 1
    port = app(lambda one: saying(OK if time.monotonic() > until else b"HTTP/1.1 404 Not yet\r\n\r\n")(one))
    assert "answered status 200" in check(port, seconds=10).wait(lambda: None)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_in_another_place_is_named(family: socket.AddressFamily, address: str) -> None:
    """Who reads 'nothing listened' of an app that says it listens has nothing to go by."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with socket.create_server((address, 0), family=family) as listening:
        place = f"[{address}]" if ":" in address else address
        with pytest.raises(health.Unhealthy) as told:
            check(port, seconds=0.05).wait(lambda: None)
        assert f"{place}:{listening.getsockname()[1]}" in str(told.value)
