"""What lies on disk of a unit: systemd sets it up by that, and a unit that runs keeps what it was set up by."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Where units come from (systemd.unit(5)), without what generators make.
PATHS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
Identity = tuple[tuple[str, int, int], ...]


def identity(unit: str) -> Identity:
    """Another one once the unit's file, its template's or any drop-in that counts for it was changed."""
    own = (unit, f"{unit.partition('@')[0]}@.service")
    found = []
    for directory in PATHS:
        paths = [f"{directory}/{name}" for name in own]
        paths += [path for name in (*own, *_shared(unit)) for path in _inside(f"{directory}/{name}.d")]
        for path in paths:
            with contextlib.suppress(OSError):
                about = Path(path).stat()
                found.append((path, about.st_ino, about.st_ctime_ns))
    return tuple(found)


def _shared(unit: str) -> list[str]:
    """What drop-ins for several units are named after: the kind, and each beginning that ends with a hyphen."""
    stem, _, kind = unit.rpartition(".")
    return [kind, *(f"{stem[: place + 1]}.{kind}" for place, letter in enumerate(stem) if letter == "-")]


def _inside(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(f"{directory}/{name}" for name in os.listdir(directory))
    return []
