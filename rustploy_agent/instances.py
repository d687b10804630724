"""The instances of an app's process types: how many shall run, and what names and rows they have.

A type's first instance keeps its row, and its units, also while none of it shall run; further ones come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rustploy_agent import slots, units
from rustploy_agent.models import App, Process, Release

SLOTS = ("a", "b")


def of(app: App) -> list[Process]:
    """All that have units, whether they shall run or not."""
    return list(Process.select().where(Process.app == app).order_by(Process.type, Process.number))


def process_types(app: App) -> list[str]:
    return list(dict.fromkeys(process.type for process in of(app)))


def wanted(scale: Mapping[str, int], process_type: str) -> int:
    """One, for a type that nobody has scaled."""
    return scale.get(process_type, 1)


def numbers(app: App) -> dict[str, int]:
    """Of each process type, how many shall run."""
    return {process_type: wanted(app.scale, process_type) for process_type in process_types(app)}


def is_wanted(app: App, process: Process) -> bool:
    return bool(process.number <= wanted(app.scale, process.type))


def wanted_of(app: App) -> list[Process]:
    """Those that shall run, whatever release it is."""
    return [process for process in of(app) if is_wanted(app, process)]


def of_release(app: App, release: Release) -> list[Process]:
    """Those that run while the release does."""
    return [process for process in wanted_of(app) if process.type in release.processes]


def surplus(app: App) -> list[Process]:
    """Those that have units but shall not run."""
    return [process for process in of(app) if not is_wanted(app, process)]


def logged(app: App) -> list[tuple[str, int]]:
    """Type and number of all that may have written: a type that was ever scaled may have had any number."""
    return [
        (process_type, number)
        for process_type in process_types(app)
        for number in range(1, (units.MOST_INSTANCES if process_type in app.scale else 1) + 1)
    ]


def unit(app: App, process: Process, slot: str) -> str:
    return units.app(app.name, process.type, slot, process.number)


def all_units(app: App, processes: Iterable[Process]) -> list[str]:
    """Of both slots."""
    return [unit(app, process, slot) for process in processes for slot in SLOTS]


def ports(processes: Iterable[Process], slot: str) -> tuple[int, ...]:
    """Of those that serve HTTP."""
    return tuple(port for process in processes if (port := process.port(slot)) is not None)


def slot_file(path: Path, process: Process, slot: str) -> Path:
    return slots.path(path, process.type, slot, process.number)
