"""Tokens, scopes, passwords and the bootstrap rule. Only hashes are stored."""

from __future__ import annotations

import hashlib
import logging
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peewee import OperationalError

from rustploy_agent import files, resets
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import Conflict, NotFound
from rustploy_agent.models import Meta, PasswordReset, Token, User, database
from rustploy_agent.passwords import hash_password
from rustploy_agent.remembered import Remembered

log = logging.getLogger(__name__)
PREFIX = "rpt_"
SCOPES = ("read", "deploy", "admin")
#: What a person of this role may do; a token of theirs never may more.
ROLES = {"admin": "admin"}
#: `last_used` is written at most this often, so that reading needs no disk write.
LAST_USED_MS = 60_000


@dataclass(frozen=True)
class Caller:
    """Who asks: the highest scope decides, a higher one includes the lower.

    `kind` is `token`, `session` or `bootstrap`; `id` is the token's or the user's, None for the bootstrap. `apps`:
    the ids of the only apps that the caller may touch; None is all. `user`: the id of the person behind a session or
    a personal token. `expires_at_unix_ms`: of a token that ends by itself.
    """

    kind: str
    id: str | None
    name: str
    scopes: tuple[str, ...]
    apps: frozenset[str] | None = None
    user: str | None = None
    expires_at_unix_ms: int | None = None

    @property
    def holder(self) -> str:
        """Whose share of places it has: all personal tokens and sessions of a person are one."""
        return f"user:{self.user}" if self.user is not None else f"{self.kind}:{self.id}"

    def may(self, scope: str) -> bool:
        return any(SCOPES.index(held) >= SCOPES.index(scope) for held in self.scopes)


def create_token(
    name: str,
    scopes: list[str],
    expires_in_seconds: int | None,
    *,
    apps: list[str] | None = None,
    user: str | None = None,
    latest: int | None = None,
) -> tuple[str, Token]:
    """The secret, shown once, and its row. 256 random bits, a prefix scanners find, a CRC-32 against typos.

    `apps`: ids of the only apps it is for. `user`: whose personal token it is; without one it is a service's. `latest`:
    when it expires at the latest.
    """
    body = secrets.token_hex(32)
    secret = f"{PREFIX}{body}{_checksum(body)}"
    expires = latest if expires_in_seconds is None else now_ms() + 1000 * expires_in_seconds
    if expires is not None and latest is not None:
        expires = min(expires, latest)
    with database.atomic("IMMEDIATE"):
        _close_bootstrap()
        token = Token.create(
            name=name,
            token_hash=_hash(secret),
            scopes=scopes,
            expires_at_unix_ms=expires,
            kind="personal" if user else "service",
            user=user,
            apps=apps,
        )
    return secret, token


def caller_of(secret: str) -> Caller | None:
    """Who a token belongs to; None when it is malformed, unknown, expired or revoked."""
    body = secret.removeprefix(PREFIX)[:-8]
    if not secret.startswith(PREFIX) or secret != f"{PREFIX}{body}{_checksum(body)}":
        return None
    digest = _hash(secret)
    found = _CALLERS.get(digest, lambda: _Known.of(digest), lambda known: known is not None)
    now = now_ms()
    if found is None or (found.caller.expires_at_unix_ms or now + 1) <= now:
        return None
    if now - found.last_used >= LAST_USED_MS:
        _note_use(str(found.caller.id), now)
    return found.caller


class _Known(NamedTuple):
    """A token that is not revoked."""

    caller: Caller
    last_used: int

    @classmethod
    def of(cls, digest: str) -> _Known | None:
        token = Token.get_or_none(Token.token_hash == digest, Token.revoked_at_unix_ms.is_null())
        if token is None:
            return None
        apps = None if token.apps is None else frozenset(token.apps)
        caller = Caller("token", token.id, token.name, _held(token), apps, token.user_id, token.expires_at_unix_ms)
        return cls(caller, token.last_used_at_unix_ms or 0)


#: A token is looked up for every request; a revoked one is unknown from the commit on that revoked it.
_CALLERS: Remembered[_Known | None] = Remembered(256)


def _held(token: Token) -> tuple[str, ...]:
    """Its scopes, but of a personal token none that the person has not."""
    return tuple(token.scopes) if token.user is None else within_role(token.user, token.scopes)


def within_role(user: User, scopes: list[str]) -> tuple[str, ...]:
    highest = ROLES.get(user.role)
    return tuple(scope for scope in scopes if highest and SCOPES.index(scope) <= SCOPES.index(highest))


def _note_use(token_id: str, now: int) -> None:
    """A full disk must not keep anybody from reading, so here alone a failed write is only reported."""
    try:
        Token.update(last_used_at_unix_ms=now).where(Token.id == token_id).execute()
    except OperationalError as error:
        log.warning("last use of token %s was not noted: %s", token_id, error)


def revoke(token: Token) -> None:
    Token.update(revoked_at_unix_ms=now_ms()).where(Token.id == token.id, Token.revoked_at_unix_ms.is_null()).execute()


def bootstrap_open() -> bool:
    """True while there has never been a user or a token; deleting them does not open it again."""
    return not _closed_mark().exists() and Meta.get_or_none(Meta.key == "bootstrap_closed") is None


def _close_bootstrap() -> None:
    Meta.insert(key="bootstrap_closed", value=str(now_ms())).on_conflict_ignore().execute()
    if not _closed_mark().exists():
        files.replace(_closed_mark(), b"", mode=0o600)


def _closed_mark() -> Path:
    """Beside the database: a lost one must not open the API again to the apps, who are on loopback too."""
    return Path(database.database).with_name("bootstrap-closed")


def reset_admin_password(email: str) -> tuple[str, str]:
    """E-mail and new random password of the admin, who is created when there is none; all sessions end."""
    password = secrets.token_urlsafe(15)
    with database.atomic("IMMEDIATE"):
        _close_bootstrap()
        admin = _admin()
        hashed = hash_password(password)
        if admin is None:
            admin = User.create(email=email, password_hash=hashed)
        else:
            resets.set_password(admin, hashed)
    return admin.email, password


def set_admin_email(email: str) -> None:
    """What was sent to the old address is over."""
    with database.atomic("IMMEDIATE"):
        admin = _admin()
        if admin is None:
            raise NotFound("there is no admin yet; run rustploy-agent admin init")
        if User.select().where(User.email == email, User.id != admin.id).exists():
            raise Conflict(f"there is already a user {email!r}")
        User.update(email=email).where(User.id == admin.id).execute()
        PasswordReset.delete().where(PasswordReset.user == admin).execute()


def _admin() -> User | None:
    found: User | None = User.select().where(User.role == "admin").order_by(User.created_at_unix_ms).first()
    return found


def has_admin() -> bool:
    return _admin() is not None


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
