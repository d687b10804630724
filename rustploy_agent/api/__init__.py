"""The HTTP API under /api/v1. `create_app` composes it from one blueprint per resource."""

from __future__ import annotations

from flask import Flask, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from rustploy_agent import audit as audit_trail
from rustploy_agent import ballast
from rustploy_agent.api import (
    apps,
    audit,
    conditional,
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
from rustploy_agent.api.resource import LARGEST_BODY
from rustploy_agent.core import Core
from rustploy_agent.models import rest

RESOURCES = (
    apps,
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


def create_app(core: Core) -> Flask:
    app = Flask("rustploy_agent", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.extensions["rustploy"] = core
    app.url_map.strict_slashes = False
    for module in RESOURCES:
        app.register_blueprint(module.resource, url_prefix="/api/v1")
    app.register_blueprint(health.resource, url_prefix="/api/v1")
    app.register_blueprint(health.resource, name="health-alias", url_prefix="/")
    app.register_blueprint(metrics.resource, url_prefix="/api/v1")
    app.register_blueprint(metrics.resource, name="metrics-alias", url_prefix="/")
    app.before_request(metrics.begin)
    app.after_request(metrics.count)
    app.before_request(envelope.begin)
    app.after_request(envelope.finish)  # what is registered first comes last
    app.before_request(_refuse_huge_body)
    app.before_request(lambda: _make_room(core))
    app.after_request(conditional.tag)
    app.after_request(trail.note)
    audit_trail.listen()
    errors.register(app)
    app.teardown_appcontext(lambda _: rest())
    app.wsgi_app = ByIngress(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _refuse_huge_body() -> None:
    """werkzeug 2 holds forms to MAX_CONTENT_LENGTH, but not JSON. Waitress gives every body a length, chunked too."""
    view = current_app.view_functions.get(request.endpoint or "")
    if (request.content_length or 0) > getattr(view, "largest_body", LARGEST_BODY):
        raise RequestEntityTooLarge


def _make_room(core: Core) -> None:
    """Deleting an app is a way out of a full disk, and has to be written down first."""
    if request.method not in ("GET", "HEAD"):
        ballast.give_way(core.settings.paths)
