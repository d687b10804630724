"""Room on the disk: below a floor no deployment begins, for SQLite and the running apps need some too."""

from __future__ import annotations

import os
from pathlib import Path

from rustploy_agent.config import Settings
from rustploy_agent.errors import DeploymentFailed

#: Files that can still be made (inodes): a Node app alone may need more, but then its build says so.
MIN_FREE_FILES = 2000


def shortage(path: Path, floor: int) -> str | None:
    """What the file system of `path` has too little of; None when there is room."""
    about = os.statvfs(path)
    free = about.f_bavail * about.f_frsize
    if free < floor:
        return f"{free >> 20} MiB are free on {path}, deployments need {floor >> 20} MiB (disk.min_free_mib)"
    # Some file systems make them as they are needed, and say that there are none at all.
    fewest = min(MIN_FREE_FILES, about.f_files // 20)
    if about.f_files and about.f_favail < fewest:
        return f"{about.f_favail} more files can be made on {path} (inodes; df -i), deployments need {fewest}"
    return None


def refuse_when_short(settings: Settings) -> None:
    found = shortage(settings.paths.state, settings.min_free_bytes)
    if found is not None:
        raise DeploymentFailed("disk_full", f"{found}; remove what is not needed or lower the floor")
