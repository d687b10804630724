"""The tries of a deployment: its state when one begins, is cut short or fails, and what a failed one has left."""

from __future__ import annotations

import logging
from typing import Any

from rustploy_agent import ballast, deploy, history
from rustploy_agent.models import App, Deployment, database
from rustploy_agent.run import Run, passing

log = logging.getLogger(__name__)
WAITING = ("queued", "retrying")
ROLLBACK = "rollback"


def waiting_ones(*, rollbacks_only: bool) -> list[Deployment]:
    """The oldest of each app, the oldest first."""
    found = Deployment.select().join(App).where(Deployment.status.in_(WAITING), ~App.deleting)
    if rollbacks_only:
        found = found.where(Deployment.kind == ROLLBACK)
    oldest: dict[str, Deployment] = {}
    for one in found.order_by(Deployment.created_at_unix_ms, Deployment.id):
        oldest.setdefault(one.app_id, one)
    return list(oldest.values())


def begin(deployment: Deployment) -> bool:
    """After a power cut that forgets it, the deployment waits still."""
    with passing():
        return deployment.move(WAITING, "deploying", attempt=deployment.attempt + 1, step=None)


def tidy_up(run: Run, reason: str | None = None) -> None:
    """Whatever goes wrong here, a full disk for one, a deployment that nobody works on any more must still end."""
    try:
        ballast.give_way(run.settings.paths)
        if reason:
            run.log(reason, priority=3)
        deploy.clean_up(run)
    except Exception:
        log.exception("cleaning up after deployment %s", run.deployment.id)


def gives_way(older: Deployment, newer: Deployment) -> bool:
    """A rollback is somebody's wish: a push comes after it, and not in its place."""
    return older.kind != ROLLBACK or newer.pushed_commit is None


def superseded_by(newer: Deployment) -> dict[str, str]:
    return {"error_code": "superseded", "last_error": f"superseded by deployment {newer.id}"}


def retry_or_yield(deployment: Deployment, **changes: Any) -> None:
    """To be tried again, unless a newer one waits: after that one, the older must not take its place again."""
    with database.atomic("IMMEDIATE"):
        newer = [one for one in history.in_status(deployment.app, *WAITING) if gives_way(deployment, one)]
        if newer:
            deployment.move(("deploying",), "failed", **superseded_by(newer[0]))
        else:
            deployment.move(("deploying",), "retrying", **changes)
