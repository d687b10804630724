"""Loopback ports of instances: two each, one for each slot, kept as long as the instance is."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from rustploy_agent import slots, sockets, units
from rustploy_agent.config import Settings
from rustploy_agent.errors import Unavailable
from rustploy_agent.instances import wanted
from rustploy_agent.models import App, Process, database

#: The process type that serves HTTP; only it gets ports.
WEB = "web"


def allocate(settings: Settings, app: App, process_types: set[str], scale: Mapping[str, int] | None = None) -> bool:
    """Gives the app rows (and ports) for exactly these process types; whether that changed anything.

    Of each type as many as the app's scale, or the given one, says; one also of those of which none shall run.
    """
    scale = app.scale if scale is None else scale
    all_of = {kind: range(1, max(1, wanted(scale, kind)) + 1) for kind in process_types}
    wished = {(kind, number) for kind, numbers in all_of.items() for number in numbers}
    with database.atomic("IMMEDIATE"):
        known = {(row.type, row.number): row.id for row in Process.select().where(Process.app == app)}
        Process.delete().where(Process.id.in_([known[one] for one in known.keys() - wished])).execute()
        if wished - known.keys():
            _refuse_too_many(app, len(wished))
        for kind, number in sorted(wished - known.keys()):
            pair = _free_pair(settings) if kind == WEB else (None, None)
            Process.create(app=app, type=kind, number=number, port_a=pair[0], port_b=pair[1])
    return known.keys() != wished


def adopt(app: App, path: Path) -> None:
    """Gives instances that run already, as after the loss of the database, the ports that they listen on."""
    taken = {port for row in Process.select() for port in (row.port_a, row.port_b)}
    slot = app.active_slot
    for row in Process.select().where(Process.app == app, Process.type == WEB) if slot else ():
        port = slots.port(path, WEB, slot, row.number)
        if port is not None and port not in taken:
            Process.update(**{f"port_{slot}": port}).where(Process.id == row.id).execute()


def follow(settings: Settings, listening: Mapping[int, tuple[str, int]], foreign: set[int]) -> None:
    """Gives instances that run, by row, the slot's port that they listen on, and nobody one that is somebody else's.

    `foreign` ports belong to apps that have no rows. Nothing changes unless the database is older than what runs.
    """
    used = foreign | {port for _, port in listening.values()}
    with database.atomic("IMMEDIATE"):
        rows = list(Process.select().where(Process.type == WEB))
        wished = {}
        for row in rows:
            pair = {slot: None if row.port(slot) in used else row.port(slot) for slot in ("a", "b")}
            wished[row.id] = pair | dict([listening[row.id]] if row.id in listening else [])
        if all(wished[row.id] == {"a": row.port_a, "b": row.port_b} for row in rows):
            return
        Process.update(port_a=None, port_b=None).where(Process.type == WEB).execute()
        for number, pair in wished.items():
            Process.update(port_a=pair["a"], port_b=pair["b"]).where(Process.id == number).execute()
        for number, pair in wished.items():
            for slot in [slot for slot, port in pair.items() if port is None]:
                Process.update(**{f"port_{slot}": _free_pair(settings, used)[0]}).where(Process.id == number).execute()


def _refuse_too_many(app: App, number: int) -> None:
    """Say so before apply does. Each instance is two units, and a deployment waits for systemd to read all units."""
    total = number + Process.select().where(Process.app != app).count()
    for most, found, whose in (
        (units.MOST_APP_INSTANCES, number, "an app"),
        (units.MOST_HOST_INSTANCES, total, "all apps of this host together"),
    ):
        if found > most:
            message = f"{whose} can have at most {most} instances of process types, and this would be {found}"
            raise Unavailable(f"{message}; scale some down or remove process types", code="too_many_instances")


def _free_pair(settings: Settings, foreign: Set[int] = frozenset()) -> tuple[int, int]:
    """`foreign`: ports of apps that may not have been started yet, as after a boot."""
    taken = {port for row in Process.select() for port in (row.port_a, row.port_b)}
    own = {settings.listen_port, settings.ingress.http_port, settings.ingress.https_port}
    found: list[int] = []
    for port in range(settings.first_port, settings.last_port + 1):
        if port not in taken | own | foreign and not sockets.owners(port):
            found.append(port)
            if len(found) == 2:
                return found[0], found[1]
    raise Unavailable(
        "no two ports are left between apps.ports.first and apps.ports.last in agent.yaml", code="no_free_port"
    )
