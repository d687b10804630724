"""Sessions of people: made at login, known by a cookie whose hash is stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from rustploy_agent import auth
from rustploy_agent.auth import Caller
from rustploy_agent.clock import now_ms
from rustploy_agent.models import Session, User, database

LIFE_MS = 12 * 3600 * 1000
#: Of one person; the oldest end when more are begun.
MOST = 50


def begin(user: User, client: str | None = None) -> tuple[str, Session]:
    """The cookie's value, known to nobody else, and the session's row. Ended ones are forgotten on the way.

    With `client` nobody else can use it: without TLS a browser shows the cookie to every port of the host.
    """
    secret = secrets.token_urlsafe(32)
    with database.atomic("IMMEDIATE"):
        Session.delete().where(Session.expires_at_unix_ms <= now_ms()).execute()
        newest = Session.select(Session.id).where(Session.user == user).order_by(Session.expires_at_unix_ms.desc())
        Session.delete().where(Session.user == user, Session.id.not_in(newest.limit(MOST - 1))).execute()
        session = Session.create(
            user=user, secret_hash=_hash(secret), client=client, expires_at_unix_ms=now_ms() + LIFE_MS
        )
    return secret, session


def find(secret: str, client: Callable[[], str | None]) -> Session | None:
    """`client` is asked for only when the session is bound to one."""
    session: Session | None = Session.get_or_none(
        Session.secret_hash == _hash(secret), Session.expires_at_unix_ms > now_ms()
    )
    if session is not None and session.client is not None and session.client != client():
        return None
    return session


def end(session: Session) -> None:
    session.delete_instance()


def end_all(user: User) -> None:
    Session.delete().where(Session.user == user).execute()


def caller(session: Session) -> Caller:
    """A person may do what the role says."""
    user = session.user
    return Caller("session", user.id, user.email, auth.within_role(user, list(auth.SCOPES)), user=user.id)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
