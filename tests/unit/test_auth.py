"""Tokens and passwords without HTTP: what the database holds must not be enough to get in."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import auth, passwords
from rustploy_agent.clock import now_ms
from rustploy_agent.models import Token, User
from rustploy_agent.names import printable

pytestmark = pytest.mark.usefixtures("opened")


def test_a_token_is_256_random_bits_with_a_prefix_and_a_checksum() -> None:
    made = {auth.create_token("t", ["read"], None)[0] for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(r"rpt_[0-9a-f]{72}", secret) for secret in made)


def test_a_token_is_known_until_it_expires() -> None:
    secret, token = auth.create_token("t", ["deploy"], 60)
    caller = auth.caller_of(secret)
    assert caller is not None and (caller.name, caller.scopes) == ("t", ("deploy",))
    Token.update(expires_at_unix_ms=now_ms()).where(Token.id == token.id).execute()
    assert auth.caller_of(secret) is None


def test_a_typo_is_known_without_the_database() -> None:
    secret, _ = auth.create_token("t", ["read"], None)
    Token.delete().execute()
    for position in (4, 30, -1):
        changed = list(secret)
        changed[position] = "0" if changed[position] != "0" else "1"
        assert auth.caller_of("".join(changed)) is None


@given(st.text() | st.text().map(lambda text: f"rpt_{text}"))
def test_nothing_made_up_is_a_token(secret: str) -> None:
    assert auth.caller_of(secret.encode("latin-1", "replace").decode("latin-1")) is None


@pytest.mark.parametrize(
    ("held", "may"), [("read", {"read"}), ("deploy", {"read", "deploy"}), ("admin", {"read", "deploy", "admin"})]
)
def test_a_higher_scope_includes_the_lower(held: str, may: set[str]) -> None:
    caller = auth.Caller("token", "1", "x", (held,))
    assert {scope for scope in auth.SCOPES if caller.may(scope)} == may


def test_a_new_password_replaces_the_old() -> None:
    email, first = auth.reset_admin_password("admin@localhost")
    assert passwords.verify(User.get().password_hash, first)
    again, second = auth.reset_admin_password("other@localhost")
    assert (again, User.select().count()) == (email, 1)
    assert passwords.verify(User.get().password_hash, second)
    assert not passwords.verify(User.get().password_hash, first)


def test_passwords_are_argon2id_with_owasp_s_parameters() -> None:
    assert passwords.hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_hashes_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 19 MiB: who logs in a hundred times at once must not take two gigabytes."""
    at_once, most = 0, 0

    class Counting(argon2.PasswordHasher):
        def _count(self, made: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            try:
                return made(*arguments)
            finally:
                at_once -= 1

        def hash(self, *arguments: Any, **_: Any) -> str:
            return str(self._count(super().hash, *arguments))

        def verify(self, *arguments: Any) -> Any:
            return self._count(super().verify, *arguments)

    monkeypatch.setattr(argon2, "PasswordHasher", Counting)
    hashed = passwords.hash_password("a password")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: passwords.verify(hashed, "a password"), range(16)))
        list(pool.map(passwords.hash_password, ["another"] * 8))
    assert answers == [True] * 16
    assert most == 1


def test_an_unknown_account_has_no_password() -> None:
    assert not passwords.verify(None, "")


def test_a_list_for_a_terminal_writes_no_escape_sequence() -> None:
    """Root reads names that others chose."""
    assert printable("ci \x1b[2J\u202e\n") == "ci \\x1b[2J\\u202e\\n"
