"""/apps/{app}/domains: the host names that an app answers at, their certificates, and how they are doing."""

from __future__ import annotations

from typing import Any

from flask import g

from rustploy_agent import apps, domains
from rustploy_agent.api import trail
from rustploy_agent.api.calls import Manner, intended_id
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource, body, complete, core
from rustploy_agent.certificates import absolute_path, pem
from rustploy_agent.clock import new_id
from rustploy_agent.domains import CUSTOM, MANAGED, Tls
from rustploy_agent.fields import Fields, one_of
from rustploy_agent.models import Domain
from rustploy_agent.names import domain as domain_name

resource = Resource("domains", __name__)
#: The two ways in for a certificate of one's own: files of the host, or an upload.
FILES, UPLOAD = ("cert_path", "key_path"), ("certificate", "private_key")


def view(domain: Domain) -> dict[str, Any]:
    """Without the private key, which no answer ever carries."""
    return {
        "id": domain.id,
        "app_id": domain.app_id,
        "domain": domain.name,
        "tls_mode": domain.tls_mode,
        "cert_path": domain.cert_path,
        "key_path": domain.key_path,
        "redirect_to": domain.redirect_to,
        "created_at_unix_ms": domain.created_at_unix_ms,
        "state": core().domain_states.of(domain).view(),
    }


@resource.route("/apps/<app_id>/domains", methods=["POST"], scope="admin", manner=Manner(idempotent=True))
def create_domain(app_id: str) -> tuple[dict[str, Any], int]:
    app, fields, settings = apps.find(app_id), body(), core().settings
    name = fields.required("domain", domain_name, "")
    tls, redirect_to = _tls(fields), fields.maybe("redirect_to", domain_name)
    complete(fields)
    trail.about(name)
    identity = intended_id() or new_id()
    domain = Domain.get_or_none(Domain.id == identity)
    if domain is None:
        domain = domains.add(app, identity, name, tls or Tls(MANAGED), redirect_to, settings, confined=_confined())
    core().routing.update()
    return view(domain), 201


@resource.route("/apps/<app_id>/domains", scope="read")
def list_domains(app_id: str) -> dict[str, Any]:
    rows = Domain.select().where(Domain.app == apps.find(app_id))
    core().domain_states.refresh(list(rows))
    return page(rows, (Domain.name,), view)


@resource.route("/apps/<app_id>/domains/<domain_id>", scope="read")
def show_domain(app_id: str, domain_id: str) -> dict[str, Any]:
    domain = domains.find(apps.find(app_id), domain_id)
    core().domain_states.refresh([domain])
    return view(domain)


@resource.route("/apps/<app_id>/domains/<domain_id>", methods=["PATCH"], scope="admin")
def change_domain(app_id: str, domain_id: str) -> dict[str, Any]:
    """Another certificate, or another redirect; what is not named stays as it is, and null ends a redirect."""
    domain, fields = domains.find(apps.find(app_id), domain_id), body()
    trail.about(domain.name)
    tls, target = _tls(fields), fields.maybe("redirect_to", domain_name)
    complete(fields)
    redirect = {"redirect_to": target} if fields.given("redirect_to") else {}
    domain = domains.change(domain, tls, redirect, core().settings, confined=_confined())
    core().domain_states.forget(domain)
    core().routing.update()
    return view(domain)


@resource.route("/apps/<app_id>/domains/<domain_id>", methods=["DELETE"], scope="admin")
def delete_domain(app_id: str, domain_id: str) -> tuple[str, int]:
    domain = domains.find(apps.find(app_id), domain_id)
    trail.about(domain.name)
    domains.remove(domain)
    core().routing.update()
    return "", 204


@resource.route("/apps/<app_id>/domains/<domain_id>/verify", methods=["POST"], scope="deploy")
def verify_domain(app_id: str, domain_id: str) -> dict[str, Any]:
    """Looks again now, at DNS and at the certificate that visitors get."""
    domain = domains.find(apps.find(app_id), domain_id)
    core().domain_states.forget(domain)
    core().domain_states.refresh([domain])
    return view(domain)


def _confined() -> bool:
    """Whether the caller is for certain apps only."""
    return g.caller.apps is not None


def _tls(fields: Fields) -> Tls | None:
    """None when the request says nothing of certificates."""
    mode = fields.maybe("tls_mode", one_of(MANAGED, CUSTOM))
    paths = {key: fields.maybe(key, absolute_path) for key in FILES}
    upload = {key: fields.maybe(key, pem) for key in UPLOAD}
    given = [key for key in (*FILES, *UPLOAD) if key in fields]
    if mode is None and not given:
        return None
    if set(given) & set(FILES) and _confined():
        fields.problem(given[0], "is for callers of the whole host: files of the host may belong to other apps")
    if mode == MANAGED and given:
        fields.problem("tls_mode", f"must be custom where {given[0]} is given")
    if mode != MANAGED and set(given) not in (set(FILES), set(UPLOAD)):
        fields.problem("tls_mode", "custom needs either cert_path and key_path, or certificate and private_key")
    return Tls(mode or CUSTOM, **paths, **upload)
