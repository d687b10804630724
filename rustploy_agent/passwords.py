"""Password hashes: Argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), one at a time for the memory.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

from __future__ import annotations

import threading
from typing import Any

SHORTEST, LONGEST = 8, 1024
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
#: Costs what a real one costs, and no password is known for it. Not made at the first use, which would take longer.
NOBODY = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$bm9ib2R5bm9ib2R5bm9ib2R5${'A' * 43}"
_one_at_a_time = threading.Lock()


def hash_password(password: str) -> str:
    with _one_at_a_time:
        return str(_hasher().hash(password))


def verify(hashed: str | None, password: str) -> bool:
    """For an unknown account (None) the same work is done, so that time tells nothing."""
    from argon2.exceptions import InvalidHash, VerificationError

    with _one_at_a_time:
        try:
            _hasher().verify(NOBODY if hashed is None else hashed, password)
        except (VerificationError, InvalidHash):
            return False
    return hashed is not None


def outdated(hashed: str) -> bool:
    """Made with other parameters than today's; to be made anew while the password is at hand."""
    return bool(_hasher().check_needs_rehash(hashed))


def given(value: object) -> str:
    """A password that somebody types to log in."""
    if not isinstance(value, str) or not value or len(value) > LONGEST:
        raise ValueError(f"must be a string of 1 to {LONGEST} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return value


def new(value: object) -> str:
    """A password that somebody chooses."""
    if not isinstance(value, str) or not SHORTEST <= len(value) <= LONGEST:
        raise ValueError(f"must be a string of {SHORTEST} to {LONGEST} characters")
    return given(value)


def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
