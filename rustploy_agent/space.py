"""Room on the disk: below a floor no deployment begins, for SQLite and the running apps need some too."""

from __future__ import annotations

import shutil

from rustploy_agent.config import Settings
from rustploy_agent.errors import DeploymentFailed


def refuse_when_short(settings: Settings) -> None:
    state, floor = str(settings.paths.state), settings.min_free_bytes
    free = shutil.disk_usage(state).free
    if free < floor:
        raise DeploymentFailed(
            "disk_full",
            f"{free >> 20} MiB are free on {state}, deployments need {floor >> 20} MiB "
            "(disk.min_free_mib); remove what is not needed or lower the floor",
        )
