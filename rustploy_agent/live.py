"""Whether a deployment would change anything."""

from __future__ import annotations

from typing import Any

from rustploy_agent import activation, environment, precedence
from rustploy_agent.models import App, Release, Slug
from rustploy_agent.run import Run
from rustploy_agent.vault import Unreadable


def unchanged(run: Run, slug: Slug) -> Release | None:
    """The active release, if a new one of this slug would be the same in everything, and all of it runs."""
    live: Release | None = Release.get_or_none(Release.id == run.app.active_release_id)
    if live is None or live.slug_id != slug.id:
        return None
    if (live.health, live.release_command, live.processes) != configuration(run.app, slug):
        return None
    return live if _same_environment(run, live) and activation.runs(run, live) else None


def _same_environment(run: Run, live: Release) -> bool:
    """One that cannot be read any more, after a change of the host's key, gets another release."""
    try:
        before = environment.of_release(live, run.settings.paths)
    except Unreadable:
        return False
    return before == environment.variables(run.app, run.settings.paths)


def configuration(app: App, slug: Slug) -> tuple[dict[str, Any], str | None, dict[str, str]]:
    """Health check, release command and processes of a release of this slug."""
    health = precedence.health(app.runtime, slug.manifest)
    return health, precedence.release_command(slug.manifest, slug.processes), slug.processes
