"""Start, stop and restart of an app as it is: its active release, without a deployment.

What is stopped stays so, over reboots and restarts of the agent, until it is started or deployed.
"""

from __future__ import annotations

from threading import Event

from rustploy_agent import activation, apps, instances, readiness, routes, stack
from rustploy_agent.clock import now_ms
from rustploy_agent.core import Core
from rustploy_agent.errors import AgentError, Conflict, DeploymentFailed
from rustploy_agent.models import App, Deployment, Release
from rustploy_agent.run import Run

HOLD_SECONDS = 30


def start(app: App, core: Core) -> App:
    """Answers when it is healthy; one that does not get so is stopped again."""
    with core.worker.hold(app.id, HOLD_SECONDS) as interrupted:
        run, release = _active(app, core, interrupted)
        _refuse_outdated(release)
        slot = str(run.app.active_slot)
        try:
            activation.launch(run, release, slot)
            readiness.become_healthy(run, release, slot)
        except DeploymentFailed as error:
            if run.app.stopped:
                activation.stop_slot(run, slot)
            raise failed(error) from None
        _note(run.app, stopped=False)
        routes.point(core.settings.paths.routes, app.name, slot)
    return again(app)


def stop(app: App, core: Core) -> App:
    """Noted first: what a crash leaves running is stopped at the next start of the agent.

    A start, restart or change of scale that still waits for the app's health gives way.
    """
    with core.worker.hold(app.id, HOLD_SECONDS, interrupt=True) as interrupted:
        run, _ = _active(app, core, interrupted)
        _note(run.app, stopped=True)
        routes.close(core.settings.paths.routes, app.name)
        for slot in instances.SLOTS:  # the other one's units may wait for the next deployment
            activation.stop_slot(run, slot)
    return again(app)


def restart(app: App, core: Core) -> App:
    """Visitors that come meanwhile wait at the ingress for a while; requests under way are ended by the app's stop.

    Those with a body get 502 meanwhile: Caddy reads it once, so it cannot try again.
    """
    with core.worker.hold(app.id, HOLD_SECONDS) as interrupted:
        run, release = _active(app, core, interrupted)
        if run.app.stopped:
            raise Conflict("the app is stopped; start it", code="app_stopped")
        _refuse_outdated(release)
        try:
            activation.relaunch(run, release, str(run.app.active_slot))
        except DeploymentFailed as error:
            raise failed(error) from None
    return again(app)


def _active(app: App, core: Core, interrupted: Event) -> tuple[Run, Release]:
    run, release = situation(app, core, interrupted)
    if release is None:
        raise Conflict("the app has no release yet; deploy it", code="no_release")
    return run, release


def _refuse_outdated(release: Release) -> None:
    """What runs goes on; started again it would not, because its interpreter has another version now."""
    if stack.changed_runtimes(release.slug):
        raise Conflict(
            f"it would not start any more: {stack.difference(release.slug)}; deploy the app, which builds it anew",
            code="release_outdated",
        )


def situation(app: App, core: Core, interrupted: Event) -> tuple[Run, Release | None]:
    """What serves, if anything does. Read anew: a deployment may have ended while this waited for it."""
    app = again(app)
    release = Release.get_or_none(Release.id == app.active_release_id)
    deployment = Deployment.serving(app) or Deployment(app=app)
    return Run(core.settings, core.systemd, core.applier, app, deployment, cancelled=interrupted), release


def _note(app: App, *, stopped: bool) -> None:
    App.update(stopped=stopped, updated_at_unix_ms=now_ms()).where(App.id == app.id).execute()


def again(app: App) -> App:
    """As it is now; NotFound when it was deleted while somebody waited for it."""
    return apps.find(app.id)


def failed(error: DeploymentFailed) -> AgentError:
    if error.code == "cancelled":
        return Conflict("the app was stopped or removed meanwhile", code="app_stopped")
    return Conflict(error.message, code=error.code)
