"""Waiting for the end of a deployment: woken by its event, not by asking the database again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rustploy_agent import events
from rustploy_agent.models import OPEN, Deployment
from rustploy_agent.shares import Holder, Places

#: So often somebody who waits looks whether the one it waits for is still there.
LOOK_SECONDS = 1.0
#: One caller may have this part of the places.
PART = 4


class Ends:
    """`most`: how many may wait at the same time."""

    def __init__(self, most: int) -> None:
        self._places = Places(most, PART)
        self._changed = threading.Condition()
        self._ends = 0
        events.deployment_finished.connect(self._note)

    def wait(self, deployment_id: str, seconds: float, gone: Callable[[], bool], holder: Holder) -> bool:
        """False at once when there is no place; else after the end, the time, or when nobody listens any more."""
        if self._places.take(holder) is not None:
            return False
        try:
            self._wait(deployment_id, time.monotonic() + seconds, gone)
            return True
        finally:
            self._places.free(holder)

    def _wait(self, deployment_id: str, deadline: float, gone: Callable[[], bool]) -> None:
        seen = -1
        while (left := deadline - time.monotonic()) > 0 and not gone():
            with self._changed:
                ends = self._ends
                if ends == seen:
                    self._changed.wait(min(left, LOOK_SECONDS))
                    ends = self._ends
            if ends != seen and not _is_open(deployment_id):
                return
            seen = ends

    def _note(self, _: Deployment) -> None:
        with self._changed:
            self._ends += 1
            self._changed.notify_all()


def _is_open(deployment_id: str) -> bool:
    return bool(Deployment.select().where(Deployment.id == deployment_id, Deployment.status.in_(OPEN)).exists())
