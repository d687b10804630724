"""Prefer: wait=N (RFC 7240) on what queues a deployment: the answer comes when it has ended, or after N seconds."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import Response, g, jsonify, request
from werkzeug.http import parse_list_header

from rustploy_agent.api import errors
from rustploy_agent.api.resource import core
from rustploy_agent.models import Deployment
from rustploy_agent.shares import Holder

LONGEST_SECONDS = 600
UNMET = 424


class Wish(NamedTuple):
    seconds: int
    strict: bool


def wish() -> Wish | None:
    """None when nobody wants to wait. What is not understood is ignored, and the first of a name counts (RFC 7240)."""
    found: dict[str, str] = {}
    for item in parse_list_header(",".join(request.headers.getlist("Prefer"))):
        name, _, value = item.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    seconds = found.get("wait", "")
    if not (seconds.isascii() and seconds.isdigit()) or not seconds.strip("0"):
        return None
    applied = LONGEST_SECONDS if len(seconds) > 6 else min(int(seconds), LONGEST_SECONDS)
    return Wish(applied, found.get("handling") == "strict")


def answer_at_the_end(accepted: Response) -> Response:
    """The answer to send instead of the 202 of a deployment that is queued, and on disk."""
    wanted = wish()
    accepted.headers["Vary"] = "Prefer"
    if wanted is None or accepted.status_code != 202:
        return accepted
    body: dict[str, Any] = accepted.get_json() or {}
    gone = request.environ.get("waitress.client_disconnected", bool)
    app = Deployment.select(Deployment.app).where(Deployment.id == body["deployment_id"]).scalar()
    holder = Holder(g.caller.holder, app)
    waited = core().ends.wait(body["deployment_id"], wanted.seconds, gone, holder)
    deployment = Deployment.get_or_none(Deployment.id == body["deployment_id"])
    answer = _answer(deployment, body, wanted) if deployment is not None else accepted
    answer.headers["Vary"] = "Prefer"
    if waited:
        answer.headers["Preference-Applied"] = f"wait={wanted.seconds}" + ", handling=strict" * wanted.strict
    return answer


def _answer(deployment: Deployment, body: dict[str, Any], wanted: Wish) -> Response:
    ended = deployment.finished_at_unix_ms is not None
    if wanted.strict and deployment.status != "healthy":
        return _unmet(deployment, ended)
    answer = jsonify(
        body
        | {
            "status": deployment.status,
            "outcome": deployment.outcome,
            "commit_sha": deployment.commit_sha,
            "error_code": deployment.error_code,
            "last_error": deployment.last_error,
            "finished_at_unix_ms": deployment.finished_at_unix_ms,
        }
    )
    answer.status_code = 200 if ended else 202
    return answer


def _unmet(deployment: Deployment, ended: bool) -> Response:
    """Not of the 5xx, which clients repeat by themselves: each repetition would be another deployment."""
    details = [{"field": "deployment_id", "message": deployment.id}]
    if not ended:
        message = f"the deployment is {deployment.status} and goes on; GET it to see how it ends"
        return errors.shape(UNMET, "deployment_unfinished", message, details)
    details.append({"field": "error_code", "message": deployment.error_code})
    return errors.shape(UNMET, "deployment_failed", f"{deployment.error_code}: {deployment.last_error}", details)
