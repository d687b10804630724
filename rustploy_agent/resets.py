"""Forgotten passwords: a secret goes to the person by mail, or to the journal, and sets a new password once.

What depends on whether there is such an account happens in a thread of its own, so that an answer's time tells nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import secrets
import threading

from rustploy_agent import passwords
from rustploy_agent.clock import now_ms
from rustploy_agent.mail import Mail, MailFailed, send
from rustploy_agent.models import PasswordReset, Session, User, database
from rustploy_agent.names import printable
from rustploy_agent.throttle import Buckets

log = logging.getLogger(__name__)
PREFIX = "rpr_"
LIFE_MS = 30 * 60 * 1000
#: So many for one account at once, then one each so many seconds: nobody can flood a mailbox or the journal.
BURST, SECONDS = 3, 600.0
MOST_WAITING = 32
TEXT = """Somebody asked for a new password for {email} on a rustploy-agent. If it was not you, ignore this mail.

{how}

It can be used once, until half an hour after it was asked for. All sessions end then.
"""


class Resets:
    def __init__(self, mail: Mail | None) -> None:
        self._mail, self._accounts = mail, Buckets(BURST, SECONDS)
        self._asked: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, email: str) -> None:
        """Returns at once. What does not fit into the queue is dropped: somebody can ask again."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="resets", daemon=True)
                self._thread.start()
        with contextlib.suppress(queue.Full):
            self._asked.put_nowait(email)

    def _serve(self) -> None:
        while True:
            email = self._asked.get()
            try:
                self._answer(email)
            except Exception:
                log.exception("a password reset")
            finally:
                database.close()
                self._asked.task_done()

    def _answer(self, email: str) -> None:
        user = User.get_or_none(User.email == email)
        if user is None or self._accounts.take(user.id):
            return
        secret = PREFIX + secrets.token_urlsafe(32)
        with database.atomic("IMMEDIATE"):
            PasswordReset.delete().where(PasswordReset.expires_at_unix_ms <= now_ms()).execute()
            PasswordReset.create(token_hash=_hash(secret), user=user, expires_at_unix_ms=now_ms() + LIFE_MS)
        if self._mail is None:
            log.warning("password reset for %s, good for 30 minutes: reset_token %s", printable(email), secret)
            return
        try:
            send(self._mail, email, "New password", TEXT.format(email=email, how=_how(self._mail, secret)))
        except MailFailed as error:
            PasswordReset.delete().where(PasswordReset.token_hash == _hash(secret)).execute()
            log.error(
                "the mail for a password reset was not sent: %s; `rustploy-agent admin reset-password` needs none",
                printable(str(error)),
            )


def confirm(secret: str, password: str) -> User | None:
    """Whose password it has set, ending all sessions; None when the secret is unknown, used or too old."""
    if _find(secret) is None:
        return None
    hashed = passwords.hash_password(password)
    with database.atomic("IMMEDIATE"):
        reset = _find(secret)
        if reset is None:
            return None
        user: User = reset.user
        set_password(user, hashed)
    return user


def set_password(user: User, hashed: str) -> None:
    """Within a transaction. What was begun or asked for with the old one is over."""
    User.update(password_hash=hashed).where(User.id == user.id).execute()
    Session.delete().where(Session.user == user).execute()
    PasswordReset.delete().where(PasswordReset.user == user).execute()


def _find(secret: str) -> PasswordReset | None:
    found: PasswordReset | None = PasswordReset.get_or_none(
        PasswordReset.token_hash == _hash(secret), PasswordReset.expires_at_unix_ms > now_ms()
    )
    return found


def _how(mail: Mail, secret: str) -> str:
    """The secret stands behind #, which browsers tell no server; the address is the settings', never a request's."""
    if mail.reset_page:
        return f"Choose it here: {mail.reset_page}#reset_token={secret}"
    return f"Send the token to POST /api/v1/auth/password-reset/confirm:\n\n{secret}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
