"""A deployment from its source to the switch, step by step. Until the switch nothing that serves is touched.

Each step may raise DeploymentFailed; the worker then ends the deployment and `clean_up` removes what it had begun.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from rustploy_agent import (
    activation,
    build_variables,
    compilation,
    durable,
    environment,
    events,
    history,
    instances,
    live,
    precedence,
    pushes,
    releases,
    reservation,
    space,
    takeover,
    units,
)
from rustploy_agent.ahead import Ahead
from rustploy_agent.errors import DeploymentFailed, Unavailable
from rustploy_agent.models import App, Deployment, Release, Slug
from rustploy_agent.ports import allocate
from rustploy_agent.run import Run, passing

#: What is left to do once the deployment has ended.
Rest = Callable[[], None]


def deploy(run: Run) -> Rest:
    space.refuse_when_short(run.settings)
    environment.variables(run.app, run.settings.paths)  # unreadable ones are told of before the build, not after it
    with Ahead(run) as ahead, ThreadPoolExecutor(max_workers=2) as aside:
        source = fetch(run, partial(ahead.begin, aside))
        same = live.unchanged(run, source.slug) if source.kept else None
        if same is not None:
            return leave(run, same, ahead)
        with passing():  # up to the switch, whose commit is waited for
            slug, synced = build(run, source, aside)
            release = make_release(run, slug)
            prepare_processes(run, release, ahead)
            takeover.bring_up(run, release, ahead.slot, partial(ahead.hand_over, release))
            finish_slug(slug, synced)
    activation.switch(run, release, ahead.slot)
    return partial(finish, run, release)


def leave(run: Run, release: Release, ahead: Ahead) -> Rest:
    """What serves already goes on; what was started to take its place is stopped."""
    ahead.finish()
    activation.leave(run, release)
    return partial(_stop_idle, run, release)


def _stop_idle(run: Run, release: Release) -> None:
    activation.stop_slot(run, run.app.idle_slot)
    prune(run, release)


def rollback(run: Run) -> Rest:
    release = Release.get_or_none(Release.id == run.deployment.target_release_id)
    if release is None:
        raise DeploymentFailed("no_rollback_target", "the release is not kept any more")
    run.outcome = "restarted"
    with Ahead(run) as ahead:
        prepare_processes(run, release, ahead)
        takeover.bring_up(run, release, ahead.slot, partial(ahead.hand_over, release), phase=False)
    activation.switch(run, release, ahead.slot)
    return partial(finish, run, release)


def finish(run: Run, release: Release) -> None:
    """What follows the switch. It may be repeated: who was served by the old slot is not any more."""
    activation.drain(run)
    prune(run, release)


@dataclass(frozen=True)
class Source:
    """What fetch found, and the slug directory it filled (or the kept slug that makes building needless)."""

    commit: str
    slug: Slug
    kept: bool
    buildpack: str | None
    manifest: dict[str, Any] | None
    built: dict[str, Any] | None = None


def fetch(run: Run, meanwhile: Callable[[], None]) -> Source:
    run.step("fetch")
    run.jobs += ("fetch",)
    app, deployment = run.app, run.deployment
    if not app.repository:
        raise DeploymentFailed(
            "no_repository", "the app has no repository yet; import one with POST /api/v1/apps/import"
        )
    seen = build_variables.identity(app)
    kept: dict[str, Slug] = {} if deployment.force_rebuild else releases.reusable_slugs(app, app.build_mode, seen)
    slug = releases.make_slug(app, run.path / "slugs", app.build_mode, seen)
    job = compilation.job_document(run, slug, ref=deployment.source_ref, commit=deployment.requested_commit, known=kept)
    directory = run.path / "slugs" / slug.id
    try:
        found = compilation.fetch_job(run, job, meanwhile)
    except DeploymentFailed:
        releases.discard(slug, directory)
        raise
    if found["known"] and found["commit"] not in kept:
        raise DeploymentFailed("fetch_failed", "the fetch says that the commit is built, but no such slug is kept")
    with passing():
        Deployment.update(commit_sha=found["commit"]).where(Deployment.id == deployment.id).execute()
        Slug.update(commit_sha=found["commit"]).where(Slug.id == slug.id).execute()
    run.log(f"commit {found['commit']}")
    attempts = run.settings.attempts
    pushes.judge(app, deployment, found["commit"], contained=found["contains_pushed"], attempts=attempts)
    if found["known"]:
        releases.discard(slug, directory)
        return Source(found["commit"], kept[found["commit"]], True, None, kept[found["commit"]].manifest)
    run.step("detect")
    parsed = compilation.parse_manifest(found["manifest"])
    slug.root = compilation.choose_root(app, parsed, found)
    with passing():
        Slug.update(root=slug.root).where(Slug.id == slug.id).execute()
    buildpack = compilation.choose_buildpack(app, parsed, found)
    built = compilation.built_by_fetch(found, buildpack)
    return Source(found["commit"], slug, False, buildpack, parsed, built)


def build(run: Run, source: Source, aside: ThreadPoolExecutor) -> tuple[Slug, Future[None] | None]:
    """The slug, sealed, and the write to disk that goes on while the app starts."""
    if source.kept:
        run.log("this commit is already built; its slug is used again (force_rebuild builds anew)")
        run.outcome = "restarted"
        return source.slug, None
    run.step("build")
    directory = run.path / "slugs" / source.slug.id
    built = source.built or compilation.build_job(run, source.slug, source.buildpack)
    slug = compilation.seal(source.slug, directory, source.buildpack, source.manifest, built)
    return slug, aside.submit(durable.make_durable, directory)


def finish_slug(slug: Slug, synced: Future[None] | None) -> None:
    """Only a slug that a power cut cannot empty any more may serve and be offered for rollback."""
    if synced is not None:
        synced.result()
        Slug.update(state="ready").where(Slug.id == slug.id).execute()


def make_release(run: Run, slug: Slug) -> Release:
    health, command, _ = live.configuration(run.app, slug)
    release = releases.make_release(run.app, slug, health, command, run.settings.paths)
    Deployment.update(release_id=release.id).where(Deployment.id == run.deployment.id).execute()
    run.deployment.release_id = release.id
    return release


def prepare_processes(run: Run, release: Release, ahead: Ahead) -> None:
    """Users, limits and units of the release's process types exist when this returns; those that leave go in prune."""
    wanted = set(release.processes) - {precedence.RELEASE}
    try:
        changed = _allocate(run, wanted | set(instances.process_types(run.app)))
    except Unavailable as error:
        raise DeploymentFailed(error.code, error.message) from None
    ahead.finish()
    if changed:
        run.applier.ensure(run.app.name, removals=False)


def _allocate(run: Run, process_types: set[str]) -> bool:
    changed = allocate(run.settings, run.app, process_types)
    if changed:
        events.processes_changed.send(run.app)
    return changed


def prune(run: Run, release: Release) -> None:
    run.mark("prune")
    releases.prune(run.app, run.settings)
    history.forget_oldest(run.app, run.settings)
    _allocate(run, set(release.processes) - {precedence.RELEASE})
    reservation.renew(run.app)
    run.applier.ensure(run.app.name)


def clean_up(run: Run) -> None:
    """After a failure: the idle slot is stopped and what was built without being offered is removed."""
    app = App.get_by_id(run.app.id)
    run.app = app
    try:
        for unit in (units.fetch(app.name), units.build(app.name), units.task(app.name)):
            run.systemd.stop_and_wait(unit, 60)
        activation.stop_slot(run, app.idle_slot)
    finally:  # whatever could not be stopped, visitors are served again
        takeover.come_back(run)
    releases.discard_unfinished(app, run.path / "slugs")
    history.forget_oldest(app, run.settings)
    reservation.renew(app)
    run.applier.ensure(app.name)
