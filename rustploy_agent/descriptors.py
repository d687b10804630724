"""File descriptors of this process: how many it may have, and whether it has nearly used them up.

GLib ends the whole process when it gets none for a call to systemd, so nothing may use the last ones.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

#: Left for what the agent opens itself: the database, the journal, files, and calls to systemd.
KEPT = 400
#: Left for calls that are under way when the next one is refused.
LAST = 32


def most() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def of_process(process: int) -> tuple[int, int]:
    """How many a process has open, and how many it may have (proc_pid_limits(5))."""
    about = Path(f"/proc/{process}")
    limit = next(line for line in (about / "limits").read_text().splitlines() if line.startswith("Max open files"))
    return len(os.listdir(about / "fd")), int(limit.split()[3])


def few_left(number: int, kept: int = KEPT) -> bool:
    """Whether a descriptor of this number is one of the last. The kernel gives out the lowest that is free."""
    return number >= most() - kept


def exhausted() -> bool:
    """Whether not even what the agent itself needs is certain to get one."""
    try:
        number = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    os.close(number)
    return few_left(number, LAST)
