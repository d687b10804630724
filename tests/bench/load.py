"""Requests over kept connections, as many as the server answers, from threads that do nothing else."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass

CONNECTIONS = 4
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Rate:
    """Answers per second, and the time in seconds that one in a hundred took longer than."""

    per_second: float
    p99: float


def rate(port: int, request: bytes, status: int, seconds: float) -> Rate:
    """SystemExit when an answer has another status."""
    times: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    wrong: list[bytes] = []
    stop = time.monotonic() + seconds
    threads = [threading.Thread(target=_ask, args=(port, request, status, stop, each, wrong)) for each in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"another answer than {status}: {wrong[0][:300]!r}")
    found = sorted(one for each in times for one in each)
    return Rate(len(found) / seconds, found[int(len(found) * 0.99)])


def _ask(port: int, request: bytes, status: int, stop: float, times: list[float], wrong: list[bytes]) -> None:
    wanted = f"HTTP/1.1 {status} ".encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (begun := time.monotonic()) < stop and not wrong:
            connection.sendall(request)
            answer = _answer(connection)
            if not answer.startswith(wanted):
                wrong.append(answer)
            times.append(time.monotonic() - begun)


def _answer(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _piece(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    left = (int(length[1]) if length else 0) - len(body)
    while left > 0:
        left -= len(_piece(connection))
    return head


def _piece(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 18)
    if not piece:
        raise SystemExit("the server closed a connection")
    return piece
