"""/apps/{app}/start, /stop, /restart, /scale: the active release, without a deployment."""

from __future__ import annotations

from typing import Any

from rustploy_agent import apps, lifecycle, scaling
from rustploy_agent.api.apps import full_view
from rustploy_agent.api.calls import Manner
from rustploy_agent.api.resource import Resource, body, complete, core, slow_request
from rustploy_agent.fields import Fields, integer
from rustploy_agent.names import process_type
from rustploy_agent.ports import WEB
from rustploy_agent.units import MOST_INSTANCES

resource = Resource("lifecycle", __name__)


@resource.route("/apps/<app_id>/start", methods=["POST"], scope="deploy")
def start_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with slow_request(app.id):
        return full_view(lifecycle.start(app, core()))


@resource.route("/apps/<app_id>/stop", methods=["POST"], scope="deploy")
def stop_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with slow_request(app.id):
        return full_view(lifecycle.stop(app, core()))


@resource.route("/apps/<app_id>/restart", methods=["POST"], scope="deploy")
def restart_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with slow_request(app.id):
        return full_view(lifecycle.restart(app, core()))


@resource.route("/apps/<app_id>/scale", methods=["PATCH"], scope="deploy", manner=Manner(idempotent=True))
def scale_app(app_id: str) -> dict[str, Any]:
    """For `deploy`: whoever deploys a Procfile says how many processes an app has already; limits hold for each."""
    app, numbers = apps.find(app_id), _numbers(body())
    with slow_request(app.id):
        return full_view(scaling.scale(app, numbers, core()))


def _numbers(fields: Fields) -> dict[str, int]:
    given = fields.every(process_type, integer(0, MOST_INSTANCES))
    if not given and not fields.problems:
        fields.problem("", "must name a process type and its number of instances, such as web")
    if given.get(WEB) == 0:
        fields.problem(WEB, "must be at least 1; stop the app instead")
    complete(fields)
    return {key: number for key, number in given.items() if number is not None}
