"""Pipes in the place of a file that is still to come, at which a program waits for it.

Nothing ever goes through one, for whatever runs as the user that waits could take it out. Who waits goes on when the
other end was opened and closed again, and then looks whether the file is there.
"""

from __future__ import annotations

import os
from pathlib import Path


def make(path: Path) -> None:
    """For the readers of the directory's group."""
    os.mkfifo(path)
    path.chmod(0o640)


def hold(path: Path) -> int:
    """A descriptor; who waits goes on when it is closed. Opened for reading too, no other end is needed."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
