"""Seals what nobody shall read in a copy of the database, under a key that lies apart from it.

    box = vault.unlock(settings.paths)
    sealed = box.seal("s3cret", "env", app.id, name)   # text for a column
    box.open(sealed, "env", app.id, name)              # "s3cret"

The words after the text say what it belongs to. They are authenticated, not stored: a value that was put into another
row does not open there. A check value in the database tells the right key from a wrong one, so nothing is ever sealed
under a key that the other values do not have. The only door to libsodium (PyNaCl).
"""

from __future__ import annotations

import base64
import json
import os
import re

from rustploy_agent import files
from rustploy_agent.config import Paths
from rustploy_agent.errors import AgentError, Conflict
from rustploy_agent.models import Meta

VERSION = "v1:"
KEY = re.compile(rb"([0-9a-f]{64})\n?")
NONCE_BYTES, TAG_BYTES = 24, 16
#: The row of `meta` that holds the check value. From its being there on, everything that is to be sealed is.
CHECK = "vault_check"


class Unreadable(AgentError):
    """The key is missing, broken or another one, or a value was not sealed for its place. For an operator to mend."""

    code = "secret_unreadable"


class Box:
    """An opened vault; keep it no longer than for one piece of work, so that another key is noticed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, text: str, *about: str) -> str:
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt

        nonce = os.urandom(NONCE_BYTES)
        sealed = encrypt(text.encode("utf-8"), _associated(about), nonce, self._key)
        return VERSION + base64.b64encode(nonce + sealed).decode("ascii")

    def open(self, sealed: str, *about: str) -> str:
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt
        from nacl.exceptions import CryptoError

        try:
            nonce, content = _parts(sealed)
            return decrypt(content, _associated(about), nonce, self._key).decode("utf-8")
        except (ValueError, CryptoError):
            raise Unreadable(f"the value of {' '.join(about)} was not sealed under this host's key") from None


def unlock(paths: Paths) -> Box:
    """Unreadable unless the key file holds the key that this database's values were sealed under."""
    box = _box(paths)
    check = Meta.get_or_none(Meta.key == CHECK)
    if check is None:
        raise Unreadable("the database's values are not sealed yet; restart rustploy-agent.service")
    try:
        box.open(check.value, CHECK)
    except Unreadable:
        raise Unreadable(
            f"{paths.vault_key} is not the key that the database was sealed under; restore that one from a backup"
        ) from None
    return box


def begin(paths: Paths) -> Box:
    """For a database without check value; inside the transaction that seals what there is already."""
    box = _box(paths)
    Meta.insert(key=CHECK, value=box.seal("", CHECK)).execute()
    return box


def begun() -> bool:
    return bool(Meta.select().where(Meta.key == CHECK).exists())


def make_key(paths: Paths) -> bool:
    """False when there is one. Conflict when values wait for a key that was lost: a new one could not open them."""
    if os.path.lexists(paths.vault_key):
        return False
    if paths.database.exists() and begun():
        raise Conflict(
            f"{paths.vault_key} is lost, and the database has values sealed under it: restore it from a backup, or "
            "`rustploy-agent key replace`, after which each variable has to be set again"
        )
    _write_key(paths)
    return True


def replace_key(paths: Paths) -> None:
    """A new key for what is set from now on; an old one stays beside it. What was sealed before stays unreadable."""
    if os.path.lexists(paths.vault_key):
        paths.vault_key.rename(paths.vault_key.with_name(f"{paths.vault_key.name}.replaced-{os.urandom(4).hex()}"))
    _write_key(paths)
    check = _box(paths).seal("", CHECK)
    Meta.insert(key=CHECK, value=check).on_conflict(conflict_target=[Meta.key], update={Meta.value: check}).execute()


def length(sealed: str) -> int:
    """Bytes of the text, also of one that cannot be opened any more."""
    return len(_parts(sealed)[1]) - TAG_BYTES


def _write_key(paths: Paths) -> None:
    files.replace(paths.vault_key, os.urandom(32).hex().encode() + b"\n", mode=0o400)


def _box(paths: Paths) -> Box:
    try:
        found = KEY.fullmatch(files.read_untrusted(paths.vault_key, owner=os.geteuid(), largest=1024))
    except files.UntrustedFile as error:
        raise Unreadable(
            f"the key {paths.vault_key} cannot be used: {error}; restore it from a backup "
            "(/usr/share/doc/rustploy-agent/operations.md)"
        ) from None
    if found is None:
        raise Unreadable(f"{paths.vault_key} is not a key of 64 hexadecimal digits; restore it from a backup")
    return Box(bytes.fromhex(found[1].decode()))


def _parts(sealed: str) -> tuple[bytes, bytes]:
    if not sealed.startswith(VERSION):
        raise ValueError("is of no known version")
    raw = base64.b64decode(sealed.removeprefix(VERSION), validate=True)
    return raw[:NONCE_BYTES], raw[NONCE_BYTES:]


def _associated(about: tuple[str, ...]) -> bytes:
    return json.dumps([VERSION, *about]).encode()
