"""The ingress as the agent's door shows it: it keeps what was loaded, unless a test says why it does not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from rustploy_agent import listeners, pairs
from rustploy_agent.errors import AgentError
from rustploy_agent.ingress import CertificateRefused, Ingress, IngressRefused
from rustploy_agent.pairs import Pair


class Caddy(Ingress):
    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.document: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.failure: AgentError | None = None
        #: An address that it does not listen on.
        self.refused: str | None = None
        #: Certificates that it does not take.
        self.unusable: set[str] = set()

    @property
    def loaded(self) -> int:
        return len(self.history)

    def running(self) -> dict[str, Any]:
        if self.failure:
            raise self.failure
        return copy.deepcopy(self.document)

    def load(self, document: dict[str, Any]) -> None:
        if self.failure:
            raise self.failure
        if any(self.refused in addresses for addresses in listeners.of(document).values()):
            raise IngressRefused(f"no {self.refused}")
        refusal = self.refusal_of(pairs.of(document))
        if refusal is not None:
            raise refusal
        self.document = copy.deepcopy(document)
        self.history.append(self.document)

    def refusal_of(self, given: list[Pair]) -> CertificateRefused | None:
        for place, pair in enumerate(given):
            if pair["certificate"] in self.unusable:
                return CertificateRefused("no", place, "x509: unusable")
        return None
