"""What the agent counts: requests by operation, deployments and how long their steps took. Nothing of it is kept.

Plain numbers, so that counting costs next to nothing; prometheus_client is imported when somebody asks for them. Labels
have few values by construction: operations, statuses, steps and outcomes are ours, app names end with their apps.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rustploy_agent import __version__, events

if TYPE_CHECKING:
    from rustploy_agent.models import Deployment

Labels = tuple[str, ...]
REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
STEP_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0)
OUTCOMES = ("healthy", "failed")
#: Steps that have begun and whose deployment has not gone on yet; more than run at once are left over from retries.
MOST_BEGUN = 64


class Histogram:
    """Observations by label values: how many in each bucket, and their sum."""

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets, self._lock = buckets, threading.Lock()
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, seconds: float) -> None:
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._buckets) + 1))
            counts[bisect.bisect_left(self._buckets, seconds)] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + seconds

    def family(self, name: str, text: str, labels: Labels) -> Any:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(name, text, labels=labels)
        with self._lock:
            for values, counts in self._counts.items():
                family.add_metric(values, list(self._cumulated(counts)), self._sums[values])
        return family

    def _cumulated(self, counts: list[int]) -> Iterator[tuple[str, int]]:
        total = 0
        for bound, count in zip((*map(str, self._buckets), "+Inf"), counts, strict=True):
            total += count
            yield bound, total


class Metrics:
    def __init__(self) -> None:
        self._requests = Histogram(REQUEST_SECONDS)
        self._steps = Histogram(STEP_SECONDS)
        self._deployments = Histogram(STEP_SECONDS)
        self._begun: dict[str, tuple[str, int, float]] = {}
        #: By door, the connections that are open and those that were ended; there is none without a server.
        self.connections: Callable[[], dict[str, tuple[int, int]]] = dict
        events.step_started.connect(self._step_started)
        events.deployment_finished.connect(self._finished)

    def request(self, operation: str, status: int, seconds: float) -> None:
        self._requests.observe((operation, f"{status // 100}xx"), seconds)

    def _step_started(self, deployment: Deployment, step: str) -> None:
        self._step_ended(deployment)
        if deployment.status not in OUTCOMES:  # what comes after the switch has no end that anybody tells
            self._begun[deployment.id] = (step, deployment.attempt, time.monotonic())
            for oldest in list(self._begun)[:-MOST_BEGUN]:
                self._begun.pop(oldest, None)

    def _step_ended(self, deployment: Deployment) -> None:
        """A step of an earlier attempt ended in a failure that nobody timed."""
        step, attempt, begun = self._begun.pop(deployment.id, ("", -1, 0.0))
        if attempt == deployment.attempt:
            self._steps.observe((step,), time.monotonic() - begun)

    def _finished(self, deployment: Deployment) -> None:
        self._step_ended(deployment)
        ended = deployment.finished_at_unix_ms or deployment.updated_at_unix_ms
        seconds = max(0, ended - deployment.created_at_unix_ms) / 1000
        self._deployments.observe((deployment.kind, deployment.status), seconds)

    def families(self) -> Iterator[Any]:
        from prometheus_client.core import InfoMetricFamily

        yield InfoMetricFamily("rustploy_build", "The agent's version.", value={"version": __version__})
        yield self._requests.family(
            "rustploy_http_request_seconds", "Requests until their answer began.", ("operation", "status")
        )
        yield self._steps.family("rustploy_deployment_step_seconds", "Steps of deployments that ended.", ("step",))
        yield self._deployments.family(
            "rustploy_deployment_seconds", "Deployments from request to end.", ("kind", "outcome")
        )
        yield from self._doors()

    def _doors(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        found = self.connections()
        ended = CounterMetricFamily(
            "rustploy_connections_ended", "Connections ended because they were too many or too slow.", labels=("door",)
        )
        for door, (_, count) in found.items():
            ended.add_metric((door,), count)
        opened = [((door,), float(count)) for door, (count, _) in found.items()]
        yield gauge("rustploy_connections", "Connections to the API that are open.", ("door",), opened)
        yield ended


def gauge(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def written(families: list[Any]) -> bytes:
    """Prometheus' text format, with what the kernel says of this process."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.registry import Collector

    class Given(Collector):  # type: ignore[misc,unused-ignore]
        def collect(self) -> list[Any]:
            return families

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(Given())
    text: bytes = generate_latest(registry)
    return text
