"""/apps/{app}/config: what an app was imported with, and what holds of it for the next deployment."""

from __future__ import annotations

from typing import Any

from rustploy_agent import apps, desired, precedence, repository
from rustploy_agent.api.resource import Resource, core
from rustploy_agent.errors import NotFound
from rustploy_agent.models import App, Release

resource = Resource("config", __name__)


@resource.route("/apps/<app_id>/config", scope="read")
def show_config(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    if app.repository is None:
        raise NotFound("the app was never imported from a repository", code="config_not_found")
    return {
        "app_id": app.id,
        "repository": repository.shown(app),
        "source": app.source,
        "build_mode": app.build_mode,
        "build": {"root": app.build.get("root")},
        "runtime": app.runtime,
        "detection": app.detection,
        "dependency_profile": app.dependency_profile,
        "manifest": app.manifest,
        "effective": _effective(app),
    }


def _effective(app: App) -> dict[str, Any]:
    """What the next deployment goes by; `processes` are those of the release that runs now."""
    release = Release.get_or_none(Release.id == app.active_release_id)
    return {
        "build_mode": precedence.buildpack(app.build_mode, app.manifest, precedence.AUTO),
        "build_root": precedence.build_root(app.build, app.manifest),
        **_health(app),
        "filesystem": precedence.filesystem(app.runtime, app.manifest),
        "start_command": precedence.start_command(app.manifest),
        "release_command": precedence.release_command(app.manifest, release.processes if release else {}),
        "processes": release.processes if release else {},
        "limits": vars(desired.limits_of(app, core().settings)),
    }


def _health(app: App) -> dict[str, Any]:
    wanted = precedence.health(app.runtime, app.manifest)
    defaults = {
        "status": None,
        "timeout_seconds": core().settings.timeouts.health,
        "interval_seconds": None,
        "host": None,
    }
    return {f"{precedence.HEALTHCHECK}{option}": value for option, value in (defaults | wanted).items()}
