"""Counts refusals that come again and again, in memory, so that only the first of a minute has to be written."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace

from rustploy_agent.events import Call

WINDOW_MS = 60_000
#: Different refusals told apart within a window; further ones share one entry without address.
MOST_APART = 50


@dataclass
class Repeating:
    """A refusal, and how often it came again since. `row` is where it was written; None while it is being written."""

    call: Call
    began: int
    row: int | None = None
    more: int = 0
    last: int = 0


class Repetitions:
    """Nobody waits for anything while the lock is held: the database's lock may be held by who waits for this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Hashable, Repeating] = {}

    def note(self, call: Call, now: int) -> tuple[Repeating | None, list[Repeating]]:
        """What has to be written: this refusal, unless it was only counted, and counts whose window has ended."""
        with self._lock:
            over = self._taken([one for one in self._open.values() if one.row and now - one.began >= WINDOW_MS])
            if _key(call) not in self._open and len(self._open) >= MOST_APART:
                call = Call(
                    "various",
                    call.actor_kind,
                    call.outcome,
                    call.actor_id,
                    call.actor_name,
                    status=call.status,
                    request_id=call.request_id,
                )
            found = self._open.get(_key(call))
            if found is None:
                fresh = self._open[_key(call)] = Repeating(call, now)
                return fresh, over
            found.more, found.last = found.more + 1, now
            return None, over

    def take(self) -> list[Repeating]:
        """All counts that are not written yet."""
        with self._lock:
            return self._taken([one for one in self._open.values() if one.row and one.more])

    def drop(self, one: Repeating) -> None:
        """It could not be written; the next of its kind is to be tried again."""
        with self._lock:
            if self._open.get(_key(one.call)) is one:
                self._taken([one])

    def clear(self) -> None:
        with self._lock:
            self._open.clear()

    def _taken(self, ended: list[Repeating]) -> list[Repeating]:
        for one in ended:
            self._open.pop(_key(one.call), None)
        return [one for one in ended if one.more]


def _key(call: Call) -> Hashable:
    return replace(call, request_id=None)
