"""/apps: create, import, list, show, change limits, delete."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Response, g

from rustploy_agent import activation, apps, desired, http_probe, instances, precedence, routes, routing, stack
from rustploy_agent.api import trail
from rustploy_agent.api.calls import Manner, intended_id
from rustploy_agent.api.paging import page, remembered
from rustploy_agent.api.resource import Resource, body, complete, core, slow_request
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import InvalidRequest
from rustploy_agent.fields import Fields, boolean, integer, text
from rustploy_agent.limits import CEILING_KEYS
from rustploy_agent.models import App, Deployment, Release, database
from rustploy_agent.names import (
    app_name,
    build_mode,
    build_root,
    clone_url,
    commit_sha,
    git_ref,
    repository_part,
    url_scheme,
)
from rustploy_agent.runtime_fields import HEALTHCHECK, filesystem

resource = Resource("apps", __name__)
PROVIDERS = {"github": "https://github.com", "gitlab": "https://gitlab.com"}
LIMITS = {
    "memory_max_bytes": integer(16 << 20, 1 << 40),
    "cpu_quota_percent": integer(1, 102400),
    "tasks_max": integer(4, 65536),
}


def _below_ceiling(key: str, parse: Callable[[object], int]) -> Callable[[object], int]:
    def checked(value: object) -> int:
        found, ceiling = parse(value), int(getattr(core().settings.ceilings, key))
        if found > ceiling:
            setting = f"apps.limits.{CEILING_KEYS[key][0]}"
            raise ValueError(f"must be at most {ceiling}, the ceiling of this host ({setting} in agent.yaml)")
        return found

    return checked


CAPPED = {key: _below_ceiling(key, parse) for key, parse in LIMITS.items()}
BUILD = {"root": build_root}
CHANGEABLE = ("limits", "ingress", "maintenance", "build")
T = TypeVar("T")
INGRESS = {"max_body_bytes": integer(1, 1 << 40), "timeout_seconds": integer(1, 86400)}


def view(app: App) -> dict[str, Any]:
    return {
        "id": app.id,
        "name": app.name,
        "created_at_unix_ms": app.created_at_unix_ms,
        "updated_at_unix_ms": app.updated_at_unix_ms,
    }


def full_view(app: App) -> dict[str, Any]:
    """With what runs now, asked from systemd."""
    release = Release.get_or_none(Release.id == app.active_release_id)
    port = activation.web_port(app)
    active = Deployment.serving(app) if release else None
    return view(app) | {
        "address": f"http://{http_probe.LOOPBACK}:{port}" if port else None,
        "urls": routing.urls(app, core().settings),
        "active_slot": app.active_slot,
        "active_deployment_id": active.id if active else None,
        "active_release": _release_view(release) if release else None,
        "rebuild_needed": stack.rebuild_needed(app),
        "limits": vars(desired.limits_of(app, core().settings)),
        "ingress": vars(routing.limits_of(app, core().settings)),
        "maintenance": app.maintenance,
        "stopped": app.stopped,
        "scale": instances.numbers(app),
        "processes": _processes(app, release) if release else [],
    }


def _release_view(release: Release) -> dict[str, Any]:
    return {
        "id": release.id,
        "version": release.version,
        "commit_sha": release.commit_sha,
        "created_at_unix_ms": release.created_at_unix_ms,
    }


def _processes(app: App, release: Release) -> list[dict[str, Any]]:
    named = {instances.unit(app, row, app.active_slot): row for row in instances.of_release(app, release)}
    states = core().systemd.states(list(named)) if named else {}
    return [
        {
            "type": row.type,
            "instance": row.number,
            "unit": unit,
            "state": states[unit].active,
            "sub_state": states[unit].sub,
            "port": row.port(app.active_slot),
            "command": release.processes[row.type],
        }
        for unit, row in named.items()
    ]


@resource.route("/apps", methods=["POST"], scope="admin", manner=Manner(idempotent=True))
def create_app() -> tuple[dict[str, Any], int]:
    fields = body()
    name = fields.required("name", app_name, "")
    complete(fields)
    c = core()
    with slow_request():
        app = apps.create(name, c.settings, c.systemd, c.applier, intended_id())
    c.routing.update()
    trail.concerns(app)
    return view(app), 201


@resource.route("/apps", scope="read", filtered=True)
def list_apps() -> Response:
    own = g.caller.apps
    mine = True if own is None else App.id.in_(own)
    return remembered(lambda: page(App.select().where(~App.deleting, mine), (App.name,), view))


@resource.route("/apps/<app_id>", scope="read")
def show_app(app_id: str) -> dict[str, Any]:
    return full_view(apps.find(app_id))


@resource.route("/apps/<app_id>", methods=["PATCH"], scope="admin")
def change_app(app_id: str) -> dict[str, Any]:
    """The limits of running processes change too; both slots carry them. Null brings a limit of the settings back."""
    apps.find(app_id)
    fields = body()
    limits, ingress = _wanted(fields.object("limits"), CAPPED), _wanted(fields.object("ingress"), INGRESS)
    maintenance, build = fields.maybe("maintenance", boolean), _wanted(fields.object("build"), BUILD)
    if not any(fields.given(key) for key in CHANGEABLE):
        fields.problem("", f"must have at least one of: {', '.join(CHANGEABLE)}")
    complete(fields)
    with database.atomic("IMMEDIATE"):  # somebody else may change another limit at the same moment
        app = apps.find(app_id)
        maintained = app.maintenance if maintenance is None else maintenance
        App.update(
            limits=_changed(app.limits, limits),
            ingress=_changed(app.ingress, ingress),
            build=_changed(app.build, build),
            maintenance=maintained,
            updated_at_unix_ms=now_ms(),
        ).where(App.id == app.id).execute()
    if "limits" in fields:
        core().applier.ensure(app.name)
    routes.maintain(core().settings.paths.routes, app.name, maintained)
    core().routing.update()
    return full_view(apps.find(app_id))


def _wanted(fields: Fields, parsers: Mapping[str, Callable[[object], T]]) -> dict[str, T | None]:
    """None for null, which brings the settings' own back."""
    found = {key: fields.maybe(key, parse) for key, parse in parsers.items()}
    return {key: value for key, value in found.items() if value is not None or fields.is_null(key)}


