"""Root's commands on the host: tokens and the admin's password."""

from __future__ import annotations

import argparse
import datetime

from rustploy_agent import apps, audit, auth, environment, vault
from rustploy_agent.config import Settings
from rustploy_agent.errors import InvalidRequest, NotFound
from rustploy_agent.models import App, Token, connect
from rustploy_agent.names import email, printable, scopes, token_name


def token_create(arguments: argparse.Namespace, _: Settings) -> int:
    try:
        name = token_name(arguments.name)
    except ValueError as error:
        raise InvalidRequest.field("--name", str(error)) from None
    seconds = arguments.expires_in_seconds
    if seconds is not None and seconds < 1:
        raise InvalidRequest.field("--expires-in-seconds", "must be at least 1")
    only = sorted({apps.find(key).id for key in arguments.app}) if arguments.app else None
    secret, token = auth.create_token(name, scopes(arguments.scope), seconds, apps=only)
    audit.note_root("token_create", token.id)
    print(f"token {token.id} ({', '.join(token.scopes)}{_only(token)}), shown only now:")
    print(secret)
    return 0


def token_list(_: argparse.Namespace, __: Settings) -> int:
    for token in Token.select().order_by(Token.created_at_unix_ms):
        state = (
            "revoked"
            if token.revoked_at_unix_ms
            else f"expires {_time(token.expires_at_unix_ms)}"
            if token.expires_at_unix_ms
            else "valid"
        )
        used = _time(token.last_used_at_unix_ms) if token.last_used_at_unix_ms else "never"
        rights = ",".join(token.scopes) + _only(token)
        print(f"{token.id}  {printable(token.name)}  {token.kind}  {rights}  {state}  last used {used}")
    return 0


def _only(token: Token) -> str:
    if token.apps is None:
        return ""
    names = sorted(app.name for app in App.select(App.name).where(App.id.in_(token.apps)))
    return f" only for {', '.join(map(printable, names)) or 'apps that are gone'}"


def token_revoke(arguments: argparse.Namespace, _: Settings) -> int:
    found = list(
        Token.select().where(
            (Token.id == arguments.token) | (Token.name == arguments.token), Token.revoked_at_unix_ms.is_null()
        )
    )
    if not found:
        raise NotFound(f"there is no valid token {arguments.token!r}; see rustploy-agent token list")
    if len(found) > 1:
        raise InvalidRequest(f"several tokens are named {arguments.token!r}; give the id")
    auth.revoke(found[0])
    audit.note_root("token_revoke", found[0].id)
    print(f"revoked {found[0].id}")
    return 0


def admin_init(_: argparse.Namespace, settings: Settings) -> int:
    """Closes the bootstrap: from now on every privileged call needs credentials."""
    if not auth.has_admin():
        name, _password = auth.reset_admin_password(settings.admin_email)
        audit.note_root("admin_init", name)
        print(f"created {name}; `rustploy-agent admin reset-password` prints a password")
    return 0


def admin_reset_password(_: argparse.Namespace, settings: Settings) -> int:
    name, password = auth.reset_admin_password(settings.admin_email)
    audit.note_root("admin_reset_password", name)
    print(f"email:    {name}")
    print(f"password: {password}")
    return 0


def admin_set_email(arguments: argparse.Namespace, _: Settings) -> int:
    try:
        wanted = email(arguments.email)
    except ValueError as error:
        raise InvalidRequest.field("EMAIL", str(error)) from None
    auth.set_admin_email(wanted)
    audit.note_root("admin_set_email", wanted)
    print(f"the admin logs in as {wanted}")
    return 0


def key_init(settings: Settings) -> int:
    if settings.paths.database.exists():
        connect(settings.paths.database)
    if vault.make_key(settings.paths):
        print(f"made {settings.paths.vault_key}; keep a copy of it apart from those of the database")
    return 0


def key_check(_: argparse.Namespace, settings: Settings) -> int:
    troubles = environment.unreadable(settings.paths)
    if troubles:
        raise vault.Unreadable("; ".join(troubles))
    print("everything sealed in the database can be read")
    return 0


def key_replace(_: argparse.Namespace, settings: Settings) -> int:
    vault.replace_key(settings.paths)
    audit.note_root("key_replace")
    print("made a new key; `rustploy-agent key check` names what has to be set again")
    return 0


def _time(unix_ms: int) -> str:
    return datetime.datetime.fromtimestamp(unix_ms / 1000, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
