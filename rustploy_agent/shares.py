"""Places for requests that last: log streams, those that wait for a deployment, and those that wait for other programs.

No caller and no app gets more than its share, so that one token cannot keep everybody else out.
"""

from __future__ import annotations

import threading
from collections import Counter
from enum import Enum
from typing import NamedTuple


class Holder(NamedTuple):
    """Who asks, and about which app; None when it is about none that is there already."""

    caller: str
    app: str | None = None


class Lack(Enum):
    """Why there is no place: all are taken, or all that this caller or this app may have."""

    ALL = "all"
    CALLER = "caller"
    APP = "app"


class Places:
    """`most` places, of which one caller may have the `part`-th part, and one app half."""

    def __init__(self, most: int, part: int) -> None:
        self.most = most
        self.of = {Lack.ALL: most, Lack.CALLER: max(1, most // part), Lack.APP: max(1, most // 2)}
        self._lock = threading.Lock()
        self._taken: Counter[tuple[str, str | None]] = Counter()
        self._all = 0

    def take(self, holder: Holder) -> Lack | None:
        """None when the place is taken, to be given back with `free`."""
        caller, app = self._keys(holder)
        with self._lock:
            if self._all >= self.most:
                return Lack.ALL
            if self._taken[caller] >= self.of[Lack.CALLER]:
                return Lack.CALLER
            if holder.app is not None and self._taken[app] >= self.of[Lack.APP]:
                return Lack.APP
            self._all += 1
            self._taken.update((caller, app))
            return None

    def free(self, holder: Holder) -> None:
        with self._lock:
            self._all -= 1
            self._taken.subtract(self._keys(holder))
            self._taken = +self._taken  # who has none is forgotten

    @staticmethod
    def _keys(holder: Holder) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
        return ("caller", holder.caller), ("app", holder.app)
