"""What fetches and builds the next deployment waits for it, loaded and in its sandbox: half of what a small one takes.

That of the app which was deployed last, for some minutes: who deploys often does so again soon. Each unit waits at a
pipe in the place of its job, and runs nothing of anybody before there is a job. It needs no agent to wait; an agent
that starts ends what waited for the one before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rustploy_agent import units
from rustploy_agent.config import Settings
from rustploy_agent.errors import Conflict
from rustploy_agent.models import OPEN, App, Deployment
from rustploy_agent.systemd import Systemd

log = logging.getLogger(__name__)
STOP_SECONDS = 20
#: How soon units of an app that was held by somebody are tried to be ended again.
AGAIN_SECONDS = 5.0
#: The unit of each kind of job, by the app's name.
UNITS = {"fetch": units.fetch, "build": units.build}


@dataclass(frozen=True)
class Waiting:
    """A unit that was set up, for which app, and until when it is wanted at most (time.monotonic)."""

    app: App
    kind: str
    until: float


class Standby:
    """`hold` keeps deployments of an app from beginning while its units are stopped."""

    def __init__(
        self, settings: Settings, systemd: Systemd, hold: Callable[[str, float], AbstractContextManager[None]]
    ) -> None:
        self._settings, self._systemd, self._hold = settings, systemd, hold
        self._lock = threading.Lock()
        self._latest: str | None = None
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._timer: threading.Timer | None = None

    def ready(self, app: App, kinds: tuple[str, ...]) -> None:
        """While the app is held. What goes wrong here costs the next deployment a moment, and nothing else.

        Not while others want to be deployed: they need the processor more.
        """
        try:
            open_ones = Deployment.select().where(Deployment.status.in_(OPEN))
            if not kinds or not self._settings.standby_minutes or open_ones.exists():
                return
            with self._lock:
                self._latest = app.id
            for kind in kinds:
                self._set_up(app, kind)
        except Exception as error:
            log.warning("nothing waits for the next deployment of %s: %s", app.name, error)
        self.tidy()

    def _set_up(self, app: App, kind: str) -> None:
        job, unit = job_file(self._settings.paths.app(app.name), kind), UNITS[kind](app.name)
        if not job.is_fifo():  # else somebody may wait at it
            if self._systemd.settle(unit, STOP_SECONDS, ended=True) is None:
                return
            job.unlink(missing_ok=True)
            os.mkfifo(job)
            job.chmod(0o640)
        with self._lock:
            until = time.monotonic() + 60 * self._settings.standby_minutes
            self._waiting[app.name, kind] = Waiting(app, kind, until)
        self._systemd.start(unit)

    def tidy(self) -> None:
        """Ends what waits for an app that is not the latest, or has waited long enough; the rest later."""
        with self._lock:
            unwanted = [one for one in self._waiting.values() if not self._is_wanted(one)]
        for one in unwanted:
            if self._end(one):
                with self._lock:
                    if self._waiting.get((one.app.name, one.kind)) is one:
                        del self._waiting[one.app.name, one.kind]
        self._come_back()

    def _is_wanted(self, one: Waiting) -> bool:
        return one.app.id == self._latest and time.monotonic() < one.until

    def _end(self, one: Waiting) -> bool:
        """Not while the app is being deployed: then it may be at work. Of a removed one nothing is left to end.

        An app made later with its name is another one, whose units are nobody's to stop here.
        """
        try:
            with self._hold(one.app.id, 0):
                if App.select().where(App.id == one.app.id).exists():
                    dismiss(self._settings, self._systemd, one.app.name, one.kind)
        except Conflict:
            return False
        except Exception as error:
            log.warning("what waits for the next %s of %s: %s", one.kind, one.app.name, error)
        return True

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


def dismiss(settings: Settings, systemd: Systemd, app: str, *kinds: str) -> None:
    """Nothing waits for this app's next job any more, nor works off one that nobody will ask about."""
    for kind in kinds or UNITS:
        job = job_file(settings.paths.app(app), kind)
        if job.exists():
            systemd.stop_and_wait(UNITS[kind](app), STOP_SECONDS)
            job.unlink(missing_ok=True)


@contextlib.contextmanager
def waiting(systemd: Systemd, unit: str, job: Path) -> Iterator[bool]:
    """Whether the unit waits for the job that is to be written inside; it goes on when this is left."""
    try:
        pipe = os.open(job, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield stat.S_ISFIFO(os.fstat(pipe).st_mode) and systemd.state(unit).active in ("activating", "active")
    finally:
        os.close(pipe)
