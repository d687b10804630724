"""/tokens: make, list, revoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import g

from rustploy_agent import apps, auth
from rustploy_agent.api import trail
from rustploy_agent.api.calls import Manner
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource, body, complete
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import NotFound
from rustploy_agent.fields import Fields, integer
from rustploy_agent.models import App, Token
from rustploy_agent.names import app_keys, scopes, token_kind, token_name

resource = Resource("tokens", __name__)
LONGEST_LIFE = 10 * 366 * 86400


def view(token: Token, names: Mapping[str, str]) -> dict[str, Any]:
    """`names`: of apps by id. An app that was removed is left out, so that a token which is for none shows none."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "kind": token.kind,
        "user_id": token.user_id,
        "apps": None if token.apps is None else sorted(names[one] for one in token.apps if one in names),
        "created_at_unix_ms": token.created_at_unix_ms,
        "expires_at_unix_ms": token.expires_at_unix_ms,
        "revoked_at_unix_ms": token.revoked_at_unix_ms,
        "last_used_at_unix_ms": token.last_used_at_unix_ms,
    }


def _app_names() -> dict[str, str]:
    return dict(App.select(App.id, App.name).tuples())


@resource.route("/tokens", methods=["POST"], scope="admin", manner=Manner(atomic=True, idempotent=True, secret=True))
def create_token() -> tuple[dict[str, Any], int]:
    """A person's are personal unless they say `service`; programs make those of services.

    None outlives the token that made it: who got hold of one that ends tomorrow must not keep the host for ever.
    """
    fields = body()
    none: list[str] = []
    name, wanted = fields.required("name", token_name, ""), fields.required("scopes", scopes, none)
    seconds, person, only = _life(fields), _owner(fields), _only(fields)
    complete(fields)
    latest = g.caller.expires_at_unix_ms
    secret, token = auth.create_token(name, wanted, seconds, apps=only, user=person, latest=latest)
    trail.about(token.id)
    return {"token": secret, "summary": view(token, _app_names())}, 201


def _life(fields: Fields) -> int | None:
    """In seconds; None is as long as the caller's."""
    seconds = fields.maybe("expires_in_seconds", integer(1, LONGEST_LIFE))
    latest = g.caller.expires_at_unix_ms
    if seconds is not None and latest is not None and now_ms() + 1000 * seconds > latest:
        left = (latest - now_ms()) // 1000
        fields.problem("expires_in_seconds", f"must be at most {left}: the token that asks expires then")
    return seconds


def _owner(fields: Fields) -> str | None:
    """The person whose token it shall be; None for a service's."""
    person: str | None = g.caller.user
    kind = fields.optional("kind", token_kind, "personal" if person else "service")
    if kind == "personal" and person is None:
        fields.problem("kind", "can be personal only when a person asks, with a session or a personal token")
    return person if kind == "personal" else None


def _only(fields: Fields) -> list[str] | None:
    keys = fields.maybe("apps", app_keys)
    if keys is None:
        return None
    found = []
    for key in keys:
        try:
            found.append(apps.find(key).id)
        except NotFound as error:
            fields.problem("apps", error.message)
    return sorted(set(found))


@resource.route("/tokens", scope="admin")
def list_tokens() -> dict[str, Any]:
    names = _app_names()
    return page(Token.select(), (Token.created_at_unix_ms, Token.id), lambda token: view(token, names))


@resource.route("/tokens/<token_id>", methods=["DELETE"], scope="admin", manner=Manner(atomic=True))
def revoke_token(token_id: str) -> tuple[str, int]:
    token = Token.get_or_none(Token.id == token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id!r}", code="token_not_found")
    auth.revoke(token)
    trail.about(token.id)
    return "", 204
