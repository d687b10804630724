"""/audit: who did what on this host, and who was refused."""

from __future__ import annotations

from typing import Any

from flask import request

from rustploy_agent import audit
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource, integer_argument
from rustploy_agent.errors import InvalidRequest
from rustploy_agent.fields import one_of, text
from rustploy_agent.records import Audit

resource = Resource("audit", __name__)
OUTCOMES = ("done", "repeated", "refused", "failed")
LATEST = 2**53


def view(row: Audit) -> dict[str, Any]:
    return {
        "id": row.id,
        "at_unix_ms": row.at_unix_ms,
        "last_at_unix_ms": row.last_at_unix_ms,
        "count": row.count,
        "action": row.action,
        "actor": {"kind": row.actor_kind, "id": row.actor_id, "name": row.actor_name},
        "app_id": row.app_id,
        "app_name": row.app_name,
        "deployment_id": row.deployment_id,
        "subject": row.subject,
        "address": row.address,
        "outcome": row.outcome,
        "status": row.status,
        "error_code": row.error_code,
        "request_id": row.request_id,
    }


@resource.route("/audit", scope="admin")
def list_audit() -> dict[str, Any]:
    audit.settle()
    rows = Audit.select()
    app, actor, action = (_argument(name, text) for name in ("app", "actor", "action"))
    outcome, subject = _argument("outcome", one_of(*OUTCOMES)), _argument("subject", text)
    if app is not None:
        rows = rows.where((Audit.app_id == app) | (Audit.app_name == app))
    if actor is not None:
        rows = rows.where((Audit.actor_id == actor) | (Audit.actor_name == actor) | (Audit.actor_kind == actor))
    if action is not None:
        rows = rows.where(Audit.action == action)
    if subject is not None:
        rows = rows.where(Audit.subject == subject)
    if outcome is not None:
        rows = rows.where(Audit.outcome == outcome)
    since, until = integer_argument("since_unix_ms", 1, LATEST), integer_argument("until_unix_ms", LATEST, LATEST)
    rows = rows.where(Audit.last_at_unix_ms >= since, Audit.at_unix_ms < until)
    return page(rows, (Audit.id,), view, newest_first=True, default=100)


def _argument(name: str, parse: Any) -> str | None:
    raw = request.args.get(name)
    try:
        return None if raw is None else str(parse(raw))
    except ValueError as error:
        raise InvalidRequest.field(name, str(error)) from None
