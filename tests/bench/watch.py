"""Asking again and again until something is there, the same way on both sides of a comparison."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.005
PATIENCE_SECONDS = 300


def until(predicate: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not predicate():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_SECONDS} s for {what}")
        time.sleep(PAUSE_SECONDS)


def page(address: str, host: str | None = None) -> str | None:
    """The page with status 200 at that address, by that name; None when there is none."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.read().decode(errors="replace") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def page_shows(address: str, text: str, what: str, host: str | None = None) -> None:
    until(lambda: text in (page(address, host) or ""), f"{what} to show {text!r}")
