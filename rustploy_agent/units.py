"""Names of the units the agent starts and stops."""

from __future__ import annotations

AGENT, APPLY, INGRESS = "rustploy-agent.service", "rustploy-apply.service", "rustploy-ingress.service"
SOCKET, LISTEN = "rustploy-agent.socket", "rustploy-listen.service"


def app(name: str, process: str, slot: str) -> str:
    return f"rustploy-app@{name}-{process}-{slot}.service"


def fetch(name: str) -> str:
    return f"rustploy-fetch@{name}.service"


def build(name: str) -> str:
    return f"rustploy-build@{name}.service"


def task(name: str) -> str:
    return f"rustploy-task@{name}.service"


def of_app(name: str, process_types: list[str]) -> list[str]:
    """All units that run something of an app."""
    slots = [app(name, process, slot) for process in process_types for slot in ("a", "b")]
    return [fetch(name), build(name), task(name), *slots]


def of_deployment(name: str, process_types: list[str]) -> list[str]:
    return [AGENT, *of_app(name, process_types)]
