"""The ssh key pair with which one app reads its repository; made on first use, it stays with the mirror."""

from __future__ import annotations

import contextlib
import os
import time

from rustploy_agent.builder import child
from rustploy_agent.builder.job import Refused

KEYGEN_SECONDS = 30


def public_half(private: str, comment: str) -> str:
    """One line for the repository's list of deploy keys; makes the pair when there is none yet."""
    if not os.path.exists(private):
        _make(private, comment)
    with open(f"{private}.pub", encoding="utf-8") as file:
        return file.read().strip()


def _make(private: str, comment: str) -> None:
    """The private half gets its name last: a pair that stands there is whole."""
    half_made = f"{private}.new"
    for leftover in (half_made, f"{half_made}.pub"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(leftover)
    said: list[str] = []
    argv = ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", half_made]
    status = child.run(argv, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, time.monotonic() + KEYGEN_SECONDS, said.append)
    if status:
        raise Refused("fetch_failed", f"ssh-keygen could not make the app's deploy key: {'; '.join(said)[:300]}")
    os.rename(f"{half_made}.pub", f"{private}.pub")
    os.rename(half_made, private)
