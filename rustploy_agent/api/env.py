"""/apps/{app}/env: the variables of the next release."""

from __future__ import annotations

from typing import Any

from flask import g

from rustploy_agent import apps, build_variables, environment
from rustploy_agent.api import trail
from rustploy_agent.api.calls import Manner
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource, body, complete, core
from rustploy_agent.errors import NotFound
from rustploy_agent.fields import boolean
from rustploy_agent.models import EnvVar, database
from rustploy_agent.names import env_key, env_value

resource = Resource("env", __name__)
MASK = "********"


def view(row: EnvVar, value: str) -> dict[str, Any]:
    return {
        "app_id": row.app_id,
        "key": row.key,
        "value": value,
        "build": build_variables.seen_by_builds(row),
        "updated_at_unix_ms": row.updated_at_unix_ms,
    }


@resource.route("/apps/<app_id>/env", scope="read")
def list_env(app_id: str) -> dict[str, Any]:
    """Unreadable variables are an error for everybody: a list that looks right would hide that deployments fail."""
    app, masked = apps.find(app_id), not g.caller.may("admin")
    with database.atomic():
        values = environment.variables(app, core().settings.paths)
        rows = EnvVar.select().where(EnvVar.app == app)
        if masked:
            return page(rows, (EnvVar.key,), lambda row: view(row, MASK) | {"masked": True})
        return page(rows, (EnvVar.key,), lambda row: view(row, values[row.key]))


@resource.route("/apps/<app_id>/env", methods=["PUT"], scope="admin", manner=Manner(atomic=True))
def set_env(app_id: str) -> dict[str, Any]:
    app, fields = apps.find(app_id), body()
    key, value = fields.required("key", env_key, ""), fields.required("value", env_value, "")
    build = fields.maybe("build", boolean)
    complete(fields)
    with database.atomic("IMMEDIATE"):
        environment.change(app, {key: value}, core().settings.paths, {key: build})
        row = next(row for row in environment.rows(app) if row.key == key)
    trail.about(key)
    return view(row, value)


@resource.route("/apps/<app_id>/env", methods=["PATCH"], scope="admin", manner=Manner(atomic=True))
def change_env(app_id: str) -> dict[str, Any]:
    """All or nothing, its answer included: what the others are has to be readable."""
    app, fields = apps.find(app_id), body()
    wanted = fields.every(env_key, _wanted)
    complete(fields)
    changes = {key: None if one is None else one[0] for key, one in wanted.items()}
    build = {key: one[1] for key, one in wanted.items() if one is not None}
    with database.atomic("IMMEDIATE"):
        environment.change(app, changes, core().settings.paths, build)
        values = environment.variables(app, core().settings.paths)
        trail.about(", ".join(changes))
        return {"items": [view(row, values[row.key]) for row in environment.rows(app)]}


def _wanted(value: object) -> tuple[str, bool | None]:
    """Return the value, and whether builds shall see it (None: as before), of a string or of an object with both."""
    if not isinstance(value, dict):
        return env_value(value), None
    if not {"value"} <= set(value) <= {"value", "build"}:
        raise ValueError('must be a string, null, or an object such as {"value": "…", "build": true}')
    return env_value(value["value"]), boolean(value["build"]) if "build" in value else None


@resource.route("/apps/<app_id>/env/<key>", methods=["DELETE"], scope="admin", manner=Manner(atomic=True))
def delete_env(app_id: str, key: str) -> tuple[str, int]:
    app = apps.find(app_id)
    with database.atomic("IMMEDIATE"):
        if not environment.change(app, {key: None}, core().settings.paths):
            raise NotFound(f"the app has no variable {key!r}", code="env_not_found")
    trail.about(key)
    return "", 204
