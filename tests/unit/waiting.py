"""Waiting for what another thread does, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rustploy_agent.models import Deployment


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def ended(deployment_id: str, seconds: float = 20) -> Deployment:
    until(lambda: Deployment.get_by_id(deployment_id).status in ("healthy", "failed"), seconds)
    found: Deployment = Deployment.get_by_id(deployment_id)
    return found
