"""Host names of apps: who may have which, where each one's certificate comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import peewee

from rustploy_agent import certificates, reserved, vault
from rustploy_agent.certificates import Certificate, Unusable
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Settings
from rustploy_agent.errors import Conflict, InvalidRequest, NotFound
from rustploy_agent.models import App, Domain, database
from rustploy_agent.names import domain as domain_name

MANAGED, CUSTOM = "managed", "custom"
#: So that the state of all of an app's can be told at once.
MOST_DOMAINS = 100


@dataclass(frozen=True)
class Tls:
    """How a domain gets its certificate: by ACME, from two files of the host, or from an upload."""

    mode: str
    cert_path: str | None = None
    key_path: str | None = None
    certificate: str | None = None
    private_key: str | None = None


def find(app: App, key: str) -> Domain:
    """By id or by name."""
    named = (Domain.id == key) | (Domain.name == key.lower())
    domain: Domain | None = Domain.get_or_none((Domain.app == app) & named)
    if domain is None:
        raise _unknown(key)
    return domain


def _unknown(key: str) -> NotFound:
    return NotFound(f"the app has no domain {key!r}", code="domain_not_found")


def add(
    app: App, identity: str, name: str, tls: Tls, redirect_to: str | None, settings: Settings, *, confined: bool
) -> Domain:
    """`confined`: for a caller who is not for the whole host, as in `change`."""
    refusal = reserved.problem(app, name, settings) if confined else None
    if refusal is not None:
        raise InvalidRequest.field("domain", refusal)
    _refuse_foreign(app, name, settings)
    tls = _check_tls(app, name, tls, settings, confined)
    domain = Domain(id=identity, app=app, name=name)
    _set_tls(domain, tls, settings)
    try:
        with database.atomic("IMMEDIATE"):
            _check_redirect(app, name, redirect_to)
            if Domain.select().where(Domain.app == app).count() >= MOST_DOMAINS:
                raise Conflict(f"an app has at most {MOST_DOMAINS} domains; delete some first", code="too_many_domains")
            domain.redirect_to = redirect_to
            domain.save(force_insert=True)
    except peewee.IntegrityError as error:
        if "UNIQUE" not in str(error):
            raise
        raise _taken(app, name) from None
    return domain


def change(
    domain: Domain, tls: Tls | None, redirect: dict[str, str | None], settings: Settings, *, confined: bool
) -> Domain:
    """What `tls` and `redirect` (its `redirect_to`, or nothing) do not say stays, as somebody may just have made it."""
    if tls is not None:
        tls = _check_tls(domain.app, domain.name, tls, settings, confined)
    with database.atomic("IMMEDIATE"):
        found: Domain | None = Domain.get_or_none(Domain.id == domain.id)
        if found is None:
            raise _unknown(domain.name)
        if tls is not None:
            _set_tls(found, tls, settings)
        if "redirect_to" in redirect:
            _check_redirect(found.app, found.name, redirect["redirect_to"])
            if redirect["redirect_to"] and Domain.select().where(Domain.redirect_to == found.name).exists():
                raise InvalidRequest.field("redirect_to", f"is no use here: other domains redirect to {found.name}")
            found.redirect_to = redirect["redirect_to"]
        found.updated_at_unix_ms = now_ms()
        found.save()
    return found


def remove(domain: Domain) -> None:
    with database.atomic("IMMEDIATE"):
        redirecting = [one.name for one in Domain.select().where(Domain.redirect_to == domain.name)]
        if redirecting:
            raise Conflict(f"{', '.join(redirecting)} redirects to it; change that first", code="domain_in_use")
        domain.delete_instance()


def material(domain: Domain, settings: Settings) -> tuple[str, str]:
    """Certificate chain and private key of a custom domain, as PEM, read anew from its files where it has those.

    Files change behind our back, and uploads may be older than a rule: what Caddy would refuse must not come to it,
    for it would refuse everything else too.
    """
    if domain.cert_path is not None:
        return certificates.written(*certificates.read_files(domain.cert_path, domain.key_path))
    key = vault.unlock(settings.paths).open(domain.private_key, "domain", domain.id)
    return certificates.written(domain.certificate, key)


def _refuse_foreign(app: App, name: str, settings: Settings) -> None:
    if name == settings.api_domain:
        raise Conflict(f"{name} is the address of the API itself (api.domain in agent.yaml)", code="domain_taken")
    first, _, rest = name.partition(".")
    if rest == settings.ingress.base_domain and App.select().where(App.name == first).exists():
        raise Conflict(f"{name} is the address that the app {first} has by itself", code="domain_taken")
    if Domain.select().where(Domain.name == name).exists():
        raise _taken(app, name)


def refuse_taken_address(app: str, settings: Settings) -> None:
    """Conflict when the address that an app of this name would have by itself is a domain of another one."""
    found = Domain.get_or_none(Domain.name == reserved.address(app, settings))
    if found is not None and found.app.name != app:
        raise Conflict(f"{found.name} is a domain of the app {found.app.name}; delete it first", code="domain_taken")


def _taken(app: App, name: str) -> Conflict:
    own = Domain.select().where(Domain.name == name, Domain.app == app).exists()
    return Conflict(f"{name} belongs to {'this app already' if own else 'another app'}", code="domain_taken")


def _check_redirect(app: App, name: str, target: str | None) -> None:
    if target is None:
        return
    found = Domain.get_or_none(Domain.app == app, Domain.name == target)
    if target == name or found is None or found.redirect_to is not None or target.startswith("*."):
        raise InvalidRequest.field("redirect_to", "must be another domain of this app that does not redirect itself")


def _check_tls(app: App, name: str, tls: Tls, settings: Settings, confined: bool) -> Tls:
    """The same, an upload as we write it."""
    if tls.mode == MANAGED:
        if name.startswith("*."):
            raise InvalidRequest.field("tls_mode", "must be custom for a wildcard: managed ones are for one name")
        return tls
    pair = certificates.read_files(tls.cert_path, tls.key_path) if tls.cert_path and tls.key_path else None
    names = ("cert_path", "key_path") if pair else ("certificate", "private_key")
    fields = dict(zip(("certificate", "key"), names, strict=True))
    try:
        found = certificates.check(name, *(pair or (str(tls.certificate), str(tls.private_key))))
        if confined:
            _refuse_others_names(app, name, found, settings)
    except Unusable as error:
        raise InvalidRequest.field(fields[error.field], error.problem, code=error.code) from None
    return tls if pair else replace(tls, certificate=found.chain, private_key=found.key)


def _refuse_others_names(app: App, name: str, certificate: Certificate, settings: Settings) -> None:
    """Caddy takes any certificate that names who is asked for, so one app's could be shown to another's visitors.

    It goes by common names too, which need not be names of hosts.
    """
    plain = name.removeprefix("www.").removeprefix("*.")
    for one in (*certificate.names, *filter(_is_host, certificate.common_names)):
        holder = Domain.get_or_none(Domain.name == one)
        akin = one in (plain, f"www.{plain}") and reserved.problem(app, one, settings) is None
        if one != name and (holder.app_id != app.id if holder else not akin):
            raise Unusable("certificate", f"is also for {one}, which is no domain of this app; add that first")


def _is_host(name: str) -> bool:
    try:
        return domain_name(name) == name
    except ValueError:
        return False


def _set_tls(domain: Domain, tls: Tls, settings: Settings) -> None:
    domain.tls_mode, domain.cert_path, domain.key_path = tls.mode, tls.cert_path, tls.key_path
    domain.certificate, domain.private_key = tls.certificate, None
    if tls.private_key is not None:
        domain.private_key = vault.unlock(settings.paths).seal(tls.private_key, "domain", domain.id)
