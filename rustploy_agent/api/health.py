"""GET /health: the API answers and its database can be read; how the ingress is stands beside it."""

from __future__ import annotations

import json

from flask import Response

from rustploy_agent.api.resource import ANYBODY, Resource, core
from rustploy_agent.models import database

resource = Resource("health", __name__)
#: Who asks all the time is not to keep the database from others.
FRESH_SECONDS = 1


@resource.route("/health", scope=ANYBODY)
def health() -> Response:
    """Of this very moment and shorter than a tag would be, so it has none."""
    database.check(FRESH_SECONDS)
    routing = core().routing
    routing.look()
    answer = Response(json.dumps({"status": "ok", "ingress": routing.state}), mimetype="application/json")
    answer.headers.add("Cache-Control", "no-store")
    return answer
