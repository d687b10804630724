"""Apps: create, import from a repository, remove."""

from __future__ import annotations

import logging
from typing import Any

import peewee

from rustploy_agent import (
    app_json,
    compilation,
    domains,
    events,
    history,
    instances,
    manifest,
    precedence,
    releases,
    repository,
    routes,
    slots,
    units,
)
from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.errors import (
    AgentError,
    Conflict,
    DeploymentFailed,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from rustploy_agent.models import OPEN, App, Deployment, Domain, EnvVar, Process, Release, Slot, Slug, database
from rustploy_agent.names import url_scheme
from rustploy_agent.ports import WEB, adopt, allocate
from rustploy_agent.run import Run
from rustploy_agent.systemd import Systemd
from rustploy_agent.worker import Worker

log = logging.getLogger(__name__)
HOLD_SECONDS = 30
STOP_SECONDS = 60


def find(key: str, *, leaving: bool = False) -> App:
    """By id or by name; names are too short to be ids. With `leaving`, also one whose removal is not done."""
    app: App | None = App.get_or_none((App.id == key) | (App.name == key))
    if app is not None and app.deleting and not leaving:
        raise NotFound(f"the app {key!r} is being removed", code="app_not_found")
    if app is None:
        raise unknown(key)
    return app


def unknown(key: str) -> NotFound:
    return NotFound(f"there is no app {key!r}", code="app_not_found")


def create(name: str, settings: Settings, systemd: Systemd, applier: Applier, app_id: str | None = None) -> App:
    """The app with its users, directories and units; nothing is left when apply refuses it.

    One that has the name and this very `app_id` was begun for the same request, by an agent that died; it is finished.
    What a lost database has left of an app of this name belongs to it again: its data, and what runs goes on.
    """
    found = settings.paths.app(name).exists()
    try:
        with database.atomic("IMMEDIATE"):
            domains.refuse_taken_address(name, settings)
            path = settings.paths.app(name)
            scale = {kind: number for kind, number in slots.numbers(path).items() if number > 1}
            app: App = App.create(id=app_id or new_id(), name=name, active_slot=slots.in_use(path), scale=scale)
            for letter in ("a", "b"):
                Slot.create(app=app, letter=letter, deployment_id=new_id())
            allocate(settings, app, {WEB, *slots.numbers(path)})
            adopt(app, path)
    except peewee.IntegrityError:
        begun = App.get_or_none(App.id == app_id, App.name == name, ~App.deleting)
        if begun is None:
            leaving = App.select().where(App.name == name, App.deleting).exists()
            why = (
                f"the app {name!r} is being removed; try again soon" if leaving else f"there is already an app {name!r}"
            )
            raise Conflict(why, code="app_exists") from None
        app = begun
    try:
        applier.ensure(name)
    except AgentError:
        take_back(app, found, settings, systemd, applier)
        raise
    return app


def take_back(app: App, found: bool, settings: Settings, systemd: Systemd, applier: Applier) -> None:
    """After `create`: the app goes again, but not what was `found` of it, which is an older app's data."""
    if found:
        _forget(app)
    else:
        remove(app, settings, systemd, applier)


def remove(app: App, settings: Settings, systemd: Systemd, applier: Applier) -> None:
    """Marked first, so that what is broken off on the way is carried on, soon (removals.py) or at the next start."""
    App.update(deleting=True).where(App.id == app.id).execute()
    try:
        finish_removal(app, settings, systemd, applier)
    except BaseException:
        events.removal_broken_off.send(app)
        raise


def finish_removal(app: App, settings: Settings, systemd: Systemd, applier: Applier) -> None:
    """Units, users, files, then the rows."""
    routes.close(settings.paths.routes, app.name)
    running = [(process.type, process.number) for process in instances.of(app)]
    systemd.stop_all(units.of_app(app.name, running), STOP_SECONDS)
    applier.ensure(app.name)
    if settings.paths.app(app.name).exists():
        raise Unavailable(
            f"rustploy-apply did not remove {settings.paths.app(app.name)}; see journalctl -u {units.APPLY}"
        )
    _forget(app)
    routes.forget(settings.paths.routes, app.name)


def _forget(app: App) -> None:
    with database.atomic("IMMEDIATE"):
        for model in (EnvVar, Domain, Process, Slot, Release, Slug, Deployment):
            model.delete().where(model.app == app).execute()
        app.delete_instance()


def delete(app: App, settings: Settings, systemd: Systemd, applier: Applier, worker: Worker) -> None:
    for deployment in history.in_status(app, *OPEN):
        try:
            worker.cancel(deployment)
        except Conflict:
            log.info("deployment %s ended before it could be cancelled", deployment.id)
    with worker.hold(app.id, HOLD_SECONDS + STOP_SECONDS, interrupt=True):
        remove(app, settings, systemd, applier)


def import_repository(
    request: dict[str, Any],
    settings: Settings,
    systemd: Systemd,
    applier: Applier,
    worker: Worker,
    only: frozenset[str] | None = None,
    app_id: str | None = None,
) -> App:
    """Creates or updates the app of that name once its repository was fetched; a refused one changes nothing.

    With `only`, ids of apps, no other is touched or made. `app_id` as for `create`.
    """
    found = settings.paths.app(request["name"]).exists()
    existing = App.get_or_none((App.name == request["name"]) & ~App.deleting)
    if only is not None and (existing is None or existing.id not in only):
        raise Forbidden(f"the token is not for an app {request['name']!r}", code="insufficient_scope")
    new = existing is None or (existing.id == app_id and existing.repository is None)
    app = create(request["name"], settings, systemd, applier, app_id) if new else existing
    with worker.hold(app.id, HOLD_SECONDS):
        if not App.select().where(App.id == app.id, ~App.deleting).exists():
            raise Conflict(f"the app {request['name']!r} was removed meanwhile; import it again", code="app_removed")
        try:
            _update(app, request, settings, _inspect(app, request, settings, systemd, applier, worker))
        except BaseException as error:
            if new and not _waits_for_its_key(error, request):
                take_back(app, found, settings, systemd, applier)
            raise
        worker.standby.ready(app, ("fetch",))
    updated: App = App.get_by_id(app.id)
    return updated


def _waits_for_its_key(error: BaseException, request: dict[str, Any]) -> bool:
    """The answer names the new app's deploy key; removed with the app, a key could never be added to the repository."""
    refused = isinstance(error, InvalidRequest) and error.code == "authentication_failed"
    return refused and url_scheme(request["repository"]["clone_url"]) == "ssh"


def _inspect(
    app: App, request: dict[str, Any], settings: Settings, systemd: Systemd, applier: Applier, worker: Worker
) -> dict[str, Any]:
    """Fetches once to see that the repository is there and what it is; the checkout is not kept."""
    app.repository, app.build_mode, app.build = request["repository"], request["build_mode"], request["build"]
    slug = releases.make_slug(app, settings.paths.app(app.name) / "slugs", app.build_mode)
    run = Run(settings, systemd, applier, app, Deployment(app=app), standby=worker.standby)
    source = request["source"]
    try:
        wanted = {"ref": source.get("branch"), "commit": source.get("commit_sha")}
        found = compilation.fetch_job(run, compilation.job_document(run, slug, **wanted, inspect_only=True))
        found["manifest"] = None if found["manifest"] is None else manifest.parse(found["manifest"])
        if precedence.buildpack(app.build_mode, found["manifest"], None) in precedence.CONTAINER_MODES:
            raise InvalidRequest.field("build.mode", precedence.NO_CONTAINERS, code="unsupported_build_mode")
        compilation.choose_root(app, found["manifest"], found)
        return found
    except DeploymentFailed as error:
        raise InvalidRequest.field("repository", error.message, code=error.code) from None
    finally:
        releases.discard(slug, run.path / "slugs" / slug.id)


def _update(app: App, request: dict[str, Any], settings: Settings, found: dict[str, Any]) -> None:
    with database.atomic("IMMEDIATE"):
        warnings = app_json.provide(app, found["app_json"], settings.paths)
        found["detection"]["warnings"] += [*_unbuildable(app, found), *warnings]
        _note(app, request, settings, found)


def _unbuildable(app: App, found: dict[str, Any]) -> list[str]:
    """What a deployment would fail with at once, for whoever reads the answer of the import."""
    try:
        compilation.choose_buildpack(app, found["manifest"], found)
    except DeploymentFailed as error:
        return [error.message]
    return []


def _note(app: App, request: dict[str, Any], settings: Settings, found: dict[str, Any]) -> None:
    App.update(
        repository=repository.kept(app, request["repository"], settings.paths),
        source=request["source"],
        build_mode=request["build_mode"],
        build=request["build"],
        runtime=request["runtime"],
        dependency_profile=request["dependency_profile"],
        detection=found["detection"] | {"root": found["root"]},
        manifest=found["manifest"],
        updated_at_unix_ms=now_ms(),
    ).where(App.id == app.id).execute()
