"""Parsers of what an import (`runtime`) and rustploy.yaml (`app`) may say of how an app runs.

Each returns the value or raises ValueError saying what is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rustploy_agent.fields import integer, one_of, text

HEALTH_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")

#: Whether a process may write into a copy of its release (ephemeral) or not at all (read-only).
filesystem = one_of("ephemeral", "read-only")


def health_path(value: object) -> str:
    path = text(value, longest=1024)
    if not path.startswith("/") or " " in path or not path.isascii():
        raise ValueError("must be a path that starts with / and is percent-encoded, such as /healthz")
    return path


def health_host(value: object) -> str:
    """The Host that the health check asks for, with a port if it has one."""
    host = text(value, longest=255)
    if not HEALTH_HOST.fullmatch(host):
        raise ValueError("must be a host name such as www.example.org, with a port if it has one")
    return host


#: What rustploy.yaml (`app`) and an import (`runtime`) may say of the health check, as precedence.py knows it.
HEALTHCHECK: dict[str, Callable[[object], Any]] = {
    "healthcheck_path": health_path,
    "healthcheck_status": integer(200, 599),
    "healthcheck_timeout_seconds": integer(1, 3600),
    "healthcheck_interval_seconds": integer(1, 60),
    "healthcheck_host": health_host,
}
