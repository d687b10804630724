"""Units of the idle slot that are started while their release is still being made: their sandbox is set up meanwhile.

Each waits in its launcher, at a pipe that lies where its slot file will be, and runs nothing before that file is there.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

from rustploy_agent import activation, reservation, slots, units
from rustploy_agent.errors import SystemdError
from rustploy_agent.models import Release
from rustploy_agent.run import Run


def claim(run: Run, slot: str) -> None:
    """Nothing of an earlier deployment is in the idle slot, and its units are to be this one's."""
    activation.stop_slot(run, slot)
    reservation.claim(run.app, run.deployment, slot)


class Ahead:
    """To be left when `begin` has nothing under way any more. Units that were handed nothing wait on, to be stopped."""

    def __init__(self, run: Run) -> None:
        self.slot: str = run.app.idle_slot
        self._run = run
        self._pipes: dict[str, int] = {}
        self.prepared: Future[None] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, aside: ThreadPoolExecutor) -> None:
        """For when the fetch is on its way: that is what takes longest, so it comes first."""
        self.prepared = aside.submit(self._prepare)

    def _prepare(self) -> None:
        """The units carry the deployment's id first, which needs apply now and then."""
        claim(self._run, self.slot)
        self._run.applier.ensure(self._run.app.name, removals=False)
        for process_type in activation.process_types(self._run.app):
            self._pipes[process_type] = slots.reserve(slots.path(self._run.path, process_type, self.slot))
            with contextlib.suppress(SystemdError):  # it is started again when there is something to run
                self._run.systemd.start(units.app(self._run.app.name, process_type, self.slot))

    def hand_over(self, release: Release) -> None:
        """Once the slot files are written; process types that the release does not have wait in vain."""
        for process_type in set(self._pipes) - set(release.processes):
            slots.path(self._run.path, process_type, self.slot).unlink(missing_ok=True)
            unit = units.app(self._run.app.name, process_type, self.slot)
            self._run.systemd.stop_and_wait(unit, activation.STOP_SECONDS)
        self._close()

    def _close(self) -> None:
        while self._pipes:
            os.close(self._pipes.popitem()[1])
