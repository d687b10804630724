"""At start: ends what a crash, a kill or an upgrade left half done, before anything new begins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from rustploy_agent import (
    activation,
    events,
    files,
    instances,
    orphans,
    ports,
    releases,
    routing,
    scaling,
    slots,
    standby,
    units,
)
from rustploy_agent.apps import remove
from rustploy_agent.attempts import retry_or_yield, tidy_up
from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.models import App, Deployment, Process, Slug
from rustploy_agent.run import Run
from rustploy_agent.systemd import Systemd

log = logging.getLogger(__name__)


def settle(settings: Settings, systemd: Systemd, applier: Applier) -> None:
    _guarded("half-written files", partial(_remove_temporaries, settings))
    _guarded("what runs", partial(_follow_what_runs, settings))
    _guarded("marks for the ingress", partial(routing.mark_all, settings))
    for deployment in list(Deployment.select().where(Deployment.status == "deploying")):
        run = Run(settings, systemd, applier, deployment.app, deployment)
        _guarded(f"deployment {deployment.id}", partial(_interrupted, run))
    up = _units_up(systemd)
    for app in list(App.select().where(~App.deleting)):
        # What waits for a job was set up by another version, perhaps, or with other settings.
        _guarded(f"jobs of {app.name}", partial(standby.dismiss_jobs, settings, systemd, app.name))
        _guarded(f"app {app.name}", partial(_stop_leftovers, settings, systemd, applier, app, up))
    _guarded("settings that concern all apps", applier.renew)
    for app in list(App.select().where(App.deleting)):
        _guarded(f"removal of {app.name}", partial(remove, app, settings, systemd, applier))


def _follow_what_runs(settings: Settings) -> None:
    """A restored database may be older than what runs: the slot that has files serves, at the port that they name.

    After a crash both slots have files, or the active one has.
    """
    apps = {app.id: app for app in App.select().where(~App.deleting)}
    for app in apps.values():
        serving = slots.in_use(settings.paths.app(app.name))
        if app.active_slot and serving and serving != app.active_slot and not app.stopped:
            log.warning("the database is older than what runs of %s, which goes on; deploy it", app.name)
            app.active_slot = serving
            App.update(active_slot=serving, active_release_id=None).where(App.id == app.id).execute()
    listening = {}
    for row in Process.select().where(Process.type == ports.WEB, Process.app.in_(list(apps))):
        app = apps[row.app_id]
        port = app.active_slot and slots.port(settings.paths.app(app.name), row.type, app.active_slot, row.number)
        if port:
            listening[row.id] = (app.active_slot, port)
    lost = orphans.sites(settings.paths, {app.name for app in App.select()}, set())
    ports.follow(settings, listening, {port for site in lost for pair in site.ports.values() for port in pair})


def _remove_temporaries(settings: Settings) -> None:
    """They hold what the whole file would have held: jobs, and environments with their secrets."""
    files.remove_temporaries(settings.paths.desired.parent)
    files.remove_temporaries(settings.paths.routes)
    for app in App.select():
        for part in ("jobs", "slots"):
            files.remove_temporaries(settings.paths.app(app.name) / part)


def _guarded(what: str, action: Callable[[], None]) -> None:
    """One thing that cannot be settled now must not keep the agent from starting."""
    try:
        action()
    except Exception:  # a full disk as well as a refusal: the agent must start to be told of it
        log.exception("settling %s", what)


def _interrupted(run: Run) -> None:
    """Before the switch nothing was changed, so it is simply done again, unless it keeps being interrupted."""
    deployment = run.deployment
    tidy_up(run)
    told = {
        "error_code": "interrupted",
        "last_error": f"the agent stopped during the step {deployment.step or 'queued'}",
    }
    if deployment.cancel_requested:
        deployment.move(("deploying",), "failed", error_code="cancelled", last_error="the deployment was cancelled")
    elif deployment.attempt < run.settings.attempts:
        retry_or_yield(deployment, not_before_unix_ms=0, **told)
    else:
        deployment.move(("deploying",), "failed", **told)
    if deployment.status == "failed":
        events.deployment_finished.send(deployment)


def _units_up(systemd: Systemd) -> set[str] | None:
    """All units of apps that run, asked at once; None when systemd does not say, so that each app's are asked about."""
    try:
        return systemd.up(units.app_pattern())
    except Exception:
        log.exception("asking systemd what runs")
        return None


def _stop_leftovers(settings: Settings, systemd: Systemd, applier: Applier, app: App, up: set[str] | None) -> None:
    """systemd is asked what runs and should not: rows tell of the last deployment, not of what one before it left."""
    run = Run(settings, systemd, applier, app, Deployment(app=app))
    releases.discard_unfinished(app, run.path / "slugs")
    leaving = [app.idle_slot, *([app.active_slot] if app.stopped and app.active_slot is not None else [])]
    processes = instances.of(app)
    for slot in leaving:
        names = {instances.unit(app, process, slot) for process in processes}
        if up is None or names & up or slots.of_slot(run.path, slot):
            activation.stop_slot(run, slot)
    scaling.retire_surplus(run)
    if Slug.select().where(Slug.app == app, Slug.state == "removing").exists():
        applier.ensure(app.name)
