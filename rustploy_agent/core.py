"""What the API works with, composed once in `serve`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.domain_state import DomainStates
from rustploy_agent.ends import Ends
from rustploy_agent.errors import TooManyRequests, Unavailable
from rustploy_agent.ingress import Ingress
from rustploy_agent.memory import give_back
from rustploy_agent.metrics import Metrics
from rustploy_agent.models import database
from rustploy_agent.resets import Resets
from rustploy_agent.routing import Routing
from rustploy_agent.shares import Holder, Lack, Places
from rustploy_agent.streams import Streams
from rustploy_agent.systemd import Systemd
from rustploy_agent.worker import Worker

#: Threads that slow requests never take, so that the rest of the API, its health check too, is always served.
KEPT_FREE = 3
#: One caller may have this part of the places for slow requests.
SLOW_PART = 2
RETRY_SECONDS = 10


@dataclass(frozen=True)
class Core:
    settings: Settings
    systemd: Systemd
    applier: Applier
    worker: Worker
    slow: Places
    routing: Routing
    resets: Resets
    domain_states: DomainStates
    streams: Streams
    ends: Ends
    metrics: Metrics = field(default_factory=Metrics)

    @contextlib.contextmanager
    def slow_request(self, holder: Holder) -> Iterator[None]:
        """Around requests that wait for other programs; refused when too many of them are under way."""
        lack = self.slow.take(holder)
        if lack is Lack.ALL:
            raise Unavailable("too many imports and removals are under way; try again in a while", code="busy")
        if lack is not None:
            raise TooManyRequests(
                f"this {lack.value} has {self.slow.of[lack]} imports, removals, restarts and the like under way,"
                " as many as one may have at a time; send the next when one of them has ended",
                retry_after=RETRY_SECONDS,
            )
        try:
            yield
        finally:
            self.slow.free(holder)
            database.forget_idle()
            give_back()


def compose(settings: Settings) -> Core:
    systemd = Systemd()
    applier = Applier(settings, systemd)
    return Core(
        settings,
        systemd,
        applier,
        Worker(settings, systemd, applier),
        Places(settings.threads - KEPT_FREE, SLOW_PART),
        Routing(settings, Ingress(settings.paths.ingress_socket)),
        Resets(settings.mail),
        DomainStates(settings),
        Streams(settings.streams),
        Ends(settings.waiting),
    )
