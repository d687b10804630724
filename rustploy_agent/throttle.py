"""Slows down guessing of passwords, per account and client address and per client address alone.

The pause belongs to who fails, never to the account: a stranger who guesses cannot lock its owner out. Kept in memory.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

#: Failures that are free, and the pause after the first that is not, in seconds; each further one doubles it.
FREE, FIRST_PAUSE, LONGEST_PAUSE = 5, 2.0, 900.0
#: An address may fail with more accounts than one person has.
FREE_PER_ADDRESS = 20
#: How many keys are remembered; the longest unused are forgotten first.
MOST_KEYS = 10_000


class Throttle:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def wait(self, account: str, address: str) -> float:
        """Seconds this client has to wait before its next try; 0 when it may try now."""
        with self._lock:
            return max(self._left((account, address), FREE), self._left(address, FREE_PER_ADDRESS))

    def failed(self, account: str, address: str) -> None:
        with self._lock:
            for key in ((account, address), address):
                count, _ = self._failures.pop(key, (0, 0.0))
                self._failures[key] = (count + 1, self._clock())
            while len(self._failures) > MOST_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        with self._lock:
            self._failures.pop((account, address), None)

    def _left(self, key: Hashable, free: int) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if count < free:
            return 0.0
        pause = min(FIRST_PAUSE * 2.0 ** min(count - free, 20), LONGEST_PAUSE)
        return max(0.0, last + pause - self._clock())
