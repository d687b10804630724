"""Where a configuration of Caddy has it listen."""

from __future__ import annotations

from typing import Any


def of(document: dict[str, Any]) -> dict[str, set[str]]:
    """Addresses by port, of a configuration whoever made it: Caddy takes null for every part."""
    found: dict[str, set[str]] = {}
    servers: Any = document
    for part in ("apps", "http", "servers"):
        servers = servers.get(part) or {}
    for server in servers.values():
        for listener in (server or {}).get("listen") or ():
            address, _, port = listener.rpartition(":")
            found.setdefault(port, set()).add(address)
    return found


def collide(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both listen on a port, but not on the same addresses: Caddy 2.6 cannot go from one to the other.

    It opens what is new before it closes what was, and of QUIC's sockets all addresses exclude each single one.
    """
    before, after = of(one), of(other)
    return any(before[port] != after[port] for port in before.keys() & after.keys())
