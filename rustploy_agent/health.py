"""The health check of a process: asks until it is healthy, or says what was tried and why it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from rustploy_agent import sockets
from rustploy_agent.http_probe import LOOPBACK, PROBE_SECONDS, Probe, Visitor, probe

UNCERTAIN = "it is not certain whose process listens on the port"
#: A refusal that does not heal by waiting is believed after so many seconds and tries. 404 and the like may heal.
STEADY_SECONDS, STEADY_TRIES = 5, 3
STEADY = {400, 401, 403, 405, 406, 410, 421}
REFUSES_THE_NAME = (
    "without that name it answers {outcome}, so the app refuses its own name: allow it there "
    "(Django: ALLOWED_HOSTS; RUSTPLOY_HOSTS in its environment has the names)"
)


class Unhealthy(Exception):
    pass


@dataclass
class HealthCheck:
    """Probes until healthy, out of time, or `interrupted` (which raises by itself) objects.

    `host` and `scheme` are those of a visitor (http_probe.Visitor), `other_ports` those of the app's other processes.
    The pauses grow from 2 ms to half a second, unless an interval was chosen.
    """

    port: int
    owner: int
    path: str
    timeout_seconds: float
    status: int | None = None
    interval_seconds: float | None = None
    host: str | None = None
    scheme: str | None = None
    other_ports: Collection[int] = ()
    _refused: tuple[int | None, float, int] = field(default=(None, 0.0, 0), init=False)

    def passes(self) -> bool:
        """Whether the app answers as it should at this moment; one try."""
        return self._probe(self.timeout_seconds).healthy and sockets.server(self.port) == self.owner

    def wait(self, interrupted: Callable[[], None]) -> str:
        """Return what was seen, as a sentence; Unhealthy when the time is over or the app steadily refuses."""
        started, tries, seen = time.monotonic(), 0, "nothing listened"
        next_try = started
        while (elapsed := time.monotonic() - started) < self.timeout_seconds:
            interrupted()
            if (now := time.monotonic()) >= next_try:
                left = self.timeout_seconds - elapsed
                answer = self._probe(left)
                if answer.listened:
                    next_try = now + (self.interval_seconds or 0)
                    tries += 1
                    # A last try that the deadline cut short says less than what was seen before.
                    if not answer.timed_out or left >= PROBE_SECONDS or tries == 1:
                        seen = answer.outcome
                if answer.healthy:
                    server = sockets.server(self.port)
                    if server == self.owner:
                        return f"{self.address} answered {seen} after {time.monotonic() - started:.2f} s"
                    seen = "another user's process listens on the port" if server is not None else UNCERTAIN
                if self._steadily_refuses(answer):
                    break
            time.sleep(min(max(0.002, elapsed / 24), 0.5))
        waited = min(time.monotonic() - started, self.timeout_seconds)
        name = f" for {self.host}" if self.host else ""
        raise Unhealthy(f"GET {self.address}{name} was not healthy within {waited:.3g} s; {self._why(tries, seen)}")

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}{self.path}"

    def _probe(self, seconds: float) -> Probe:
        visitor = Visitor(self.host, self.scheme)
        return probe(self.port, self.path, min(PROBE_SECONDS, seconds), self.status, visitor)

    def _steadily_refuses(self, answer: Probe) -> bool:
        status = answer.status if self.status is None and answer.status in STEADY else None
        before, since, tries = self._refused
        self._refused = (status, since, tries + 1) if status == before else (status, time.monotonic(), 1)
        _, since, tries = self._refused
        return status is not None and tries >= STEADY_TRIES and time.monotonic() - since >= STEADY_SECONDS

    def _why(self, tries: int, seen: str) -> str:
        """What was tried, and what is known beyond it: a name that is refused, a listener in another place."""
        if not tries:
            elsewhere = [one for one in sockets.listeners(self.owner) if one[1] not in self._others]
            said = f"{seen} on {LOOPBACK}:{self.port}, the app's $PORT"
            if not elsewhere:
                return said
            places = ", ".join(sockets.written(*one) for one in elsewhere)
            return f"{said}, but the app listens on {places}; it must listen on {LOOPBACK}:$PORT"
        tried = f"{tries} tries, the last: {seen}"
        if self._refused[0] is not None and self.host:
            plain = probe(self.port, self.path, PROBE_SECONDS)
            if plain.healthy:
                return f"{tried}; {REFUSES_THE_NAME.format(outcome=plain.outcome)}"
        return tried

    @property
    def _others(self) -> set[int]:
        return {port for port in self.other_ports if port != self.port}
