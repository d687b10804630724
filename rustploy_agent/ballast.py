"""A few MiB kept aside, given back to the disk when it is full: without room SQLite cannot even record a failure."""

from __future__ import annotations

import contextlib
import os
import shutil

from rustploy_agent.config import Paths

BYTES = 8 * 1024 * 1024


def give_way(paths: Paths) -> None:
    """Makes room when there is less of it than the ballast takes up."""
    if shutil.disk_usage(paths.state).free < BYTES:
        paths.ballast.unlink(missing_ok=True)


def lay(paths: Paths) -> None:
    """Puts the ballast (back) in its place, once the disk has plenty of room."""
    if paths.ballast.exists() or shutil.disk_usage(paths.state).free < 4 * BYTES:
        return
    descriptor = os.open(paths.ballast, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # somebody was faster with the room; next time
            os.posix_fallocate(descriptor, 0, BYTES)
    finally:
        os.close(descriptor)
