"""The service: opens the database, settles, listens, tells systemd that it is ready and alive."""

from __future__ import annotations

import http.client
import logging
import os
import threading
from typing import Any

from flask import Flask
from systemd.daemon import notify
from waitress.server import create_server

from rustploy_agent import ballast
from rustploy_agent.api import create_app
from rustploy_agent.config import Settings
from rustploy_agent.core import compose
from rustploy_agent.models import open_database
from rustploy_agent.settle import settle
from rustploy_agent.worker import Worker

log = logging.getLogger(__name__)
#: Waitress looks for idle connections so often (seconds); each look wakes the process.
MAINTENANCE_SECONDS = 30


def serve(settings: Settings) -> int:
    ballast.give_way(settings.paths)
    open_database(settings.paths.database)
    core = compose(settings)
    settle(settings, core.systemd, core.applier)
    ballast.lay(settings.paths)
    server = listen(settings, create_app(core))
    core.worker.start()
    notify("READY=1")
    log.info("listening on http://%s:%d", settings.listen_address, settings.listen_port)
    _start_watchdog(settings, core.worker)
    server.run()
    return 0


def listen(settings: Settings, app: Flask) -> Any:
    """Forwarding headers stay: nothing trusts them, only by them the bootstrap rule knows what a proxy passes on."""
    return create_server(
        app,
        host=settings.listen_address,
        port=settings.listen_port,
        threads=settings.threads,
        ident=None,
        clear_untrusted_proxy_headers=False,
        channel_request_lookahead=1,
        outbuf_high_watermark=1 << 20,
        max_request_body_size=32 << 20,
        asyncore_loop_timeout=MAINTENANCE_SECONDS,
        cleanup_interval=MAINTENANCE_SECONDS,
    )


def _start_watchdog(settings: Settings, worker: Worker) -> None:
    """Tells systemd that the agent lives, but only while it really answers and its workers run."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 2
    if interval:
        threading.Thread(target=_watch, args=(settings, worker, interval), name="watchdog", daemon=True).start()


def _watch(settings: Settings, worker: Worker, interval: float) -> None:
    pause = threading.Event()
    while not pause.wait(interval):
        if worker.alive() and _answers(settings, interval / 2):
            notify("WATCHDOG=1")
        else:
            log.error("the agent does not answer its own health check; systemd will restart it")


def _answers(settings: Settings, seconds: float) -> bool:
    connection = http.client.HTTPConnection(settings.listen_address, settings.listen_port, timeout=seconds)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
