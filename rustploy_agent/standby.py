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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from rustploy_agent import units
from rustploy_agent.config import Settings
from rustploy_agent.errors import Conflict, SystemdError
from rustploy_agent.models import OPEN, App, Deployment
from rustploy_agent.systemd import Systemd

log = logging.getLogger(__name__)
STOP_SECONDS = 20
#: The unit of each kind of job, by the app's name.
UNITS = {"fetch": units.fetch, "build": units.build}


def job_file(app: Path, kind: str) -> Path:
    return app / "jobs" / f"{kind}.json"


class Standby:
    """`hold` keeps deployments of an app from beginning while its units are stopped."""

    def __init__(
        self, settings: Settings, systemd: Systemd, hold: Callable[[str, float], AbstractContextManager[None]]
    ) -> None:
        self._settings, self._systemd, self._hold = settings, systemd, hold
        self._lock = threading.Lock()
        self._app: App | None = None
        self._timer: threading.Timer | None = None

    def ready(self, app: App, kinds: tuple[str, ...]) -> None:
        """While the app is held. What goes wrong here costs the next deployment a moment, and nothing else.

        Not while others want to be deployed: they need the processor more.
        """
        if not kinds or not self._settings.standby_minutes:
            return
        if Deployment.select().where(Deployment.status.in_(OPEN)).exists():
            return
        before = self._expect(app)
        if before is not None and before.name != app.name:
            self._dismiss(before)
        for kind in kinds:
            job, unit = job_file(self._settings.paths.app(app.name), kind), UNITS[kind](app.name)
            try:
                if not job.is_fifo():  # else somebody may wait at it
                    self._systemd.settle(unit, STOP_SECONDS, ended=True)
                    job.unlink(missing_ok=True)
                    os.mkfifo(job)
                    job.chmod(0o640)
                self._systemd.start(unit)
            except (OSError, SystemdError) as error:
                log.warning("nothing waits for the next %s of %s: %s", kind, app.name, error)

    def stop(self) -> None:
        """What waits goes on waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _expect(self, app: App) -> App | None:
        """The app of the last time, which is not expected any more."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(60 * self._settings.standby_minutes, self._expire, (app,))
            self._timer.daemon = True
            self._timer.start()
            before, self._app = self._app, app
            return before

    def _expire(self, app: App) -> None:
        if not self._dismiss(app):
            self._expect(app)

    def _dismiss(self, app: App) -> bool:
        """Not while it is being deployed: then something of it may be at work."""
        try:
            with self._hold(app.id, 0):
                dismiss(self._settings, self._systemd, app.name)
        except Conflict:
            return False
        except SystemdError as error:
            log.warning("what waits for the next deployment of %s: %s", app.name, error)
        return True


def dismiss(settings: Settings, systemd: Systemd, app: str) -> None:
    """Nothing waits for this app's next deployment any more."""
    for kind, unit in UNITS.items():
        job = job_file(settings.paths.app(app), kind)
        if job.is_fifo():
            systemd.stop_and_wait(unit(app), STOP_SECONDS)
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
