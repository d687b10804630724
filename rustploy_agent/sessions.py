"""Sessions of people: made at login, known by a cookie whose hash is stored."""

from __future__ import annotations

import hashlib
import secrets

from rustploy_agent import auth
from rustploy_agent.auth import Caller
from rustploy_agent.clock import now_ms
from rustploy_agent.models import Session, User, database

LIFE_MS = 12 * 3600 * 1000


def begin(user: User) -> tuple[str, Session]:
    """The cookie's value, known to nobody else, and the session's row. Ended ones are forgotten on the way."""
    secret = secrets.token_urlsafe(32)
    with database.atomic("IMMEDIATE"):
        Session.delete().where(Session.expires_at_unix_ms <= now_ms()).execute()
        session = Session.create(user=user, secret_hash=_hash(secret), expires_at_unix_ms=now_ms() + LIFE_MS)
    return secret, session


def find(secret: str) -> Session | None:
    session: Session | None = Session.get_or_none(
        Session.secret_hash == _hash(secret), Session.expires_at_unix_ms > now_ms()
    )
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
