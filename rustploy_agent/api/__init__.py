"""The HTTP API under /api/v1. `create_app` composes it from one blueprint per resource."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from rustploy_agent import audit as audit_trail
from rustploy_agent import ballast
from rustploy_agent.api import (
    apps,
    audit,
    conditional,
    config,
    deliveries,
    deployments,
    domains,
    env,
    envelope,
    errors,
    health,
    integrations,
    lifecycle,
    metrics,
    reference,
    resets,
    sessions,
    streams,
    tokens,
    trail,
    webhooks,
)
from rustploy_agent.api.forwarding import ByIngress
from rustploy_agent.api.resource import LARGEST_BODY, core
from rustploy_agent.core import Core
from rustploy_agent.models import rest

RESOURCES = (
    apps,
    config,
    lifecycle,
    env,
    deployments,
    domains,
    streams,
    integrations,
    webhooks,
    deliveries,
    tokens,
    sessions,
    resets,
    audit,
    reference,
)


class Api(Flask):
    def ensure_sync(self, func: Any) -> Any:
        """No view is a coroutine; Flask would look at each function before each call."""
        return func


def create_app(composed: Core) -> Flask:
    app = Api("rustploy_agent", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.extensions["rustploy"] = composed
    app.url_map.strict_slashes = False
    for module in RESOURCES:
        app.register_blueprint(module.resource, url_prefix="/api/v1")
    app.register_blueprint(health.resource, url_prefix="/api/v1")
    app.register_blueprint(health.resource, name="health-alias", url_prefix="/")
    app.register_blueprint(metrics.resource, url_prefix="/api/v1")
    app.register_blueprint(metrics.resource, name="metrics-alias", url_prefix="/")
    app.before_request(_before)
    app.after_request(_after)
    audit_trail.listen()
    errors.register(app)
    app.teardown_appcontext(lambda _: rest())
    app.wsgi_app = ByIngress(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _before() -> None:
    metrics.begin()
    envelope.begin()
    _refuse_huge_body()
    _make_room()


def _after(response: Response) -> Response:
    return metrics.count(envelope.finish(conditional.tag(trail.note(response))))


def _refuse_huge_body() -> None:
    """werkzeug 2 holds forms to MAX_CONTENT_LENGTH, but not JSON. Waitress gives every body a length, chunked too."""
    if "CONTENT_LENGTH" in request.environ and (length := request.content_length or 0) > LARGEST_BODY:
        view = current_app.view_functions.get(request.endpoint or "")
        if length > getattr(view, "largest_body", LARGEST_BODY):
            raise RequestEntityTooLarge


def _make_room() -> None:
    """Deleting an app is a way out of a full disk, and has to be written down first."""
    if request.method not in ("GET", "HEAD"):
        ballast.give_way(core().settings.paths)
