"""Slows down guessing of passwords, per account and client, per client, and per account. Kept in memory.

The pause belongs to who fails. All clients together have an allowance per account as well, for guessing from many
addresses; one client alone cannot use it up, and who has logged in from where he is does not need it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

#: Failures that are free, and the pause after the first that is not, in seconds; each further one doubles it.
FREE, FIRST_PAUSE, LONGEST_PAUSE = 5, 2.0, 900.0
#: A client may fail with more accounts than one person has.
FREE_PER_CLIENT = 20
#: Failures with one account from anywhere: so many at once, then one each so many seconds.
ACCOUNT_BURST, ACCOUNT_SECONDS = 100, 60.0
#: Failures are forgotten so long after the last one.
FORGOTTEN_AFTER = 24 * 3600.0
#: How many keys are remembered of each kind; the longest unused are forgotten first.
MOST_KEYS = 10_000
Clock = Callable[[], float]


class Buckets:
    """For each key an allowance of `size` that fills up again by one in `seconds`."""

    def __init__(self, size: int, seconds: float, clock: Clock = time.monotonic) -> None:
        self._size, self._seconds, self._clock, self._lock = size, seconds, clock, threading.Lock()
        self._spent: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Takes one, or says how many seconds to wait for it."""
        with self._lock:
            spent = self._now_spent(key)
            if spent > self._size - 1:
                return (spent - self._size + 1) * self._seconds
            self._put(key, spent + 1)
            return 0.0

    def give_back(self, key: Hashable) -> None:
        with self._lock:
            self._put(key, max(0.0, self._now_spent(key) - 1))

    def _now_spent(self, key: Hashable) -> float:
        spent, when = self._spent.get(key, (0.0, 0.0))
        return max(0.0, spent - (self._clock() - when) / self._seconds)

    def _put(self, key: Hashable, spent: float) -> None:
        self._spent.pop(key, None)
        self._spent[key] = (spent, self._clock())
        _shrink(self._spent)


class Throttle:
    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[Hashable, None] = OrderedDict()
        self._accounts = Buckets(ACCOUNT_BURST, ACCOUNT_SECONDS, clock)

    def attempt(self, account: str, client: str) -> float:
        """0, and the try counts as failed until `succeeded`, or the seconds that this client has to wait.

        Counted before the password is looked at, so that many tries at once are no way around it.
        """
        pair = (account, client)
        with self._lock:
            pause = max(self._left(pair, FREE), self._left(client, FREE_PER_CLIENT))
            if not pause and pair not in self._known:
                pause = self._accounts.take(account)
            if not pause:
                for key in (pair, client):
                    self._failures[key] = (self._failures.pop(key, (0, 0.0))[0] + 1, self._clock())
                _shrink(self._failures)
            return pause

    def succeeded(self, account: str, client: str) -> None:
        pair = (account, client)
        with self._lock:
            self._failures.pop(pair, None)
            count, last = self._failures.get(client, (0, 0.0))
            if count:
                self._failures[client] = (count - 1, last)
            if pair not in self._known:
                self._accounts.give_back(account)
            self._known.pop(pair, None)
            self._known[pair] = None
            _shrink(self._known)

    def _left(self, key: Hashable, free: int) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if self._clock() - last > FORGOTTEN_AFTER:
            self._failures.pop(key, None)
            return 0.0
        if count < free:
            return 0.0
        pause = min(FIRST_PAUSE * 2.0 ** min(count - free, 20), LONGEST_PAUSE)
        return max(0.0, last + pause - self._clock())


def _shrink(remembered: OrderedDict[Hashable, Any]) -> None:
    while len(remembered) > MOST_KEYS:
        remembered.popitem(last=False)
