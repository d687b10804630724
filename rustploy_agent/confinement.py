"""What apps and builds may reach, and how much of the host all together may use: settings that apply renders."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from rustploy_agent.fields import Fields, boolean, integer, text

#: Link-local addresses, among them the one at which most clouds hand out their servers' credentials, and of AWS and
#: Google those that do the same by IPv6.
METADATA = ("169.254.0.0/16", "fd00:ec2::254", "fd20:ce::254")
#: As apply takes no more.
MOST_ADDRESSES = 64


@dataclass(frozen=True)
class Total:
    """Shares of the host's memory (swap space is measured by it too) and of the tasks that it can have."""

    memory_percent: int
    swap_percent: int
    tasks_percent: int


@dataclass(frozen=True)
class Confinement:
    api_open: bool
    deny_addresses: tuple[str, ...]
    apps: Total
    builds: Total

    def wish(self, api_port: int) -> dict[str, Any]:
        """The keys of desired.json for it; docs/architecture.md describes them."""
        return {
            "closed_ports": [] if self.api_open else [api_port],
            "deny_addresses": list(self.deny_addresses),
            "totals": {"apps": vars(self.apps), "build": vars(self.builds)},
        }


def parse(listen: Fields, apps: Fields, builds: Fields) -> Confinement:
    """From the sections `listen`, `apps` and `builds`."""
    return Confinement(
        api_open=listen.optional("apps", boolean, False),
        deny_addresses=apps.optional("deny_addresses", _networks, METADATA),
        apps=_total(apps.object("total"), Total(80, 50, 60)),
        builds=_total(builds.object("total"), Total(60, 30, 20)),
    )


def _total(fields: Fields, default: Total) -> Total:
    return Total(
        memory_percent=fields.optional("memory_percent", integer(1, 100), default.memory_percent),
        swap_percent=fields.optional("swap_percent", integer(0, 100), default.swap_percent),
        tasks_percent=fields.optional("tasks_percent", integer(1, 100), default.tasks_percent),
    )


def _networks(value: object) -> tuple[str, ...]:
    wrong = f"must be a list of at most {MOST_ADDRESSES} IP addresses or networks such as 169.254.0.0/16"
    if not isinstance(value, list) or len(value) > MOST_ADDRESSES:
        raise ValueError(wrong)
    try:
        found = [ipaddress.ip_network(text(one)) for one in value]
    except ValueError:
        raise ValueError(wrong) from None
    return tuple(str(one.network_address if one.num_addresses == 1 else one) for one in found)
