"""Removals of apps that were broken off are carried on by themselves, later and later. The next start does it as well.

An app whose removal has begun is no app any more, but its name is not free: nobody could do anything but delete again.
"""

from __future__ import annotations

import logging
import threading

from rustploy_agent import apps, events
from rustploy_agent.core import Core
from rustploy_agent.errors import Conflict
from rustploy_agent.models import App, rest

log = logging.getLogger(__name__)
FIRST_SECONDS, LONGEST_SECONDS = 2.0, 300.0


class Removals:
    def __init__(self, core: Core) -> None:
        self._core = core
        events.removal_broken_off.connect(self._broken_off)

    def _broken_off(self, app: App) -> None:
        log.warning("the removal of %s was broken off and is carried on soon", app.name)
        self._later(app, FIRST_SECONDS)

    def _later(self, app: App, seconds: float) -> None:
        timer = threading.Timer(seconds, self._carry_on, (app, seconds))
        timer.daemon = True
        timer.start()

    def _carry_on(self, app: App, seconds: float) -> None:
        core = self._core
        try:
            with core.worker.hold(app.id, 0):
                if App.select().where(App.id == app.id, App.deleting).exists():
                    apps.finish_removal(app, core.settings, core.systemd, core.applier)
                    log.info("the removal of %s is done", app.name)
        except Conflict:
            self._later(app, seconds)
        except Exception as error:  # whatever it is, the name must come free
            log.warning("the removal of %s, tried again later: %s", app.name, error)
            self._later(app, min(2 * seconds, LONGEST_SECONDS))
        finally:
            rest()
