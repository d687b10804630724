"""/tokens: make, list, revoke."""

from __future__ import annotations

from typing import Any

from rustploy_agent import auth
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource, body, complete
from rustploy_agent.errors import NotFound
from rustploy_agent.fields import integer
from rustploy_agent.models import Token
from rustploy_agent.names import scopes, token_name

resource = Resource("tokens", __name__)
LONGEST_LIFE = 10 * 366 * 86400


def view(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_at_unix_ms": token.created_at_unix_ms,
        "expires_at_unix_ms": token.expires_at_unix_ms,
        "revoked_at_unix_ms": token.revoked_at_unix_ms,
        "last_used_at_unix_ms": token.last_used_at_unix_ms,
    }


@resource.route("/tokens", methods=["POST"], scope="admin")
def create_token() -> tuple[dict[str, Any], int]:
    fields = body()
    none: list[str] = []
    name, wanted = fields.required("name", token_name, ""), fields.required("scopes", scopes, none)
    seconds = fields.maybe("expires_in_seconds", integer(1, LONGEST_LIFE))
    complete(fields)
    secret, token = auth.create_token(name, wanted, seconds)
    return {"token": secret, "summary": view(token)}, 201


@resource.route("/tokens", scope="admin")
def list_tokens() -> dict[str, Any]:
    return page(Token.select(), (Token.created_at_unix_ms, Token.id), view)


@resource.route("/tokens/<token_id>", methods=["DELETE"], scope="admin")
def revoke_token(token_id: str) -> tuple[str, int]:
    token = Token.get_or_none(Token.id == token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id!r}", code="token_not_found")
    auth.revoke(token)
    return "", 204
