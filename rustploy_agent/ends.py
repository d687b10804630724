"""Waiting for the end of a deployment: woken by its event, not by asking the database again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rustploy_agent import events
from rustploy_agent.models import OPEN, Deployment

#: So often somebody who waits looks whether the one it waits for is still there.
LOOK_SECONDS = 1.0


class Ends:
    """`places`: how many may wait at the same time."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._changed = threading.Condition()
        self._ends = 0
        events.deployment_finished.connect(self._note)

    def wait(self, deployment_id: str, seconds: float, gone: Callable[[], bool]) -> bool:
        """False at once when all places are taken; else after the end, the time, or when nobody listens any more."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            self._wait(deployment_id, time.monotonic() + seconds, gone)
            return True
        finally:
            self._places.release()

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
