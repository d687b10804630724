"""How each domain is doing, in words: what DNS says of it, and which certificate its visitors get.

Looked up when somebody asks, and remembered for a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rustploy_agent import certificates, dns, domains, tls_probe
from rustploy_agent.certificates import Certificate, Unusable
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError
from rustploy_agent.models import Domain

FRESH_SECONDS = 60.0
MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class DnsState:
    """`ok`: it leads to this host. Behind a proxy or NAT it may serve well without."""

    ok: bool
    addresses: list[str]
    message: str


@dataclass(frozen=True)
class CertificateState:
    ok: bool
    message: str
    issuer: str | None = None
    valid_from_unix_ms: int | None = None
    valid_until_unix_ms: int | None = None


@dataclass(frozen=True)
class State:
    dns: DnsState
    certificate: CertificateState
    checked_at_unix_ms: int

    def view(self) -> dict[str, Any]:
        return {"ok": self.dns.ok and self.certificate.ok, **asdict(self)}


class DomainStates:
    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock, self._lock = settings, clock, threading.Lock()
        self._known: dict[str, tuple[float, State]] = {}

    def of(self, domain: Domain) -> State:
        with self._lock:
            known = self._known.get(domain.id)
        if known is None:
            self.refresh([domain])
            return self.of(domain)
        return known[1]

    def forget(self, domain: Domain) -> None:
        with self._lock:
            self._known.pop(domain.id, None)

    def refresh(self, rows: Sequence[Domain]) -> None:
        """Looks anew where nothing is known or it is a minute old."""
        now = self._clock()
        with self._lock:
            old = [row for row in rows if row.id not in self._known or now - self._known[row.id][0] >= FRESH_SECONDS]
        if not old:
            return
        found = self._look(old)
        with self._lock:
            if len(self._known) > MOST_REMEMBERED:
                self._known.clear()
            self._known.update({identity: (now, state) for identity, state in found.items()})

    def _look(self, rows: Sequence[Domain]) -> dict[str, State]:
        answers, own = dns.look_up([row.name for row in rows]), dns.own_addresses()
        served = self._certificates(rows)
        return {row.id: State(_dns_state(answers[row.name], own), served[row.id], now_ms()) for row in rows}

    def _certificates(self, rows: Sequence[Domain]) -> dict[str, CertificateState]:
        chains: dict[str, str] = {}
        states: dict[str, CertificateState] = {}
        for row in rows:
            try:
                chains[row.id] = self._chain(row)
            except (AgentError, OSError) as error:
                states[row.id] = CertificateState(False, getattr(error, "message", str(error)))
        names = {row.id: row.name for row in rows}
        for identity, found in zip(chains, certificates.read([(pem, None) for pem in chains.values()]), strict=True):
            states[identity] = _certificate_state(found, names[identity])
        return states

    def _chain(self, domain: Domain) -> str:
        """PEM of what visitors get; of a custom certificate, of what they would get."""
        if domain.tls_mode == domains.CUSTOM:
            return domains.material(domain, self._settings)[0]
        return tls_probe.served_certificate(domain.name, self._settings.ingress)


def _dns_state(answer: list[str] | str, own: set[str]) -> DnsState:
    if isinstance(answer, str):
        return DnsState(False, [], answer)
    elsewhere = sorted(set(answer) - own)
    if not elsewhere:
        return DnsState(True, answer, "leads to this host")
    return DnsState(
        False,
        answer,
        f"leads to {', '.join(elsewhere)}, which no interface of this host has ({', '.join(sorted(own)) or 'none'}); "
        "right only behind a proxy or NAT",
    )


def _certificate_state(found: Certificate | Unusable, name: str) -> CertificateState:
    if isinstance(found, Unusable):
        return CertificateState(False, found.message)
    problem = found.problem(name)
    return CertificateState(
        problem is None,
        "valid" if problem is None else f"the certificate {problem}",
        found.issuer,
        found.valid_from_unix_ms,
        found.valid_until_unix_ms,
    )
