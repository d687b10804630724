"""Probes an app over HTTP until it is healthy, or says what was tried and why not."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from rustploy_agent import sockets

LOOPBACK = "127.0.0.1"
PROBE_SECONDS = 5
UNCERTAIN = "it is not certain whose process listens on the port"
STATUS_LINE, LONGEST_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?:[ \r]|$)"), 4096


@dataclass(frozen=True)
class Probe:
    """One answer, or why there was none."""

    healthy: bool
    outcome: str
    timed_out: bool = False
    listened: bool = True


def probe(port: int, path: str, seconds: float = PROBE_SECONDS, status: int | None = None) -> Probe:
    """One GET; healthy is this status, or any from 200 to 399. `seconds` are for all, however slowly the app drips."""
    deadline = time.monotonic() + seconds
    headers = f"Host: {LOOPBACK}:{port}\r\nUser-Agent: rustploy-health\r\nAccept: */*\r\nConnection: close"
    try:
        with socket.create_connection((LOOPBACK, port), timeout=seconds) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode("ascii"))
            line = _first_line(connection, deadline)
    except TimeoutError:
        return Probe(False, f"no answer within {seconds:.1f} s", timed_out=True)
    except ConnectionRefusedError as error:
        return Probe(False, f"{type(error).__name__}: {error}", listened=False)
    except OSError as error:
        return Probe(False, f"{type(error).__name__}: {error}")
    answer = STATUS_LINE.match(line)
    if answer is None:
        return Probe(False, f"no HTTP answer but {line[:60]!r}" if line else "closed the connection without an answer")
    found = int(answer[1])
    healthy = 200 <= found < 400 if status is None else found == status
    return Probe(healthy, f"status {found}" + (f", not {status}" if status and not healthy else ""))


def _first_line(connection: socket.socket, deadline: float) -> bytes:
    received = b""
    while b"\n" not in received and len(received) < LONGEST_STATUS_LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(LONGEST_STATUS_LINE)
        if not piece:
            break
        received += piece
    return received.partition(b"\n")[0]


@dataclass
class HealthCheck:
    """Probes until healthy, out of time, or `interrupted` (which raises by itself) objects.

    The pauses grow from 2 ms to half a second, unless an interval was chosen.
    """

    port: int
    owner: int
    path: str
    timeout_seconds: float
    status: int | None = None
    interval_seconds: float | None = None

    def passes(self) -> bool:
        """Whether the app answers as it should at this moment; one try."""
        answer = probe(self.port, self.path, min(PROBE_SECONDS, self.timeout_seconds), self.status)
        return answer.healthy and sockets.server(self.port) == self.owner

    def wait(self, interrupted: Callable[[], None]) -> str:
        """What was seen, as a sentence; raises Unhealthy when the time is over."""
        started, tries, seen = time.monotonic(), 0, "nothing listened"
        next_try = started
        while (elapsed := time.monotonic() - started) < self.timeout_seconds:
            interrupted()
            if (now := time.monotonic()) >= next_try:
                left = self.timeout_seconds - elapsed
                answer = probe(self.port, self.path, min(PROBE_SECONDS, left), self.status)
                if answer.listened:
                    next_try = now + (self.interval_seconds or 0)
                    tries += 1
                    # A last try that the deadline cut short says less than what was seen before.
                    if not answer.timed_out or left >= PROBE_SECONDS or tries == 1:
                        seen = answer.outcome
                if answer.healthy:
                    server = sockets.server(self.port)
                    if server == self.owner:
                        return f"{self.address} answered {seen} after {time.monotonic() - started:.2f} s"
                    seen = "another user's process listens on the port" if server is not None else UNCERTAIN
            time.sleep(min(max(0.002, elapsed / 24), 0.5))
        tried = f"{tries} tries, the last: {seen}" if tries else f"{seen} on {LOOPBACK}:{self.port}, the app's $PORT"
        raise Unhealthy(f"GET {self.address} was not healthy within {self.timeout_seconds:g} s; {tried}")

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}{self.path}"


class Unhealthy(Exception):
    pass
