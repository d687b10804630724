"""/apps/{app}/deployments and /rollback: queue, list, show, cancel, logs."""

from __future__ import annotations

from typing import Any

from flask import Response

from rustploy_agent import apps, instances, journal, releases, space
from rustploy_agent.api import trail
from rustploy_agent.api.calls import Manner
from rustploy_agent.api.paging import page, remembered
from rustploy_agent.api.preferences import answer_at_the_end
from rustploy_agent.api.resource import Resource, body, complete, core, integer_argument
from rustploy_agent.errors import DeploymentFailed, InvalidRequest, NotFound, Unavailable
from rustploy_agent.fields import boolean, text
from rustploy_agent.models import App, Deployment
from rustploy_agent.names import COMMIT, commit_sha, git_ref

QUEUES = Manner(atomic=True, idempotent=True, then=answer_at_the_end)
resource = Resource("deployments", __name__)
#: Lines of a deployment's log in one answer unless `tail` says otherwise.
DEFAULT_TAIL, LONGEST_TAIL = 2_000, 50_000


def view(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": deployment.id,
        "app_id": deployment.app_id,
        "kind": deployment.kind,
        "source_ref": deployment.source_ref,
        "image_ref": None,
        "commit_sha": deployment.commit_sha,
        "status": deployment.status,
        "outcome": deployment.outcome,
        "step": deployment.step,
        "attempt": deployment.attempt,
        "error_code": deployment.error_code,
        "last_error": deployment.last_error,
        "created_at_unix_ms": deployment.created_at_unix_ms,
        "updated_at_unix_ms": deployment.updated_at_unix_ms,
        "finished_at_unix_ms": deployment.finished_at_unix_ms,
    }


def _accepted(deployment: Deployment) -> tuple[dict[str, Any], int]:
    core().worker.enqueue(deployment)
    trail.concerns(deployment.app, deployment)
    return {
        "deployment_id": deployment.id,
        "status": deployment.status,
        "queued_at_unix_ms": deployment.created_at_unix_ms,
    }, 202


def _refuse_when_full() -> None:
    try:
        space.refuse_when_short(core().settings)
    except DeploymentFailed as error:
        raise Unavailable(error.message, code=error.code) from None


@resource.route("/apps/<app_id>/deployments", methods=["POST"], scope="deploy", manner=QUEUES)
def create_deployment(app_id: str) -> tuple[dict[str, Any], int]:
    app, fields = apps.find(app_id), body(optional=True)
    if fields.maybe("image_ref", text) is not None:
        raise InvalidRequest.field(
            "image_ref",
            "images are not supported: apps are built from git, without containers",
            code="unsupported_source",
        )
    ref, commit = fields.maybe("source_ref", git_ref), fields.maybe("commit_sha", commit_sha)
    force = fields.optional("force_rebuild", boolean, False)
    complete(fields)
    if app.repository is None:
        raise InvalidRequest(
            "the app has no repository yet; import one with POST /api/v1/apps/import", code="no_repository"
        )
    source: dict[str, Any] = app.source or {}
    if ref is not None and COMMIT.fullmatch(ref):
        if commit not in (None, ref):
            raise InvalidRequest.field("source_ref", "is another commit than commit_sha; give one of them")
        ref, commit = None, ref
    if ref is None and commit is None:
        commit = source.get("commit_sha")
    _refuse_when_full()
    return _accepted(
        Deployment(
            app=app,
            source_ref=ref or source.get("branch"),
            requested_commit=commit,
            commit_sha=commit,
            force_rebuild=force,
        )
    )


@resource.route("/apps/<app_id>/rollback", methods=["POST"], scope="deploy", manner=QUEUES)
def create_rollback(app_id: str) -> tuple[dict[str, Any], int]:
    app, fields = apps.find(app_id), body(optional=True)
    wanted = fields.maybe("deployment_id", text)
    complete(fields)
    release_id = None if wanted is None else _find(app, wanted).release_id or ""
    target = releases.rollback_target(app, release_id)
    return _accepted(
        Deployment(
            app=app, kind="rollback", target_release_id=target.id, release_id=target.id, commit_sha=target.commit_sha
        )
    )


@resource.route("/apps/<app_id>/deployments", scope="read")
def list_deployments(app_id: str) -> Response:
    by = (Deployment.created_at_unix_ms, Deployment.id)

    def read() -> dict[str, Any]:
        rows = Deployment.select().where(Deployment.app == apps.find(app_id))
        return page(rows, by, view, newest_first=True, default=100)

    return remembered(read)


@resource.route("/apps/<app_id>/deployments/<deployment_id>", scope="read")
def show_deployment(app_id: str, deployment_id: str) -> dict[str, Any]:
    return view(_find(apps.find(app_id), deployment_id))


@resource.route("/apps/<app_id>/deployments/<deployment_id>/cancel", methods=["POST"], scope="deploy")
def cancel_deployment(app_id: str, deployment_id: str) -> tuple[dict[str, Any], int]:
    app = apps.find(app_id)
    deployment = _find(app, deployment_id)
    trail.concerns(app, deployment)
    core().worker.cancel(deployment)
    return view(Deployment.get_by_id(deployment.id)), 202


@resource.route("/apps/<app_id>/deployments/<deployment_id>/logs", scope="read")
def deployment_logs(app_id: str, deployment_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    deployment = _find(app, deployment_id)
    tail = integer_argument("tail", DEFAULT_TAIL, LONGEST_TAIL)
    lines = journal.deployment_lines(app.name, deployment.id, instances.logged(app), tail)
    return {"deployment_id": deployment.id, "logs": "\n".join(lines)}


def _find(app: App, deployment_id: str) -> Deployment:
    deployment: Deployment | None = Deployment.get_or_none(Deployment.app == app, Deployment.id == deployment_id)
    if deployment is None:
        raise NotFound(f"the app has no deployment {deployment_id!r}", code="deployment_not_found")
    return deployment
