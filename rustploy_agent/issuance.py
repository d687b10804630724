"""Who signs the certificates of managed domains, as Caddy is told."""

from __future__ import annotations

from typing import Any

from rustploy_agent.config import Ingress


def issuer(settings: Ingress) -> dict[str, Any]:
    """ACME, or Caddy's own authority, which no browser trusts by itself."""
    if settings.tls == "internal":
        return {"module": "internal"}
    found: dict[str, Any] = {"module": "acme", "ca": settings.acme_directory}
    if settings.acme_email:
        found["email"] = settings.acme_email
    if settings.acme_ca_root:
        found["trusted_roots_pem_files"] = [settings.acme_ca_root]
    if settings.http_port != 80 or settings.https_port != 443:
        found["challenges"] = {
            "http": {"alternate_port": settings.http_port},
            "tls-alpn": {"alternate_port": settings.https_port},
        }
    return found
