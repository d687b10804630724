"""What was read from the database, for as long as nobody has written to it since: no thread of ours, no other process.

Asking whether that is so takes a hundredth of what reading and showing a long list takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from rustploy_agent.models import database

T = TypeVar("T")


class Remembered(Generic[T]):
    """At most `most` values by key."""

    def __init__(self, most: int) -> None:
        self._most = most
        #: Replaced as a whole: a thread that is late keeps what belongs to the version that it has seen.
        self._state: tuple[object, dict[Hashable, T]] = (None, {})

    def get(self, key: Hashable, read: Callable[[], T], keep: Callable[[T], bool] = lambda _: True) -> T:
        """What `read` returns, now or earlier. A transaction sees what may never come to be, so it reads for itself."""
        if database.in_transaction():
            return read()
        version = database.version()
        of, found = self._state
        if of != version:
            found = {}
            self._state = (version, found)
        if key in found:
            return found[key]
        value = read()
        if len(found) < self._most and keep(value):
            found[key] = value
        return value
