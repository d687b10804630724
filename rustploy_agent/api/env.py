"""/apps/{app}/env: the variables of the next release."""

from __future__ import annotations

from typing import Any

from flask import g

from rustploy_agent import apps, environment
from rustploy_agent.api.resource import Resource, body, complete, core
from rustploy_agent.errors import NotFound
from rustploy_agent.models import App, database
from rustploy_agent.names import env_key, env_value

resource = Resource("env", __name__)
MASK = "********"


def items(app: App, *, masked: bool = False) -> list[dict[str, Any]]:
    """Unreadable variables are an error for everybody: a list that looks right would hide that deployments fail."""
    values = environment.variables(app, core().settings.paths)
    return [
        {
            "app_id": row.app_id,
            "key": row.key,
            "value": MASK if masked else values[row.key],
            "updated_at_unix_ms": row.updated_at_unix_ms,
        }
        | ({"masked": True} if masked else {})
        for row in environment.rows(app)
    ]


@resource.route("/apps/<app_id>/env", scope="read")
def list_env(app_id: str) -> dict[str, Any]:
    with database.atomic():
        return {"items": items(apps.find(app_id), masked=not g.caller.may("admin"))}


@resource.route("/apps/<app_id>/env", methods=["PUT"], scope="admin")
def set_env(app_id: str) -> dict[str, Any]:
    app, fields = apps.find(app_id), body()
    key, value = fields.required("key", env_key, ""), fields.required("value", env_value, "")
    complete(fields)
    with database.atomic("IMMEDIATE"):
        environment.change(app, {key: value}, core().settings.paths)
        row = next(row for row in environment.rows(app) if row.key == key)
    return {"app_id": app.id, "key": key, "value": value, "updated_at_unix_ms": row.updated_at_unix_ms}


@resource.route("/apps/<app_id>/env", methods=["PATCH"], scope="admin")
def change_env(app_id: str) -> dict[str, Any]:
    """All or nothing, its answer included: what the others are has to be readable."""
    app, fields = apps.find(app_id), body()
    changes = fields.every(env_key, env_value)
    complete(fields)
    with database.atomic("IMMEDIATE"):
        environment.change(app, changes, core().settings.paths)
        return {"items": items(app)}


@resource.route("/apps/<app_id>/env/<key>", methods=["DELETE"], scope="admin")
def delete_env(app_id: str, key: str) -> tuple[str, int]:
    app = apps.find(app_id)
    with database.atomic("IMMEDIATE"):
        if not environment.change(app, {key: None}, core().settings.paths):
            raise NotFound(f"the app has no variable {key!r}", code="env_not_found")
    return "", 204
