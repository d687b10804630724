"""One HTTP request to an app on loopback, asked as a visitor would ask it through the ingress."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
PROBE_SECONDS = 5
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?:[ \r\n]|$)")
LOCATION = re.compile(rb"(?i)\r?\nLocation:[ \t]*([^\r\n]{1,2000})")
SET_COOKIE = re.compile(rb"(?i)\r?\nSet-Cookie:")
LONGEST_LINE, LONGEST_HEAD = 4096, 32 * 1024
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Visitor:
    """Whom a probe plays: the name that is asked for, and the scheme that the ingress tells the app. None: neither."""

    host: str | None = None
    scheme: str | None = None


NOBODY = Visitor()


@dataclass(frozen=True)
class Probe:
    """One answer, or why there was none; `status` is that of the first answer."""

    healthy: bool
    outcome: str
    timed_out: bool = False
    listened: bool = True
    status: int | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    location: str | None
    sets_cookie: bool


def probe(
    port: int,
    path: str,
    seconds: float = PROBE_SECONDS,
    status: int | None = None,
    visitor: Visitor = NOBODY,
) -> Probe:
    """Ask once. Healthy is this status, or any from 200 to 399; redirects to the same host are followed then.

    `seconds` are for all of it, however slowly the app drips.
    """
    deadline = time.monotonic() + seconds
    try:
        answer = _ask(port, path, deadline, visitor)
        if isinstance(answer, str):
            return Probe(False, answer)
        if status is not None:
            wrong = "" if answer.status == status else f", not {status}"
            return Probe(not wrong, f"status {answer.status}{wrong}", status=answer.status)
        return _followed(port, path, deadline, visitor, answer)
    except TimeoutError:
        return Probe(False, f"no answer within {seconds:.1f} s", timed_out=True)
    except ConnectionRefusedError as error:
        return Probe(False, f"{type(error).__name__}: {error}", listened=False)
    except OSError as error:
        return Probe(False, f"{type(error).__name__}: {error}")


def _followed(port: int, path: str, deadline: float, visitor: Visitor, first: _Answer) -> Probe:
    """What a visitor meets in the end. Only what is surely broken makes a redirect unhealthy."""
    answer, here = first, path
    for _ in range(MOST_REDIRECTS):
        there = _same_host(answer.location, visitor, port, here) if 300 <= answer.status < 400 else None
        if there is None:
            break
        if there == here and not answer.sets_cookie:
            return Probe(False, f"status {answer.status} to itself, {answer.location}", status=first.status)
        try:
            following = _ask(port, there, deadline, visitor)
        except OSError:
            break
        if isinstance(following, str):
            break
        answer, here = following, there
    where = "" if here == path else f" at {here}"
    leads = f" to {answer.location}" if answer.location and 300 <= answer.status < 400 else ""
    healthy = 200 <= first.status < 400 and (here == path or (answer.status < 500 and answer.status != 400))
    return Probe(healthy, f"status {answer.status}{where}{leads}", status=first.status)


def _same_host(location: str | None, visitor: Visitor, port: int, here: str) -> str | None:
    """The path that a redirect leads to, with its query; None when it leads to another host or scheme."""
    try:
        parts = urlsplit(location or "")
        named = parts.hostname
    except ValueError:
        return None
    if not location or parts.scheme not in ("", visitor.scheme or "http"):
        return None
    if named not in (None, (visitor.host or LOOPBACK).lower()):
        return None
    path = parts.path or "/"
    if not path.startswith("/"):
        path = here.partition("?")[0].rpartition("/")[0] + "/" + path
    path += f"?{parts.query}" if parts.query else ""
    return path if path.isascii() and path.isprintable() and " " not in path else None


def _ask(port: int, path: str, deadline: float, visitor: Visitor) -> _Answer | str:
    """The answer to one GET, or a sentence about what came instead of one; OSError when there is no connection."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {visitor.host or f'{LOOPBACK}:{port}'}", "User-Agent: rustploy-health"]
    lines += ["Accept: */*", "Connection: close"]
    lines += [f"X-Forwarded-Proto: {visitor.scheme}", f"X-Forwarded-For: {LOOPBACK}"] if visitor.scheme else []
    with socket.create_connection((LOOPBACK, port), timeout=max(deadline - time.monotonic(), 0.001)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = _read(connection, deadline, b"", b"\n", LONGEST_LINE)
        found = STATUS_LINE.match(head)
        if found is None:
            line = head.partition(b"\n")[0]
            return f"no HTTP answer but {line[:60]!r}" if line else "closed the connection without an answer"
        status = int(found[1])
        if 300 <= status < 400:
            try:
                head = _read(connection, deadline, head, b"\r\n\r\n", LONGEST_HEAD)
            except OSError:
                head = b""
    location = LOCATION.search(head)
    return _Answer(status, location[1].decode("latin-1").strip() if location else None, bool(SET_COOKIE.search(head)))


def _read(connection: socket.socket, deadline: float, received: bytes, end: bytes, longest: int) -> bytes:
    while end not in received and len(received) < longest:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(longest)
        if not piece:
            break
        received += piece
    return received
