"""GET /health: the API answers and its database can be read; ingress and systemd stand beside it."""

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
    about = {"status": "ok", "ingress": routing.state, "systemd": core().systemd.health(FRESH_SECONDS)}
    answer = Response(json.dumps(about), mimetype="application/json")
    answer.headers.add("Cache-Control", "no-store")
    return answer
