"""Slugs and releases: made, sealed, kept for rollback, pruned."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path
from typing import Any

from peewee import fn

from rustploy_agent import environment, precedence, stack
from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.config import Paths, Settings
from rustploy_agent.errors import Conflict, NotFound
from rustploy_agent.models import App, Release, Slug

#: The agent owns the directory, the build user is its group: while building the group may write ...
BUILDING = 0o770
#: ... sealed, the group is locked out and only others, which is the app, may read.
SEALED = 0o705


def make_slug(app: App, paths_slugs: Path, build_mode: str, build_variables: str = "") -> Slug:
    """The row comes first: what is on disk is always listed."""
    slug: Slug = Slug.create(app=app, build_mode=build_mode, build_variables=build_variables)
    directory = paths_slugs / slug.id
    directory.mkdir(mode=BUILDING)
    directory.chmod(BUILDING)
    return slug


def holds_checkout(directory: Path, root: str = "") -> bool:
    """Return whether what will run, `root` of the checkout, is a directory in the slug.

    A build might have put a link to the app's own data there, and change what it sealed later.
    """
    path = directory / "app"
    try:
        for part in ("", *root.split("/")):
            path /= part
            if not stat.S_ISDIR(path.lstat().st_mode):
                return False
    except OSError:
        return False
    return True


def seal(directory: Path) -> None:
    directory.chmod(SEALED)


def discard(slug: Slug, directory: Path) -> None:
    """apply removes it at its next run; until then no build may put links to its own files in there."""
    seal(directory)
    Slug.update(state="removing").where(Slug.id == slug.id).execute()


def discard_unfinished(app: App, paths_slugs: Path) -> None:
    """Those whose deployment failed or was broken off, perhaps before their directory was made."""
    for slug in list(Slug.select().where(Slug.app == app, Slug.state == "building")):
        with contextlib.suppress(FileNotFoundError):
            seal(paths_slugs / slug.id)
        Slug.update(state="removing").where(Slug.id == slug.id).execute()


def reusable_slugs(app: App, build_mode: str, build_variables: str = "") -> dict[str, Slug]:
    """Commit to kept slug, for builds that would give the same again."""
    rows = (
        Slug.select()
        .where(Slug.app == app, Slug.state == "ready", (Slug.build_mode == build_mode) | (Slug.buildpack == build_mode))
        .where(Slug.build_variables == build_variables)
        .order_by(Slug.created_at_unix_ms)
    )
    return {
        slug.commit_sha: slug
        for slug in rows
        if stack.fits(slug) and precedence.build_root(app.build, slug.manifest) in (None, slug.root)
    }


def finished_slugs(app: App) -> list[str]:
    """Return those whose files a new build may share: they were built for this host as it is now."""
    return [slug.id for slug in _finished(app) if stack.fits(slug)]


def has_outdated_slugs(app: App) -> bool:
    """Say whether the build cache may hold what was made for another Debian or interpreter."""
    return not all(map(stack.fits, _finished(app)))


def _finished(app: App) -> list[Slug]:
    return list(Slug.select().where(Slug.app == app, Slug.state == "ready").order_by(Slug.created_at_unix_ms))


def make_release(app: App, slug: Slug, health: dict[str, Any], release_command: str | None, paths: Paths) -> Release:
    last = Release.select(fn.MAX(Release.version)).where(Release.app == app).scalar() or 0
    release_id = new_id()
    release: Release = Release.create(
        id=release_id,
        app=app,
        version=last + 1,
        slug=slug,
        commit_sha=slug.commit_sha,
        sealed_env=environment.snapshot(app, release_id, paths),
        processes=slug.processes,
        health=health,
        release_command=release_command,
    )
    return release


def rollback_target(app: App, release_of: str | None = None) -> Release:
    """The release a rollback goes to: that of the named deployment, or the newest healthy one before the current."""
    current = Release.get_or_none(Release.id == app.active_release_id)
    if current is None:
        raise NotFound(
            "the app has no healthy release yet, so there is nothing to go back to", code="no_rollback_target"
        )
    healthy = Release.select().where(Release.app == app, Release.healthy_at_unix_ms.is_null(False))
    target: Release | None
    if release_of is not None:
        target = healthy.where(Release.id == release_of).first()
        if target is None:
            raise Conflict("that deployment has no kept, healthy release", code="no_rollback_target")
    else:
        target = healthy.where(Release.version < current.version).order_by(Release.version.desc()).first()
        if target is None:
            raise Conflict("there is no healthy release before the current one", code="no_rollback_target")
    if not stack.fits(target.slug):
        raise Conflict(
            f"release v{target.version} cannot run here any more: {stack.difference(target.slug)}; "
            f"deploy its commit instead, which builds it anew: commit_sha {target.commit_sha}",
            code="release_outdated",
        )
    return target


def mark_healthy(release: Release) -> None:
    Release.update(healthy_at_unix_ms=max(now_ms(), release.created_at_unix_ms)).where(
        Release.id == release.id, Release.healthy_at_unix_ms.is_null()
    ).execute()


def prune(app: App, settings: Settings) -> None:
    """Forgets releases beyond the limits of count and bytes, never the active one nor the newest rollback target."""
    active = Release.get_or_none(Release.id == app.active_release_id)
    if active is None:
        return
    healthy = (
        Release.select()
        .where(Release.app == app, Release.healthy_at_unix_ms.is_null(False))
        .order_by(Release.version.desc())
    )
    others = [release for release in healthy if release.id != active.id]
    target = next((release for release in others if release.version < active.version), None)
    offered = [active] if target is None else [active, target]
    slugs = {slug.id: slug for slug in Slug.select().where(Slug.app == app)}
    kept = _fitting(offered, [release for release in others if release != target], slugs, settings)
    Release.delete().where(Release.app == app, Release.id.not_in([release.id for release in kept])).execute()
    Slug.update(state="removing").where(
        Slug.app == app, Slug.state == "ready", Slug.id.not_in(list(_with_needs(kept, slugs)))
    ).execute()


def _fitting(
    kept: list[Release], candidates: list[Release], slugs: dict[str, Slug], settings: Settings
) -> list[Release]:
    """`kept` and as many candidates, in order, as the limits allow; a slug that several releases need counts once."""
    for release in candidates:
        grown = [*kept, release]
        size = sum(slugs[slug].bytes for slug in _with_needs(grown, slugs))
        if len(kept) < settings.keep_releases and size <= settings.keep_bytes:
            kept = grown
    return kept


def _with_needs(releases: list[Release], slugs: dict[str, Slug]) -> set[str]:
    """Ids of the slugs of these releases and of all that those link to."""
    found: set[str] = set()
    pending = [release.slug_id for release in releases]
    while pending:
        slug = pending.pop()
        if slug in slugs and slug not in found:
            found.add(slug)
            pending += slugs[slug].needs
    return found
