"""/apps/{app}/{host}, /integrations: which app follows which repository, and the hosts' secrets."""

from __future__ import annotations

from typing import Any

from flask import g

from rustploy_agent import apps, integrations
from rustploy_agent.api import trail
from rustploy_agent.api.resource import Resource, body, complete, core
from rustploy_agent.errors import NotFound
from rustploy_agent.fields import integer
from rustploy_agent.models import App, Connection, HostSecret
from rustploy_agent.names import git_ref, repository_name, repository_part, webhook_secret
from rustploy_agent.webhooks import PROVIDERS, Provider

resource = Resource("integrations", __name__)
LARGEST_INSTALLATION = 2**53


def view(connection: Connection) -> dict[str, Any]:
    provider = PROVIDERS[connection.provider]
    shown = {
        "app_id": connection.app_id,
        "owner": connection.owner,
        "repo": connection.repo,
        "branch": integrations.branch_of(connection),
        "own_secret": connection.sealed_secret is not None,
        "webhook_path": _webhook_path(provider),
        "updated_at_unix_ms": connection.updated_at_unix_ms,
    }
    return shown | ({"installation_id": connection.installation_id} if provider.installations else {})


def _register(provider: Provider) -> None:
    def connect(app_id: str) -> dict[str, Any]:
        return _connect(apps.find(app_id), provider)

    def show(app_id: str) -> dict[str, Any]:
        return view(integrations.find(apps.find(app_id), provider))

    def disconnect(app_id: str) -> tuple[str, int]:
        integrations.find(apps.find(app_id), provider).delete_instance()
        return "", 204

    for method, scope, verb in (("POST", "admin", connect), ("GET", "read", show), ("DELETE", "admin", disconnect)):
        verb.__name__ = f"{verb.__name__}_{provider.name}"
        resource.route(f"/apps/<app_id>/{provider.name}", methods=[method], scope=scope)(verb)


for _provider in PROVIDERS.values():
    _register(_provider)


def _connect(app: App, provider: Provider) -> dict[str, Any]:
    fields = body()
    about: dict[str, Any] = {
        "owner": fields.required("owner", repository_part, ""),
        "repo": fields.required("repo", repository_name, ""),
        "branch": fields.maybe("branch", git_ref),
    }
    if provider.installations:
        about["installation_id"] = fields.maybe("installation_id", integer(1, LARGEST_INSTALLATION))
    secret = fields.maybe("secret", webhook_secret)
    complete(fields)
    trail.about(f"{about['owner']}/{about['repo']}")
    confined = g.caller.apps is not None
    return view(integrations.connect(app, provider, secret, core().settings.paths, confined=confined, **about))


@resource.route("/integrations", scope="admin")
def list_integrations() -> dict[str, Any]:
    secrets = {row.provider: row for row in HostSecret.select()}
    return {name: _host(one, secrets.get(name)) for name, one in PROVIDERS.items()}


def _host(provider: Provider, secret: HostSecret | None) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "webhook_path": _webhook_path(provider),
        "secret_set": secret is not None,
        "secret_updated_at_unix_ms": secret.updated_at_unix_ms if secret else None,
        "connected_apps": Connection.select().where(Connection.provider == provider.name).count(),
    }


@resource.route("/integrations/<provider>/secret", methods=["PUT"], scope="admin")
def set_webhook_secret(provider: str) -> dict[str, Any]:
    host, fields = _find(provider), body()
    trail.about(host.name)
    secret = fields.required("secret", webhook_secret, "")
    complete(fields)
    integrations.set_secret(host, secret, core().settings.paths)
    return _host(host, HostSecret.get_by_id(host.name))


@resource.route("/integrations/<provider>/secret", methods=["DELETE"], scope="admin")
def delete_webhook_secret(provider: str) -> tuple[str, int]:
    host = _find(provider)
    trail.about(host.name)
    integrations.forget_secret(host)
    return "", 204


def _find(name: str) -> Provider:
    if name not in PROVIDERS:
        raise NotFound(f"there is no integration {name!r}; there are: {', '.join(PROVIDERS)}", code="unknown_provider")
    return PROVIDERS[name]


def _webhook_path(provider: Provider) -> str:
    return f"/api/v1/integrations/{provider.name}/webhook"
