"""doctor's checks of what apps and builds can reach, and who can reach them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from rustploy_agent import process, units
from rustploy_agent.config import Settings

RESOLVER = Path("/etc/resolv.conf")
Trouble = tuple[str, str] | None


def app_ports(settings: Settings) -> Trouble:
    if not (settings.paths.apply_result.parent / "firewall.nft").exists():  # apply has not run yet
        return None
    try:
        process.run(["/usr/sbin/nft", "list", "table", "inet", "rustploy"], seconds=10)
    except process.ProcessFailed:
        return (
            "any program of this host reaches them, for the rules of nftables are not loaded",
            f"systemctl restart {units.FIREWALL}; journalctl -u {units.FIREWALL}; in a machine of systemd-nspawn, "
            "see /usr/share/doc/rustploy-agent/operations.md",
        )
    return None


def name_servers(settings: Settings) -> Trouble:
    words = [line.split() for line in RESOLVER.read_text(encoding="utf-8", errors="replace").splitlines()]
    servers = [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
    denied = [ipaddress.ip_network(network) for network in settings.confinement.deny_addresses]
    shut = [server for server in servers if any(ipaddress.ip_address(server) in network for network in denied)]
    if not shut:
        return None
    return f"apps and builds cannot ask {', '.join(shut)}", "take it out of apps.deny_addresses in agent.yaml"
