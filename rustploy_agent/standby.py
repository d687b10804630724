"""What the next deployment needs waits for it in its sandbox: most of what a small one takes is setting those up.

That of the app which was deployed last, for some minutes: who deploys often does so again soon. Fetch and build wait
with their programs loaded, the idle slot's units in their launcher, each at a pipe in the place of what it shall do.
They run nothing of anybody before that is there. It needs no agent to wait; one that starts ends what waited for the
one before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rustploy_agent import instances, pipes, slots, unit_files, units
from rustploy_agent.config import Settings
from rustploy_agent.errors import Conflict
from rustploy_agent.models import OPEN, App, Deployment
from rustploy_agent.systemd import Systemd

log = logging.getLogger(__name__)
STOP_SECONDS = 20
#: How long the end of what has done its job is waited for. Longer than that a fetch tidies its mirror up, and may.
END_SECONDS = 1
#: How soon units of an app that was held by somebody are tried to be ended again.
AGAIN_SECONDS = 5.0
#: The unit of each kind of job, by the app's name.
JOBS = {"fetch": units.fetch, "build": units.build}


@dataclass(frozen=True)
class Waiting:
    """A unit that was set up, by which files, and until when it is wanted at most (time.monotonic)."""

    app: App
    unit: str
    pipe: Path
    files: unit_files.Identity
    until: float


class Standby:
    """`hold` keeps deployments of an app from beginning while its units are stopped."""

    def __init__(
        self, settings: Settings, systemd: Systemd, hold: Callable[[str, float], AbstractContextManager[object]]
    ) -> None:
        self._settings, self._systemd, self._hold = settings, systemd, hold
        self._lock = threading.Lock()
        self._latest: str | None = None
        self._waiting: dict[str, Waiting] = {}
        self._timer: threading.Timer | None = None

    def ready(self, app: App, jobs: Iterable[str], *, slot: bool = True) -> None:
        """While the app is held; with its idle `slot`. What goes wrong here costs the next deployment a moment only.

        Not while others want to be deployed: they need the processor more.
        """
        try:
            open_ones = Deployment.select().where(Deployment.status.in_(OPEN))
            if not self._settings.standby_minutes or open_ones.exists():
                return
            with self._lock:
                self._latest = app.id
            path = self._settings.paths.app(app.name)
            for kind in jobs:
                self._set_up(app, JOBS[kind](app.name), job_file(path, kind))
            for unit, file in self._idle_slot(App.get_by_id(app.id), path) if slot else ():
                self._set_up(app, unit, file)
        except Exception as error:
            log.warning("nothing waits for the next deployment of %s: %s", app.name, error)
        self.tidy()

    def _idle_slot(self, app: App, path: Path) -> list[tuple[str, Path]]:
        """Units and slot files of what the next deployment will start; none while the slot is not left yet."""
        slot, wanted = app.idle_slot, instances.wanted_of(app)
        found = {instances.unit(app, process, slot): instances.slot_file(path, process, slot) for process in wanted}
        if app.stopped or any(file.is_file() for file in slots.of_slot(path, slot)):
            return []
        states = self._systemd.states(list(found))
        return list(found.items()) if all(states[unit].ended or found[unit].is_fifo() for unit in found) else []

    def _set_up(self, app: App, unit: str, pipe: Path) -> None:
        if not (pipe.is_fifo() and self.is_current(unit)):
            if pipe.is_fifo():
                self._systemd.stop_and_wait(unit, STOP_SECONDS)
            elif self._systemd.settle(unit, END_SECONDS, ended=True) is None:
                return
            pipe.unlink(missing_ok=True)
            pipes.make(pipe)
        until = time.monotonic() + 60 * self._settings.standby_minutes
        one = Waiting(app, unit, pipe, unit_files.identity(unit), until)
        with self._lock:
            self._waiting[unit] = one
        self._systemd.start(unit)
        if self._systemd.needs_reload(unit):  # it was set up by what its files said before
            self._dismiss(one)

    def is_current(self, unit: str) -> bool:
        """Whether it was set up here, and by the files that lie there now; apply and operators change them."""
        with self._lock:
            one = self._waiting.get(unit)
        return one is not None and one.files == unit_files.identity(unit)

    def tidy(self) -> None:
        """Ends what waits for an app that is not the latest, or has waited long enough; the rest later."""
        with self._lock:
            unwanted = [one for one in self._waiting.values() if not self._is_wanted(one)]
        for one in unwanted:
            self._end(one)
        self._come_back()

    def _is_wanted(self, one: Waiting) -> bool:
        return one.app.id == self._latest and time.monotonic() < one.until

    def _end(self, one: Waiting) -> None:
        """Not while the app is held: then it may be at work; what could not be ended is tried again.

        Of a removed app nothing is left to end, and one made later with its name is another.
        """
        try:
            with self._hold(one.app.id, 0):
                with self._lock:
                    is_last = self._waiting.get(one.unit) is one  # else it was set up anew meanwhile
                if is_last and App.select().where(App.id == one.app.id).exists():
                    self._dismiss(one)
                elif is_last:
                    self._forget(one)
        except Conflict:
            return
        except Exception as error:
            log.warning("what waits for the next deployment of %s: %s", one.app.name, error)

    def _dismiss(self, one: Waiting) -> None:
        """What is at work has no pipe any more."""
        if one.pipe.is_fifo():
            self._systemd.stop_and_wait(one.unit, STOP_SECONDS)
            one.pipe.unlink(missing_ok=True)
        self._forget(one)

    def _forget(self, one: Waiting) -> None:
        with self._lock:
            self._waiting.pop(one.unit, None)

    def _come_back(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._waiting:
                now = time.monotonic()
                pauses = [one.until - now if self._is_wanted(one) else AGAIN_SECONDS for one in self._waiting.values()]
                self._timer = threading.Timer(min(pauses), self.tidy)
                self._timer.daemon = True
                self._timer.start()

    def stop(self) -> None:
        """What waits goes on waiting."""
        with self._lock:
            self._waiting.clear()
        self._come_back()


def job_file(app: Path, kind: str) -> Path:
    return app / "jobs" / f"{kind}.json"


def dismiss_jobs(settings: Settings, systemd: Systemd, app: str) -> None:
    """Nothing waits for this app's next job any more, nor works off one that nobody will ask about."""
    for kind, unit in JOBS.items():
        job = job_file(settings.paths.app(app), kind)
        if job.exists():
            systemd.stop_and_wait(unit(app), STOP_SECONDS)
            job.unlink(missing_ok=True)


@contextlib.contextmanager
def waiting(systemd: Systemd, unit: str, job: Path) -> Iterator[bool]:
    """Whether the unit waits for the job that is to be written inside; it goes on when this is left."""
    try:
        pipe = pipes.hold(job)
    except OSError:
        yield False
        return
    try:
        yield stat.S_ISFIFO(os.fstat(pipe).st_mode) and systemd.state(unit).up
    finally:
        os.close(pipe)
