"""Password hashes: Argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), one at a time for the memory.

https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

from __future__ import annotations

import functools
import secrets
import threading
from typing import Any

_one_at_a_time = threading.Lock()


def hash_password(password: str) -> str:
    with _one_at_a_time:
        return str(_hasher().hash(password))


def verify(hashed: str | None, password: str) -> bool:
    """For an unknown account (None) the same work is done, so that time tells nothing."""
    from argon2.exceptions import VerificationError

    with _one_at_a_time:
        try:
            _hasher().verify(hashed or _nobody(), password)
        except VerificationError:
            return False
    return hashed is not None


def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@functools.cache
def _nobody() -> str:
    return str(_hasher().hash(secrets.token_urlsafe(32)))
