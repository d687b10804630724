"""Loopback ports of process types: two each, one for each slot, kept for the life of the app."""

from __future__ import annotations

from rustploy_agent.config import Settings
from rustploy_agent.errors import Unavailable
from rustploy_agent.health import listeners
from rustploy_agent.models import App, Process, database

#: The process type that serves HTTP; only it gets ports.
WEB = "web"


def allocate(settings: Settings, app: App, process_types: set[str]) -> bool:
    """Gives the app rows (and ports) for exactly these process types; whether that changed anything."""
    with database.atomic("IMMEDIATE"):
        known = {process.type for process in Process.select().where(Process.app == app)}
        Process.delete().where(Process.app == app, Process.type.in_(known - process_types)).execute()
        for process_type in sorted(process_types - known):
            pair = _free_pair(settings) if process_type == WEB else (None, None)
            Process.create(app=app, type=process_type, port_a=pair[0], port_b=pair[1])
    return known != process_types


def _free_pair(settings: Settings) -> tuple[int, int]:
    taken = {port for row in Process.select() for port in (row.port_a, row.port_b)}
    own = {settings.listen_port, settings.ingress.http_port, settings.ingress.https_port}
    found: list[int] = []
    for port in range(settings.first_port, settings.last_port + 1):
        if port not in taken and port not in own and not listeners(port):
            found.append(port)
            if len(found) == 2:
                return found[0], found[1]
    raise Unavailable(
        "no two ports are left between apps.ports.first and apps.ports.last in agent.yaml", code="no_free_port"
    )
