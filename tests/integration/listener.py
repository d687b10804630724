"""A reader of server-sent events, as a browser's EventSource is one."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.machine import Machine


class Listener:
    """One log stream. Its events are collected in a thread of their own until it is closed or the agent ends it."""

    def __init__(
        self, machine: Machine, app: str, query: str = "", *, token: str | None = None, last: str = ""
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.last, self.comments, self.ended = last, 0, False
        headers = {"Authorization": f"Bearer {token or machine.token}"} | ({"Last-Event-ID": last} if last else {})
        self._connection = http.client.HTTPConnection("127.0.0.1", machine.place.port, timeout=60)
        self._connection.request("GET", f"/api/v1/apps/{app}/logs/stream{query}", headers=headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        self.status, self.headers = self._answer.status, dict(self._answer.headers)
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200:
            self._thread.start()

    def _read(self) -> None:
        try:
            fields: dict[str, str] = {}
            for raw in self._answer:
                line = raw.decode().rstrip("\n")
                if not line:
                    self._dispatch(fields)
                    fields = {}
                elif line.startswith(":"):
                    self.comments += 1
                else:
                    name, _, value = line.partition(": ")
                    fields[name] = value
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.ended = True

    def _dispatch(self, fields: dict[str, str]) -> None:
        if fields.get("event") == "logs":
            self.last = fields["id"]
            self.events.append(json.loads(fields["data"]))

    def shown(self) -> list[str]:
        """What a page that follows the contract shows by now."""
        lines: list[str] = []
        for event in list(self.events):
            lines = ([] if event["reset"] else lines) + (event["logs"].split("\n") if event["logs"] else [])
        return lines

    def saw(self, text: str) -> bool:
        return any(text in event["logs"] for event in list(self.events))

    def wait_for(self, condition: Callable[[], object], seconds: float = 20, what: str = "") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}; {self.events[-3:]}"
            time.sleep(0.02)

    def close(self) -> None:
        """As a browser that goes away."""
        with contextlib.suppress(OSError):  # ended by the agent already
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(10)
        self._connection.close()
