"""/apps/{app}/start, /stop, /restart: the active release, without a deployment."""

from __future__ import annotations

from typing import Any

from rustploy_agent import apps, lifecycle
from rustploy_agent.api.apps import full_view
from rustploy_agent.api.resource import Resource, core

resource = Resource("lifecycle", __name__)


@resource.route("/apps/<app_id>/start", methods=["POST"], scope="deploy")
def start_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with core().slow_request():
        return full_view(lifecycle.start(app, core()))


@resource.route("/apps/<app_id>/stop", methods=["POST"], scope="deploy")
def stop_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with core().slow_request():
        return full_view(lifecycle.stop(app, core()))


@resource.route("/apps/<app_id>/restart", methods=["POST"], scope="deploy")
def restart_app(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    with core().slow_request():
        return full_view(lifecycle.restart(app, core()))
