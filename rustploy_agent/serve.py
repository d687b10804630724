"""The service: opens the database, settles, listens, tells systemd that it is ready and alive."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from typing import NoReturn

from systemd.daemon import listen_fds, notify

from rustploy_agent import ballast, damage, environment, listening, spool, stack, webhooks
from rustploy_agent.api import create_app
from rustploy_agent.api.resource import LARGEST_BODY
from rustploy_agent.config import Settings
from rustploy_agent.core import Core, compose
from rustploy_agent.errors import AgentError
from rustploy_agent.memory import give_back
from rustploy_agent.models import DatabaseError, database, open_database
from rustploy_agent.removals import Removals
from rustploy_agent.server import Server
from rustploy_agent.settle import settle

log = logging.getLogger(__name__)


def serve(settings: Settings) -> NoReturn:
    sockets = listening.sockets(settings, listen_fds())
    ballast.give_way(settings.paths)
    damage.put_aside(settings.paths)
    open_database(settings.paths.database)
    _seal_environments(settings)
    core = compose(settings)
    stack.adopt()
    _removals = Removals(core)  # listens as long as this runs
    settle(settings, core.systemd, core.applier)
    ballast.lay(settings.paths)
    core.routing.update()
    channel = spool.channel_class(LARGEST_BODY, webhooks.may_be_large)
    # Who reads a stream or waits for a deployment keeps a thread so long; the others are for the rest.
    threads = settings.threads + settings.streams + settings.waiting
    server = Server(create_app(core), sockets, threads, channel, settings.connections)
    core.metrics.connections = server.connections
    end = functools.partial(_end, core, server)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end, name="drain", daemon=True).start())
    server.wake_on_signals()
    core.worker.start()
    core.routing.watch()
    notify("READY=1")
    log.info("listening on http://%s", listening.written(listening.addresses(settings)[0]))
    _start_watchdog(server, core)
    give_back()
    server.run()
    # At once: an interrupted deployment is done again at the next start, and its threads would be waited for here.
    os._exit(0)


def _end(core: Core, server: Server) -> None:
    core.streams.end()
    server.drain()


def _seal_environments(settings: Settings) -> None:
    """Without its key the agent still shows, stops and rolls back nothing that needs no secret; doctor tells of it."""
    try:
        environment.prepare(settings.paths)
    except AgentError as error:
        log.error("%s", error.message)


def _start_watchdog(server: Server, core: Core) -> None:
    """Tells systemd that the agent lives, but only while its loop turns, its workers run and its database answers."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 2
    if interval:
        threading.Thread(target=_watch, args=(server, core, interval), name="watchdog", daemon=True).start()


def _watch(server: Server, core: Core, interval: float) -> None:
    """A lost D-Bus is dialled anew by the look at it. Where it stays away, a restart of the agent would help nobody."""
    pause = threading.Event()
    while not pause.wait(interval):
        if core.systemd.health(0) != "ok":
            log.error("systemd does not answer over D-Bus, so nothing can be deployed; see systemctl status dbus")
        if core.worker.alive() and server.turns(interval / 2) and _reads():
            notify("WATCHDOG=1")
        else:
            log.error("the agent does not pass its own health check; systemd will restart it")


def _reads() -> bool:
    try:
        database.check()
    except DatabaseError:
        log.exception("reading the database")
        return False
    return True
