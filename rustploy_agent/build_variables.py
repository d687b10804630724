"""Variables that builds see: those marked `build`, and by default those whose names exist to be public."""

from __future__ import annotations

import re
from typing import Any

from rustploy_agent import environment
from rustploy_agent.config import Paths
from rustploy_agent.errors import DeploymentFailed
from rustploy_agent.models import App, EnvVar

#: Frameworks copy variables with these prefixes into what every visitor downloads.
PUBLIC_PREFIXES = ("NEXT_PUBLIC_", "NUXT_PUBLIC_", "PUBLIC_", "VITE_", "REACT_APP_", "VUE_APP_", "GATSBY_")
#: The job of a build is one JSON message of at most 1 MiB, in which one byte may take six.
LARGEST = 128 * 1024


def seen_by_builds(row: EnvVar) -> bool:
    """Return whether builds get this variable."""
    return row.key.startswith(PUBLIC_PREFIXES) if row.build is None else bool(row.build)


def names(app: App) -> list[str]:
    """Return the names of the variables that the app's builds get, sorted."""
    return [row.key for row in environment.rows(app) if seen_by_builds(row)]


def identity(app: App) -> str:
    """Return a text that changes whenever a build of the same commit would see other variables.

    It has the times at which they were set instead of their values, so it tells no secret.
    """
    rows = [row for row in environment.rows(app) if seen_by_builds(row)]
    return " ".join(f"{row.key}@{row.updated_at_unix_ms}" for row in rows)


def for_job(app: App, paths: Paths) -> dict[str, Any]:
    """Return the part of a build job that carries them: `environment`, and `hidden`, whose values no log must show.

    DeploymentFailed when they are too large, Unreadable when the host's key does not open one.
    """
    wanted = set(names(app))
    found = {key: value for key, value in environment.variables(app, paths).items() if key in wanted} if wanted else {}
    if sum(len(key) + len(value.encode()) for key, value in found.items()) > LARGEST:
        raise DeploymentFailed(
            "build_failed", f"the variables that the build sees must have at most {LARGEST // 1024} KiB together"
        )
    return {"environment": found, "hidden": [key for key in found if not key.startswith(PUBLIC_PREFIXES)]}


def with_hint(app: App, message: str) -> str:
    """Return a failed build's message; one that names a variable which only running processes see says what to do."""
    unseen = [row.key for row in environment.rows(app) if not seen_by_builds(row)]
    named = [key for key in unseen if re.search(rf"(?<![A-Za-z0-9_]){re.escape(key)}(?![A-Za-z0-9_])", message)]
    if not named:
        return message
    return (
        f"{message} (builds do not see the app's variable {named[0]}; to give it to them, set it again with "
        f'"build": true, PUT /api/v1/apps/{app.name}/env)'
    )
