"""What the server answers itself, before the application sees a request: in the one error shape as well."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import struct
import time
from typing import Any, NamedTuple

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

log = logging.getLogger(__name__)
CODES = {
    400: "malformed_request",
    413: "body_too_large",
    431: "headers_too_large",
    501: "unsupported_transfer_encoding",
}
#: How long the headers of a request may take to arrive, from its first byte on.
HEADERS_SECONDS = 20
#: How long its body may take, and the bytes that buy another second each.
BODY_SECONDS, BODY_BYTES_PER_SECOND = 30, 4096


class Farewell(NamedTuple):
    """An answer to a connection that ends without one from the application."""

    status: str
    code: str
    message: str

    def written(self) -> bytes:
        body, reference = document(self.code, self.message), secrets.token_hex(8)
        lines = [
            f"HTTP/1.1 {self.status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {reference}",
            "Retry-After: 30",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


SLOW_HEADERS = Farewell("408 Request Timeout", "request_timeout", f"the headers took longer than {HEADERS_SECONDS} s")
SLOW_BODY = Farewell(
    "408 Request Timeout",
    "request_timeout",
    f"the body took longer than {BODY_SECONDS} s and a second for each {BODY_BYTES_PER_SECOND} bytes",
)


def document(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "details": []}}).encode()


class Refusal(ErrorTask):  # type: ignore[misc]
    """The connection ends with it: where the next request would begin is not known."""

    def execute(self) -> None:
        error, reference = self.request.error, secrets.token_hex(8)
        code, message = CODES.get(error.code, "internal_error"), str(error.body)
        if code == "internal_error":
            log.error("internal error %s in the server", reference)  # waitress has logged the traceback right before
            message = f"internal error {reference}; journalctl -u rustploy-agent has the details"
        body = document(code, message)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("X-Request-Id", reference),
            ("Connection", "close"),
        ]
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. `client`: whose it is, once a door that has many of them has looked."""

    error_task_class = Refusal
    client: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._begun = 0.0

    def received(self, data: bytes) -> bool:
        before = self.request
        taken: bool = super().received(data)
        if self.request is not before:
            self._begun = time.monotonic()
        return taken

    @property
    def arriving(self) -> bool:
        """A request has begun and is not complete."""
        return self.request is not None and not self.requests

    def overdue(self) -> Farewell | None:
        """What to answer when a request takes too long to arrive."""
        if not self.arriving:
            return None
        taken = time.monotonic() - self._begun
        if not self.request.headers_finished:
            return SLOW_HEADERS if taken > HEADERS_SECONDS else None
        granted = BODY_SECONDS + self.request.body_bytes_received / BODY_BYTES_PER_SECOND
        return SLOW_BODY if taken > granted else None

    def turn_away(self, farewell: Farewell, *, traceless: bool = False) -> None:
        """End a connection on which nothing is being answered. The answer is sent if it can be sent at once.

        `traceless`: nothing of it stays in the kernel's tables, as it else does for a minute (TIME_WAIT).
        """
        if not self.total_outbufs_len:
            with contextlib.suppress(OSError):
                self.socket.send(farewell.written())
        if traceless:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handle_close()
