"""Apps connected to repositories of git hosts, and the secrets by which the hosts are known.

A host's secret speaks for all its repositories on this server, but not to apps that have a secret of their own: those
hear only what was proven by it, and nobody else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustploy_agent import precedence, vault
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Paths
from rustploy_agent.errors import InvalidRequest, NotFound
from rustploy_agent.models import App, Connection, HostSecret, Release, Slug, database
from rustploy_agent.webhooks import Body, Provider

OWN_SECRET = "the webhook of this app's repository needs a secret of its own, as the host's speaks for every repository"


def connect(
    app: App, provider: Provider, secret: str | None, paths: Paths, *, confined: bool, **about: Any
) -> Connection:
    """Connects, or connects anew: its own secret stays if no other is given and the repository is the same.

    A caller who is `confined` to certain apps gives one for another repository: the host's speaks for all of them.
    """
    repository = f"{about['owner']}/{about['repo']}".lower()
    sealed = None if secret is None else vault.unlock(paths).seal(secret, "webhook", provider.name, app.id)
    with database.atomic("IMMEDIATE"):
        before = Connection.get_or_none(Connection.app == app, Connection.provider == provider.name)
        if before is not None and before.repository == repository:
            sealed = sealed or before.sealed_secret
        elif confined and sealed is None:
            raise InvalidRequest.field("secret", "is required from a token for certain apps: " + OWN_SECRET)
        if before is not None:
            before.delete_instance()
        connection: Connection = Connection.create(
            app=app, provider=provider.name, repository=repository, sealed_secret=sealed, **about
        )
    return connection


def find(app: App, provider: Provider) -> Connection:
    connection: Connection | None = Connection.get_or_none(Connection.app == app, Connection.provider == provider.name)
    if connection is None:
        raise NotFound(
            f"the app is not connected to {provider.title}; POST to the same path connects it",
            code="integration_not_found",
        )
    return connection


def of_repository(provider: Provider, repository: str) -> list[Connection]:
    """Those of apps that are not just being removed."""
    return list(
        Connection.select(Connection, App)
        .join(App)
        .where(Connection.provider == provider.name, Connection.repository == repository, ~App.deleting)
        .order_by(App.name)
    )


def branch_of(connection: Connection, default: str | None = None) -> str | None:
    """The branch whose pushes are deployed; `default` is the repository's own, where the host has told it."""
    app = connection.app
    return precedence.deploy_branch(connection.branch, newest_manifest(app), (app.source or {}).get("branch"), default)


def newest_manifest(app: App) -> dict[str, Any] | None:
    """That of the release that serves; before there is one, that of the import."""
    slug = Slug.select().join(Release).where(Release.id == app.active_release_id).first()
    manifest: dict[str, Any] | None = app.manifest if slug is None else slug.manifest
    return manifest


def set_secret(provider: Provider, secret: str, paths: Paths) -> None:
    sealed, now = vault.unlock(paths).seal(secret, "webhook", provider.name), now_ms()
    HostSecret.insert(provider=provider.name, sealed=sealed, updated_at_unix_ms=now).on_conflict(
        conflict_target=[HostSecret.provider],
        update={HostSecret.sealed: sealed, HostSecret.updated_at_unix_ms: now},
    ).execute()


def forget_secret(provider: Provider) -> None:
    if not HostSecret.delete().where(HostSecret.provider == provider.name).execute():
        raise NotFound(f"there is no secret for {provider.title}", code="secret_not_found")


def configured(provider: Provider) -> bool:
    """Whether there is any secret that a delivery of this host could prove."""
    own = Connection.select().where(Connection.provider == provider.name, Connection.sealed_secret.is_null(False))
    return bool(HostSecret.select().where(HostSecret.provider == provider.name).exists() or own.exists())


@dataclass(frozen=True)
class Voucher:
    """Whom a delivery's proof speaks for: connections without a secret of their own, or those whose own it proves."""

    everybody: bool
    connections: frozenset[int] = frozenset()

    def covers(self, connection: Connection) -> bool:
        return connection.id in self.connections or (self.everybody and connection.sealed_secret is None)


def vouch(provider: Provider, proof: str, body: Body, paths: Paths) -> Voucher | None:
    """None when the proof fits no secret: the host's, or that of an app whose repository the body names."""
    box = vault.unlock(paths)
    host = HostSecret.get_or_none(HostSecret.provider == provider.name)
    everybody = host is not None and provider.proves(proof, box.open(host.sealed, "webhook", provider.name), body)
    proven = set()
    for repository in provider.claims(body):
        for one in of_repository(provider, repository):
            own = one.sealed_secret and box.open(one.sealed_secret, "webhook", provider.name, one.app_id)
            if own and provider.proves(proof, own, body):
                proven.add(one.id)
    return Voucher(everybody, frozenset(proven)) if everybody or proven else None
