"""Units of the idle slot that are started while their release is still being made: their sandbox is set up meanwhile.

Each waits in its launcher, at a pipe that lies where its slot file will be, and runs nothing before that file is there.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rustploy_agent import activation, instances, reservation, slots
from rustploy_agent.errors import SystemdError
from rustploy_agent.models import Process, Release
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
        self._pipes: list[tuple[Process, int]] = []
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
        for process in filter(partial(instances.is_wanted, self._run.app), instances.of(self._run.app)):
            self._pipes.append((process, slots.reserve(self._file(process))))
            with contextlib.suppress(SystemdError):  # it is started again when there is something to run
                self._run.systemd.start(self._unit(process))

    def hand_over(self, release: Release) -> None:
        """Once the slot files are written; process types that the release does not have wait in vain."""
        for process, _ in self._pipes:
            if process.type not in release.processes:
                self._file(process).unlink(missing_ok=True)
                self._run.systemd.stop_and_wait(self._unit(process), activation.STOP_SECONDS)
        self._close()

    def _file(self, process: Process) -> Path:
        return instances.slot_file(self._run.path, process, self.slot)

    def _unit(self, process: Process) -> str:
        return instances.unit(self._run.app, process, self.slot)

    def _close(self) -> None:
        while self._pipes:
            os.close(self._pipes.pop()[1])
