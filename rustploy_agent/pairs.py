"""The certificates of one's own in a configuration of Caddy, and which of them it does not take."""

from __future__ import annotations

import json
from typing import Any

from rustploy_agent import process
from rustploy_agent.ingress import CertificateRefused, refusal
from rustploy_agent.process import ProcessFailed

VALIDATE, SECONDS = ["caddy", "validate", "--config", "-"], 20
Pair = dict[str, str]


def of(document: dict[str, Any]) -> list[Pair]:
    """In Caddy's order, of a configuration whoever made it."""
    part: Any = document
    for name in ("apps", "tls", "certificates"):
        part = part.get(name) or {}
    return list(part.get("load_pem") or ())


def first_refused(pairs: list[Pair]) -> CertificateRefused | None:
    """Asks a Caddy that serves nothing and ends at once: for while the ingress does not run."""
    wish = {"admin": {"disabled": True}, "apps": {"tls": {"certificates": {"load_pem": pairs}}}}
    try:
        process.run(VALIDATE, seconds=SECONDS, given=json.dumps(wish))
    except ProcessFailed as error:
        found = refusal(error.message)
        return found if isinstance(found, CertificateRefused) else None
    return None
