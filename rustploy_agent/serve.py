"""The service: opens the database, settles, listens, tells systemd that it is ready and alive."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from flask import Flask
from systemd.daemon import notify
from waitress.server import create_server

from rustploy_agent import ballast, environment
from rustploy_agent.api import create_app
from rustploy_agent.config import Settings
from rustploy_agent.core import compose
from rustploy_agent.errors import AgentError
from rustploy_agent.models import DatabaseError, database, open_database
from rustploy_agent.refusals import Channel
from rustploy_agent.settle import settle
from rustploy_agent.worker import Worker

log = logging.getLogger(__name__)
#: Waitress looks for idle connections so often (seconds); each look wakes the process.
MAINTENANCE_SECONDS = 30


def serve(settings: Settings) -> int:
    ballast.give_way(settings.paths)
    open_database(settings.paths.database)
    _seal_environments(settings)
    core = compose(settings)
    settle(settings, core.systemd, core.applier)
    ballast.lay(settings.paths)
    server = listen(settings, create_app(core))
    core.worker.start()
    notify("READY=1")
    log.info("listening on http://%s:%d", settings.listen_address, settings.listen_port)
    _start_watchdog(server, core.worker)
    server.run()
    return 0


def _seal_environments(settings: Settings) -> None:
    """Without its key the agent still shows, stops and rolls back nothing that needs no secret; doctor tells of it."""
    try:
        environment.prepare(settings.paths)
    except AgentError as error:
        log.error("%s", error.message)


def listen(settings: Settings, app: Flask) -> Any:
    """Forwarding headers stay: nothing trusts them, only by them the bootstrap rule knows what a proxy passes on."""
    server = create_server(
        app,
        host=settings.listen_address,
        port=settings.listen_port,
        threads=settings.threads,
        connection_limit=1000,
        ident=None,
        clear_untrusted_proxy_headers=False,
        channel_request_lookahead=1,
        outbuf_high_watermark=1 << 20,
        max_request_body_size=32 << 20,
        max_request_header_size=64 << 10,
        asyncore_loop_timeout=MAINTENANCE_SECONDS,
        cleanup_interval=MAINTENANCE_SECONDS,
    )
    server.channel_class = Channel
    return server


def _start_watchdog(server: Any, worker: Worker) -> None:
    """Tells systemd that the agent lives, but only while its loop turns, its workers run and its database answers."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 2
    if interval:
        threading.Thread(target=_watch, args=(server, worker, interval), name="watchdog", daemon=True).start()


def _watch(server: Any, worker: Worker, interval: float) -> None:
    pause = threading.Event()
    while not pause.wait(interval):
        if worker.alive() and _turns(server, interval / 2) and _reads():
            notify("WATCHDOG=1")
        else:
            log.error("the agent does not pass its own health check; systemd will restart it")


def _turns(server: Any, seconds: float) -> bool:
    """Whether the server's loop comes around. Not a request of our own: any app may take all connections there are."""
    turned = threading.Event()
    server.trigger.pull_trigger(turned.set)
    return turned.wait(seconds)


def _reads() -> bool:
    try:
        database.execute_sql("SELECT 1")
    except DatabaseError:
        log.exception("reading the database")
        return False
    return True
