"""Names of the units the agent starts and stops."""

from __future__ import annotations

from collections.abc import Iterable

AGENT, APPLY, INGRESS = "rustploy-agent.service", "rustploy-apply.service", "rustploy-ingress.service"
SOCKET, LISTEN = "rustploy-agent.socket", "rustploy-listen.service"
FIREWALL = "rustploy-firewall.service"
#: Of one process type. apply and the polkit rule know no more either.
MOST_INSTANCES = 16
#: Of all process types of an app, and of all apps. apply takes no more either.
MOST_APP_INSTANCES, MOST_HOST_INSTANCES = 32, 600


def instance(process: str, slot: str, number: int = 1) -> str:
    """`web-a`, `web-a2`, …: process types have no hyphen, so the slot and the number are what follows the last one."""
    return f"{process}-{slot}" if number == 1 else f"{process}-{slot}{number}"


def app(name: str, process: str, slot: str, number: int = 1) -> str:
    return f"rustploy-app@{name}-{instance(process, slot, number)}.service"


def app_pattern() -> str:
    """As systemd's lists of units take it: all units that run something of apps."""
    return "rustploy-app@*.service"


def fetch(name: str) -> str:
    return f"rustploy-fetch@{name}.service"


def build(name: str) -> str:
    return f"rustploy-build@{name}.service"


def task(name: str) -> str:
    return f"rustploy-task@{name}.service"


def of_app(name: str, instances: Iterable[tuple[str, int]]) -> list[str]:
    """All units that run something of an app; `instances` are process types and numbers."""
    slots = [app(name, process, slot, number) for process, number in instances for slot in ("a", "b")]
    return [fetch(name), build(name), task(name), *slots]


def of_deployment(name: str, instances: Iterable[tuple[str, int]]) -> list[str]:
    return [AGENT, *of_app(name, instances)]
