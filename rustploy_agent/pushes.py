"""Deployments that a push has asked for: they bring the newest commit of the branch, unless there is nothing new on it.

Hosts deliver late, again and in another order. So the pushed commit says only when to look; what is deployed is the
branch's newest commit at the fetch. One that was deployed before is not deployed again over what somebody wished for
since, such as a rollback, unless the branch has led elsewhere in between.
"""

from __future__ import annotations

from typing import Any

from rustploy_agent.errors import DeploymentFailed
from rustploy_agent.models import App, Deployment, Release
from rustploy_agent.records import DeliveryTarget

#: In the list of deliveries, why not the pushed commit was deployed.
NEWER_COMMIT, DEPLOYED_BEFORE = "newer_commit", "deployed_before"


def judge(app: App, deployment: Deployment, tip: str, *, contained: bool, attempts: int) -> None:
    """Refuses the branch's newest commit where it is nothing new. `contained`: it leads back to the pushed commit."""
    pushed = deployment.pushed_commit
    if pushed is None:
        return
    old = _was_deployed(app, deployment.source_ref, tip)
    if old and not contained and deployment.attempt < attempts:
        message = f"the branch does not have the pushed commit {pushed} yet; it is looked for again"
        raise DeploymentFailed("commit_not_found", message, retryable=True)
    live = Release.get_or_none(Release.id == app.active_release_id)
    if old and (live is None or live.commit_sha != tip):
        _tell(deployment, DEPLOYED_BEFORE)
        message = f"commit {tip} was deployed before, and something else was asked for since; deploy it by hand"
        raise DeploymentFailed("superseded", message)
    if pushed != tip:
        _tell(deployment, NEWER_COMMIT)


def _was_deployed(app: App, branch: str | None, tip: str) -> bool:
    """Whether it served once, and no deployment has found another newest commit on the branch since."""
    last = _last(app, Deployment.commit_sha == tip)
    by_branch = Deployment.requested_commit.is_null() & (
        (Deployment.source_ref == branch) | Deployment.source_ref.is_null()
    )
    return last > _last(app, (Deployment.commit_sha != tip) & by_branch)


def _last(app: App, which: Any) -> int:
    """When the newest healthy deployment of that kind was asked for; 0 when there is none."""
    healthy = (Deployment.app == app) & (Deployment.status == "healthy") & (Deployment.kind == "deploy")
    found = Deployment.select().where(healthy & which).order_by(Deployment.created_at_unix_ms.desc()).first()
    return 0 if found is None else int(found.created_at_unix_ms)


def _tell(deployment: Deployment, reason: str) -> None:
    DeliveryTarget.update(reason=reason).where(DeliveryTarget.deployment_id == deployment.id).execute()
