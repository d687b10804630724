"""The only door to Caddy: its admin API on a unix socket that only the ingress, the agent and root can reach."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any

from rustploy_agent.caddy import ORIGIN
from rustploy_agent.errors import AgentError

CALL_SECONDS = 20
#: How it says which certificate it does not take, and why.
PAIR = re.compile(r'loading certificates: PEM pair (\d{1,6}): ([^"\\]{0,300})')
LARGEST_CONFIGURATION = 64 * 1024 * 1024


class IngressDown(AgentError):
    """Nobody answers at the socket; it may later."""

    code = "ingress_unavailable"
    status = 503


class IngressRefused(AgentError):
    """Caddy did not take a configuration and goes on with the one before; the message is its own."""

    code = "ingress_refused"
    status = 500


class CertificateRefused(IngressRefused):
    """Caddy does not take one of the certificates of a configuration: the one at this place among `load_pem`."""

    def __init__(self, message: str, place: int, problem: str) -> None:
        super().__init__(message)
        self.place, self.problem = place, problem


class Ingress:
    def __init__(self, path: Path) -> None:
        self._path = path

    def running(self) -> dict[str, Any]:
        """The configuration that Caddy goes by now, whoever gave it."""
        found = self._call("GET", "/config/")
        return found if isinstance(found, dict) else {}

    def load(self, document: dict[str, Any]) -> None:
        """All of it or nothing. Requests under way go on, but every websocket of every app ends."""
        self._call("POST", "/load", document)

    def _call(self, method: str, path: str, document: dict[str, Any] | None = None) -> Any:
        connection = _Connection(self._path)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Host": ORIGIN, "Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read(LARGEST_CONFIGURATION)
        except (OSError, http.client.HTTPException) as error:
            raise IngressDown(
                f"the ingress does not answer ({error or type(error).__name__}); see journalctl -u rustploy-ingress"
            ) from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise refusal(content[:1000].decode(errors="replace"))
        return json.loads(content) if content else None


def refusal(said: str) -> IngressRefused:
    """What Caddy means by these words."""
    message = f"the ingress refused its configuration: {said}"
    found = PAIR.search(said)
    return CertificateRefused(message, int(found[1]), found[2]) if found else IngressRefused(message)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__(ORIGIN, timeout=CALL_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CALL_SECONDS)
        self.sock.connect(str(self._path))
