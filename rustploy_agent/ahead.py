"""Units of the idle slot that run while their release is still being made, so that their sandbox is there for it.

Those that wait since the deployment before (standby.py) are taken as they are, the others are started. Each waits in
its launcher, at a pipe that lies where its slot file will be, and runs nothing before that file is there.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rustploy_agent import activation, instances, pipes, reservation
from rustploy_agent.errors import SystemdError
from rustploy_agent.models import Process, Release
from rustploy_agent.run import Run


class Ahead:
    """To be left when `begin` has nothing under way any more. Units that were handed nothing wait on, to be stopped."""

    def __init__(self, run: Run) -> None:
        self.slot: str = run.app.idle_slot
        self._run = run
        self._pipes: list[tuple[Process, int]] = []
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, aside: ThreadPoolExecutor) -> None:
        """For when the fetch is on its way: that is what takes longest, so it comes first."""
        self._under_way = aside.submit(self._prepare)

    def finish(self) -> None:
        """What `begin` began, or all of it; users, limits and units of the app's process types exist then."""
        if self._under_way is None:
            self._prepare()
        else:
            self._under_way.result()

    def _prepare(self) -> None:
        """The units carry the deployment's id first, which needs apply now and then."""
        run, app = self._run, self._run.app
        reservation.claim(app, run.deployment, self.slot)
        run.applier.ensure(app.name, removals=False)
        wanted = instances.wanted_of(app)
        states = run.systemd.states([self._unit(process) for process in wanted])
        waiting = [one for one in wanted if self._waits(one) and states[self._unit(one)].up]
        activation.stop_slot(run, self.slot, waiting)
        missing = [process for process in wanted if process not in waiting]
        for process in missing:
            pipes.make(self._file(process))
        for process in wanted:
            self._pipes.append((process, pipes.hold(self._file(process))))
        for process in missing:
            with contextlib.suppress(SystemdError):  # it is started again when there is something to run
                run.systemd.start(self._unit(process))

    def _waits(self, process: Process) -> bool:
        return self._file(process).is_fifo() and self._run.stands_by(self._unit(process))

    def hand_over(self, release: Release) -> None:
        """Once the slot files are written; process types that the release does not have wait in vain."""
        for process, _ in self._pipes:
            if process.type not in release.processes:
                self._run.systemd.stop_and_wait(self._unit(process), activation.STOP_SECONDS)
                self._file(process).unlink(missing_ok=True)
        self._close()

    def _file(self, process: Process) -> Path:
        return instances.slot_file(self._run.path, process, self.slot)

    def _unit(self, process: Process) -> str:
        return instances.unit(self._run.app, process, self.slot)

    def _close(self) -> None:
        while self._pipes:
            os.close(self._pipes.pop()[1])
