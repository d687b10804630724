"""Which certificate the ingress gives to visitors of a name, and where it has none, why: in its own words."""

from __future__ import annotations

import json
import socket

from rustploy_agent import journal, units
from rustploy_agent.config import Ingress
from rustploy_agent.errors import AgentError

SECONDS = 3.0
#: How far back in the ingress's log a reason is looked for; its access log goes elsewhere.
NEWEST_LINES = 2000


class NoCertificate(AgentError):
    """Visitors get none; the message says why."""

    code = "no_certificate"


def served_certificate(name: str, ingress: Ingress) -> str:
    """The leaf as PEM, asked for as a visitor's browser would, on this host."""
    import ssl  # a megabyte that an agent without domains does not need

    if not ingress.enabled:
        raise NoCertificate("the ingress is off (ingress.enabled in agent.yaml)")
    if ingress.tls == "off":
        raise NoCertificate("the ingress serves without TLS (ingress.tls in agent.yaml)")
    address = ingress.addresses[0] or "127.0.0.1"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is looked at, not trusted
    try:
        with (
            socket.create_connection((address, ingress.https_port), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")
    except ssl.SSLError:
        reason = _last_failure(name)
        raise NoCertificate(f"there is no certificate yet: {reason or 'it is being asked for'}") from None
    except OSError as error:
        raise NoCertificate(f"nobody answers at port {ingress.https_port} of this host: {error}") from None


def _last_failure(name: str) -> str | None:
    """What the certificate authority, or the way to it, had against the name when Caddy last tried."""
    for line in journal.newest_of(units.INGRESS, NEWEST_LINES):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("identifier") == name:
            if entry.get("msg") == "certificate obtained successfully":
                return None
            problem = entry.get("problem")
            reason = problem.get("detail") if isinstance(problem, dict) else entry.get("error")
            if reason:
                return str(reason)[:500]
    return None