def _changed(old: dict[str, T], wanted: dict[str, T | None]) -> dict[str, T]:
    return {key: value for key, value in (old | wanted).items() if value is not None}


@resource.route("/apps/<app_id>", methods=["DELETE"], scope="admin")
def delete_app(app_id: str) -> tuple[str, int]:
    c = core()
    app = apps.find(app_id, leaving=True)
    with slow_request(app.id):
        apps.delete(app, c.settings, c.systemd, c.applier, c.worker)
    c.routing.update_soon()  # visitors are refused already, by the mark that is gone
    return "", 204


@resource.route("/apps/import", methods=["POST"], scope="admin", filtered=True, manner=Manner(idempotent=True))
def import_app() -> tuple[dict[str, Any], int]:
    c = core()
    request = _import_request(body())
    with slow_request():
        app = apps.import_repository(request, c.settings, c.systemd, c.applier, c.worker, g.caller.apps, intended_id())
    c.routing.update()
    trail.concerns(app)
    next_action = {"action_type": "create_deployment", "deploy_endpoint": f"/api/v1/apps/{app.id}/deployments"}
    return {"app": view(app), "detection": app.detection, "next_action": next_action}, 201


def _import_request(fields: Fields) -> dict[str, Any]:
    repository = _repository(fields.object("repository", required=True))
    source, runtime, profile = (fields.object(key) for key in ("source", "runtime", "dependency_profile"))
    request = {
        "repository": repository,
        "source": {
            "branch": source.maybe("branch", git_ref) or repository["default_branch"],
            "commit_sha": source.maybe("commit_sha", commit_sha),
        },
        "build_mode": fields.optional("build_mode", build_mode, "auto"),
        "build": _changed({}, _wanted(fields.object("build"), BUILD)),
        "runtime": {
            "port": runtime.maybe("port", integer(1, 65535)),
            "filesystem": runtime.maybe("filesystem", filesystem),
            **{key: runtime.maybe(key, parse) for key, parse in HEALTHCHECK.items()},
        },
        "dependency_profile": None,
    }
    if "dependency_profile" in fields:
        request["dependency_profile"] = {key: profile.optional(key, boolean, False) for key in ("postgres", "redis")}
    name = fields.maybe("name", app_name)
    request["name"] = name or _derived_name(fields, str(request["repository"]["name"]))  # type: ignore[index]
    complete(fields)
    _check_build_mode(str(request["build_mode"]))
    return request


def _repository(fields: Fields) -> dict[str, Any]:
    provider = fields.required("provider", text, "")
    owner, name = fields.required("owner", repository_part, ""), fields.required("name", repository_part, "")
    url, branch = fields.maybe("clone_url", clone_url), fields.maybe("default_branch", git_ref)
    if url is None and provider in PROVIDERS:
        url = f"{PROVIDERS[provider]}/{owner}/{name}.git"
    if url is None and "clone_url" not in fields:
        fields.problem("clone_url", f"is required unless provider is one of: {', '.join(PROVIDERS)}")
    elif url is not None and url_scheme(url) not in core().settings.schemes:
        fields.problem(
            "clone_url",
            f"must use one of the allowed schemes: {', '.join(core().settings.schemes)} (source.schemes in agent.yaml)",
        )
    return {"provider": provider, "owner": owner, "name": name, "clone_url": url, "default_branch": branch}


def _derived_name(fields: Fields, repository: str) -> str:
    """The repository's name in lower case; one that still is no app name is refused and asks for `name`."""
    try:
        return app_name(re.sub(r"[._]", "-", repository.rpartition("/")[2].removesuffix(".git").lower()))
    except ValueError as error:
        if repository:
            fields.problem("name", f"is required, because the repository's name cannot be the app's: it {error}")
        return ""


def _check_build_mode(mode: str) -> None:
    known = sorted(entry.parent.parent.name for entry in core().settings.paths.buildpacks.glob("*/bin/detect"))
    if mode in precedence.CONTAINER_MODES:
        raise InvalidRequest.field(
            "build_mode",
            f"{mode} is not supported: apps run as sandboxed systemd units, without containers; "
            f"use auto or one of: {', '.join(known)}",
            code="unsupported_build_mode",
        )
    if mode != "auto" and mode not in known:
        raise InvalidRequest.field(
            "build_mode", f"must be auto or one of: {', '.join(known)}", code="unsupported_build_mode"
        )
