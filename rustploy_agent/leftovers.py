"""What could not be cleaned up after a switch is tried again, later and later. The next start does it as well."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from rustploy_agent import deploy
from rustploy_agent.errors import Conflict
from rustploy_agent.models import App, Release
from rustploy_agent.run import Run

log = logging.getLogger(__name__)
FIRST_SECONDS, LONGEST_SECONDS = 5.0, 600.0


class Leftovers:
    """`hold` keeps deployments of an app from beginning while something is done here."""

    def __init__(self, hold: Callable[[str, float], AbstractContextManager[object]]) -> None:
        self._hold = hold
        self._timers: dict[str, threading.Timer] = {}

    def later(self, run: Run, seconds: float | None = None) -> None:
        pause = FIRST_SECONDS if seconds is None else seconds
        timer = threading.Timer(pause, self._try, (run, pause))
        timer.daemon = True
        self._timers[run.app.id] = timer
        timer.start()

    def stop(self) -> None:
        for timer in list(self._timers.values()):
            timer.cancel()
            timer.join()

    def _try(self, run: Run, seconds: float) -> None:
        try:
            with self._hold(run.app.id, 0):
                _finish(run)
        except Conflict:
            self.later(run, seconds)
        except Exception as error:  # whatever it is, the old release must not run for ever
            log.warning("cleaning up after deployment %s: %s", run.deployment.id, error)
            self.later(run, min(2 * seconds, LONGEST_SECONDS))


def _finish(run: Run) -> None:
    """Nothing, when another deployment has switched meanwhile: it began with stopping the slot that this one left."""
    app = App.get_or_none(App.id == run.app.id, ~App.deleting)
    if app is None or app.active_release_id != run.deployment.release_id:
        return
    run.app = app
    deploy.finish(run, Release.get_by_id(app.active_release_id))
    run.log("what was left after the switch is cleaned up")
