"""Certificates of domains: read from an upload or from files of the host, and checked before anything uses them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rustploy_agent import process
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import AgentError, InvalidRequest

PROGRAM, READ_SECONDS = Path(__file__).with_name("x509.py"), 15
#: Of a certificate with its chain, or of a key.
LARGEST_PEM = 64 * 1024


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself: names in lower case (`*.` in front: a wildcard).

    `chain` and `key` are PEM that we wrote from what we have parsed, and the only form in which they are used:
    in a text of somebody else's, the ingress may find another certificate than we do.
    """

    names: tuple[str, ...]
    issuer: str
    valid_from_unix_ms: int
    valid_until_unix_ms: int
    common_names: tuple[str, ...] = ()
    chain: str = ""
    key: str = field(default="", repr=False)

    def covers(self, name: str) -> bool:
        """A wildcard stands for exactly one label (RFC 6125, 6.4.3)."""
        return name in self.names or (not name.startswith("*.") and f"*.{name.partition('.')[2]}" in self.names)

    def problem(self, name: str) -> str | None:
        """Why visitors of that name would be warned now; None when they would not, as far as it says itself."""
        if not self.covers(name):
            return f"covers {', '.join(self.names[:10]) or 'no name'}, not {name}"
        if self.valid_until_unix_ms <= now_ms():
            return "has expired"
        return "is not valid yet" if self.valid_from_unix_ms > now_ms() else None


class Unusable(AgentError):
    """`field` is `certificate` or `key`, the message what is wrong with it."""

    code = "invalid_certificate"
    status = 400

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"the {field} {message}")
        self.field, self.problem = field, message


def read(pairs: Sequence[tuple[str, str | None]]) -> list[Certificate | Unusable]:
    """What is in each PEM chain; where its key is given too, the two must belong together."""
    given = json.dumps([{"certificate": certificate, "key": key} for certificate, key in pairs])
    told = json.loads(process.run([sys.executable, "-I", str(PROGRAM)], seconds=READ_SECONDS, given=given))
    return [_parsed(one) for one in told]


def _parsed(told: dict[str, object]) -> Certificate | Unusable:
    if "problem" in told:
        return Unusable(str(told["field"]), str(told["problem"]))
    return Certificate(
        _strings(told["names"]),
        str(told["issuer"]),
        int(str(told["valid_from_unix_ms"])),
        int(str(told["valid_until_unix_ms"])),
        _strings(told["common_names"]),
        str(told["certificate"]),
        str(told["key"] or ""),
    )


def _strings(value: object) -> tuple[str, ...]:
    assert isinstance(value, list)
    return tuple(map(str, value))


def check(name: str, certificate: str, key: str) -> Certificate:
    """The certificate if it may be served for that name with that key; Unusable says why not."""
    (found,) = read([(certificate, key)])
    if isinstance(found, Unusable):
        raise found
    problem = found.problem(name)
    if problem is not None:
        raise Unusable("certificate", problem)
    return found


Pair = tuple[str, str]
#: By the digest of a pair: how we write it, None when that is how it was given.
_whole: dict[bytes, Pair | None] = {}
#: By the digest of a pair: why the ingress does not take it.
_refused: dict[bytes, str] = {}
MOST_REMEMBERED = 1000


def written(certificate: str, key: str) -> Pair:
    """The pair as we write it, be it expired; Unusable unless both can be read, belong together and are of use to the
    ingress. The same pair is looked into only once."""
    digest = _digest(certificate, key)
    try:
        ours = _whole[digest]
    except KeyError:
        (found,) = read([(certificate, key)])
        if isinstance(found, Unusable):
            raise found from None
        ours = None if (found.chain, found.key) == (certificate, key) else (found.chain, found.key)
        _remember(_whole, digest, ours)
    pair = ours or (certificate, key)
    problem = _refused.get(_digest(*pair))
    if problem is not None:
        raise Unusable("certificate", f"is refused by the ingress: {problem}")
    return pair


def refuse(certificate: str, key: str, problem: str) -> None:
    """From now on `written` raises for this pair, because the ingress does not take it."""
    _remember(_refused, _digest(certificate, key), problem)


def _remember(known: dict[bytes, Any], digest: bytes, value: object) -> None:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[digest] = value


def _digest(certificate: str, key: str) -> bytes:
    return hashlib.sha256(f"{certificate}\0{key}".encode()).digest()


def read_files(certificate: str, key: str) -> tuple[str, str]:
    """The PEM texts of both files. The key's must be closed to everybody but its owner and the agent's group."""
    return _read(certificate, "cert_path", private=False), _read(key, "key_path", private=True)


def _read(path: str, field: str, *, private: bool) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequest.field(
            field, f"cannot be read by the user rustploy: {error.strerror} (for a key: chgrp rustploy, mode 0640)"
        ) from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise InvalidRequest.field(field, "must be a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if private and about.st_mode & 0o007:
            raise InvalidRequest.field(field, "is open to every user of this host; chmod o= it")
        if private and about.st_gid != os.getegid() and about.st_mode & 0o070 and about.st_gid != 0:
            raise InvalidRequest.field(field, "is open to another group than rustploy or root; chgrp rustploy it")
        content = file.read(LARGEST_PEM + 1)
    try:
        return pem(content.decode("ascii", "replace"))
    except ValueError as error:
        raise InvalidRequest.field(field, str(error)) from None


def pem(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or "-----BEGIN " not in value or len(value) > LARGEST_PEM:
        raise ValueError(f"must be PEM (-----BEGIN …), at most {LARGEST_PEM} bytes")
    return value


def absolute_path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or len(value) > 1024:
        raise ValueError("must be an absolute path")
    if ".." in Path(value).parts:
        raise ValueError("must be a path without ..")
    return value
