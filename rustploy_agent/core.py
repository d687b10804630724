"""What the API works with, composed once in `serve`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.domain_state import DomainStates
from rustploy_agent.ends import Ends
from rustploy_agent.errors import Unavailable
from rustploy_agent.ingress import Ingress
from rustploy_agent.memory import give_back
from rustploy_agent.metrics import Metrics
from rustploy_agent.resets import Resets
from rustploy_agent.routing import Routing
from rustploy_agent.streams import Streams
from rustploy_agent.systemd import Systemd
from rustploy_agent.worker import Worker

#: Threads that slow requests never take, so that the rest of the API, its health check too, is always served.
KEPT_FREE = 3


@dataclass(frozen=True)
class Core:
    settings: Settings
    systemd: Systemd
    applier: Applier
    worker: Worker
    slow: threading.BoundedSemaphore
    routing: Routing
    resets: Resets
    domain_states: DomainStates
    streams: Streams
    ends: Ends
    metrics: Metrics = field(default_factory=Metrics)

    @contextlib.contextmanager
    def slow_request(self) -> Iterator[None]:
        """Around requests that wait for other programs; Unavailable when too many of them are under way."""
        if not self.slow.acquire(blocking=False):
            raise Unavailable("too many imports and removals are under way; try again in a while", code="busy")
        try:
            yield
        finally:
            self.slow.release()
            give_back()


def compose(settings: Settings) -> Core:
    systemd = Systemd()
    applier = Applier(settings, systemd)
    # Those who wait for a deployment have places of their own: they shall not keep anybody from importing.
    slow = threading.BoundedSemaphore((settings.threads - KEPT_FREE + 1) // 2)
    return Core(
        settings,
        systemd,
        applier,
        Worker(settings, systemd, applier),
        slow,
        Routing(settings, Ingress(settings.paths.ingress_socket)),
        Resets(settings.mail),
        DomainStates(settings),
        Streams(settings.streams),
        Ends((settings.threads - KEPT_FREE) // 2),
    )
