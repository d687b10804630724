"""Which of several wishes holds: what the request said, then rustploy.yaml, then detection, then the default.

One place for the rule; deployments follow it and the effective configuration shows it. A manifest is what
`manifest.parse` returns, or None when the repository has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO, DEFAULT_HEALTH_PATH = "auto", "/"
HEALTHCHECK = "healthcheck_"
EPHEMERAL, READ_ONLY = "ephemeral", "read-only"
#: Procfile's name for the release phase; it is no process that stays.
RELEASE = "release"

#: Modes of other platforms that clients may still ask for.
CONTAINER_MODES = ("dockerfile", "compose")
NO_CONTAINERS = "containers are not supported: apps run as sandboxed systemd units; use auto or a buildpack's name"

Manifest = Mapping[str, Any] | None


def buildpack(requested: str, manifest: Manifest, detected: str | None) -> str | None:
    """The buildpack's name; None when nothing recognises the repository."""
    for wanted in (requested, _get(manifest, "build", "mode")):
        if wanted not in (None, AUTO):
            return str(wanted)
    return detected


def build_root(requested: Mapping[str, Any], manifest: Manifest) -> str | None:
    """Return the directory of the repository that is built (empty: its top); None when neither says so."""
    for wanted in (requested.get("root"), _get(manifest, "build", "root")):
        if wanted is not None:
            return str(wanted)
    return None


def health(runtime: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The health check's path, and those of status, timeout_seconds and interval_seconds that were asked for."""
    found: dict[str, Any] = {"path": DEFAULT_HEALTH_PATH}
    for said in ((manifest or {}).get("app") or {}, runtime):
        wishes = {key.removeprefix(HEALTHCHECK): value for key, value in said.items() if key.startswith(HEALTHCHECK)}
        found |= {option: value for option, value in wishes.items() if value is not None}
    return found


def filesystem(runtime: Mapping[str, Any], manifest: Manifest) -> str:
    """Return whether the app may write into a copy of its release (ephemeral) or not at all (read-only)."""
    return str(runtime.get("filesystem") or _get(manifest, "app", "filesystem") or EPHEMERAL)


def start_command(manifest: Manifest) -> str | None:
    command: str | None = _get(manifest, "app", "start_command")
    return command


def release_command(manifest: Manifest, processes: Mapping[str, str]) -> str | None:
    """The manifest's migrations, if enabled, else Procfile's `release`."""
    command: str | None = _get(manifest, "migrations", "command")
    return command if _get(manifest, "migrations", "enabled") else processes.get(RELEASE)


def deploy_branch(requested: str | None, manifest: Manifest, imported: str | None, default: str | None) -> str | None:
    """The branch whose pushes are deployed by themselves."""
    return requested or _get(manifest, "deploy", "auto_deploy_branch") or imported or default


def _get(manifest: Manifest, section: str, key: str) -> Any:
    return ((manifest or {}).get(section) or {}).get(key)
