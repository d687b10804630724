"""GET /health: the API answers and its database can be read; how the ingress is stands beside it."""

from __future__ import annotations

from typing import Any

from rustploy_agent.api.resource import ANYBODY, Resource, core
from rustploy_agent.models import database

resource = Resource("health", __name__)
#: Who asks all the time is not to keep the database from others.
FRESH_SECONDS = 1


@resource.route("/health", scope=ANYBODY)
def health() -> dict[str, Any]:
    database.check(FRESH_SECONDS)
    core().routing.look()
    return {"status": "ok", "ingress": core().routing.state}
