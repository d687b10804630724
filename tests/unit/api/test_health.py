"""GET /health: load balancers and monitoring lose their answer if this breaks."""

from __future__ import annotations

import pytest
from flask import Flask

from rustploy_agent.core import Core
from rustploy_agent.ingress import IngressDown
from rustploy_agent.models import database, open_database
from tests.unit.api.conftest import Client
from tests.unit.caddy import Caddy


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
def test_anybody_may_ask(api: Flask, path: str) -> None:
    assert Client(api, "", root="")("GET", path, headers={}).get_json() == {
        "status": "ok",
        "ingress": "ok",
        "systemd": "ok",
    }


def test_a_database_that_cannot_be_read_is_not_well(api: Flask, core: Core) -> None:
    database.init("/nonexistent/rustploy.db")
    answer = Client(api, "").code("GET", "/health", headers={})
    open_database(core.settings.paths.database)
    assert answer == (500, "internal_error")


def test_an_ingress_that_is_down_is_told_and_the_agent_is_well(api: Flask, core: Core, ingress: Caddy) -> None:
    """Else monitoring restarts the agent for what is not its fault, or nobody learns that the apps are not reached."""
    ingress.failure = IngressDown("nobody answers")
    core.routing.update()
    assert Client(api, "")("GET", "/health", headers={}).get_json() == {
        "status": "ok",
        "ingress": "down",
        "systemd": "ok",
    }
    ingress.failure = None
    core.routing.update()
    assert Client(api, "")("GET", "/health", headers={}).get_json()["ingress"] == "ok"
