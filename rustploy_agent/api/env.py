"""/apps/{app}/env: the variables of the next release."""

from __future__ import annotations

from typing import Any

from flask import g

from rustploy_agent import apps
from rustploy_agent.api.resource import Resource, body, complete
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import InvalidRequest, NotFound
from rustploy_agent.models import App, EnvVar, database
from rustploy_agent.names import env_key, env_value

resource = Resource("env", __name__)
#: All keys and values of an app together: the kernel's limit for a new program is 2 MiB with its arguments.
LARGEST_ENVIRONMENT = 512 * 1024


def view(item: EnvVar, *, masked: bool = False) -> dict[str, Any]:
    shown = {"app_id": item.app_id, "key": item.key, "value": item.value, "updated_at_unix_ms": item.updated_at_unix_ms}
    return shown | {"value": "********", "masked": True} if masked else shown


@resource.route("/apps/<app_id>/env", scope="read")
def list_env(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    masked = not g.caller.may("admin")
    return {
        "items": [view(item, masked=masked) for item in EnvVar.select().where(EnvVar.app == app).order_by(EnvVar.key)]
    }


@resource.route("/apps/<app_id>/env", methods=["PUT"], scope="admin")
def set_env(app_id: str) -> dict[str, Any]:
    app, fields = apps.find(app_id), body()
    key, value = fields.required("key", env_key, ""), fields.required("value", env_value, "")
    complete(fields)
    with database.atomic("IMMEDIATE"):
        _check_size(app, key, value)
        EnvVar.insert(app=app, key=key, value=value).on_conflict(
            conflict_target=[EnvVar.app, EnvVar.key], update={EnvVar.value: value, EnvVar.updated_at_unix_ms: now_ms()}
        ).execute()
    return view(EnvVar.get(EnvVar.app == app, EnvVar.key == key))


def _check_size(app: App, key: str, value: str) -> None:
    others = EnvVar.select().where(EnvVar.app == app, EnvVar.key != key)
    size = sum(len(f"{item.key}={item.value}".encode()) for item in others) + len(f"{key}={value}".encode())
    if size > LARGEST_ENVIRONMENT:
        raise InvalidRequest.field(
            "value", f"all variables of an app together may have at most {LARGEST_ENVIRONMENT} bytes"
        )


@resource.route("/apps/<app_id>/env/<key>", methods=["DELETE"], scope="admin")
def delete_env(app_id: str, key: str) -> tuple[str, int]:
    app = apps.find(app_id)
    if not EnvVar.delete().where(EnvVar.app == app, EnvVar.key == key).execute():
        raise NotFound(f"the app has no variable {key!r}", code="env_not_found")
    return "", 204
