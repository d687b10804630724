"""GET /metrics: what the agent counted, and the present as systemd and the database tell it, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import Response, g, request

from rustploy_agent import instances
from rustploy_agent.api.resource import LOCAL, Resource, core
from rustploy_agent.metrics import Labels, gauge, written
from rustploy_agent.models import OPEN, App, Deployment, Process

resource = Resource("metrics", __name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@resource.route("/metrics", scope=LOCAL)
def metrics() -> Response:
    return Response(written([*core().metrics.families(), *_present()]), content_type=CONTENT_TYPE)


def begin() -> None:
    """Before each request."""
    g.begun = time.monotonic()


def count(response: Response) -> Response:
    """After each request. One that no route takes is counted under one name, whatever it asked for."""
    operation = (request.endpoint or "none").rpartition(".")[2]
    core().metrics.request(operation, response.status_code, time.monotonic() - g.get("begun", time.monotonic()))
    return response


def _present() -> Iterator[Any]:
    waiting = dict.fromkeys(OPEN, 0)
    for deployment in Deployment.select(Deployment.status).where(Deployment.status.in_(OPEN)):
        waiting[deployment.status] += 1
    yield gauge(
        "rustploy_deployments_open", "Deployments that have not ended.", ("status",), _labelled(waiting.items())
    )
    yield gauge("rustploy_log_streams", "Log streams that are open.", (), [((), len(core().streams))])
    running, wanted = _processes()
    of_each = ("app", "process")
    yield gauge("rustploy_app_process_up", "Instances of the process that run in its active slot.", of_each, running)
    yield gauge("rustploy_app_process_wanted", "Instances of the process by the app's scale.", of_each, wanted)


def _labelled(items: Any) -> list[tuple[Labels, float]]:
    return [((name,), value) for name, value in items]


def _processes() -> tuple[list[tuple[Labels, float]], list[tuple[Labels, float]]]:
    """One query, and one question to systemd, for all of them."""
    served = App.active_slot.is_null(False) & ~App.deleting
    processes = list(
        Process.select(Process, App.name, App.scale, App.active_slot)
        .join(App)
        .where(served)
        .order_by(App.name, Process.type, Process.number)
    )
    named = {
        instances.unit(process.app, process, process.app.active_slot): (process.app.name, process.type)
        for process in processes
    }
    states = core().systemd.states(list(named)) if named else {}
    running: dict[Labels, float] = dict.fromkeys(named.values(), 0.0)
    for unit, labels in named.items():
        running[labels] += states[unit].active == "active"
    wanted: dict[Labels, float] = {
        (process.app.name, process.type): instances.wanted(process.app.scale, process.type) for process in processes
    }
    return list(running.items()), list(wanted.items())
