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
    """Another one once the unit's file or drop-ins, or those of its template, were changed."""
    found = []
    for name in (unit, f"{unit.partition('@')[0]}@.service"):
        for directory in PATHS:
            for path in (f"{directory}/{name}", *_drop_ins(f"{directory}/{name}.d")):
                with contextlib.suppress(OSError):
                    about = Path(path).stat()
                    found.append((path, about.st_ino, about.st_ctime_ns))
    return tuple(found)


def _drop_ins(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(f"{directory}/{name}" for name in os.listdir(directory))
    return []
