"""What the agent may wish for: desired.json, checked value by value."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any, str], Any]  # (value, where it stands) -> the value, or Refused


class Refused(Exception):
    """Something that will not be done; the text names it and says what would be right."""


def integer(least: int, most: int) -> Check:
    def check(value: Any, where: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Refused(f"{where} must be a whole number from {least} to {most}")
        return value

    return check


def text(pattern: str) -> Check:
    def check(value: Any, where: str) -> str:
        if type(value) is not str or not re.fullmatch(pattern, value):
            raise Refused(f"{where} must match {pattern}, not {value!r:.80}")
        return value

    return check


def maybe(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def several(check: Check, most: int) -> Check:
    def check_all(value: Any, where: str) -> list[Any]:
        if type(value) is not list or len(value) > most:
            raise Refused(f"{where} must be a list of at most {most}")
        return [check(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return check_all


def record(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """An object with these keys and no others; absent optional ones become None."""
    known = required | (optional or {})

    def check(value: Any, where: str) -> dict[str, Any]:
        if type(value) is not dict or not required.keys() <= value.keys() <= known.keys():
            raise Refused(f"{where} must be an object with the keys {', '.join(required)} and no unknown ones")
        return {key: known[key](value[key], f"{where}.{key}") if key in value else None for key in known}

    return check


#: An app takes two of the 900 ids that Debian has for system users.
MOST_APPS = 400
#: Of all process types, each of two units. systemd's reload, for which every deployment waits, grows with all units.
MOST_APP_INSTANCES, MOST_HOST_INSTANCES = 32, 600
NAME = text(r"(?!.*--)[a-z](?:[a-z0-9-]{0,25}[a-z0-9])?")
UUID = text(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SLOT = record({"port": maybe(integer(1024, 65535)), "deployment_id": maybe(UUID)})
SLOTS = record({"a": SLOT, "b": SLOT})
PROCESS = record(
    {
        "type": text(r"[a-z][a-z0-9]{0,15}"),
        "memory_max_bytes": integer(16 << 20, 1 << 40),
        "cpu_quota_percent": integer(1, 102400),
        "tasks_max": integer(4, 65536),
        "slots": SLOTS,
    },
    {"more": several(SLOTS, 15)},  # the slots of instances 2, 3, …: there is no number that could be wrong
)
APP = record(
    {"name": NAME, "processes": several(PROCESS, 16), "remove_slugs": several(UUID, 1000)},
    {"deployment_id": maybe(UUID)},
)
ADDRESS = text(r"[0-9a-f.:]{2,39}(?:/[0-9]{1,3})?")
TOTAL = record({"memory_percent": integer(1, 100), "swap_percent": integer(0, 100), "tasks_percent": integer(1, 100)})
PORTS = record({"first": integer(1, 65535), "last": integer(1, 65535)})
WISH = record(
    {
        "version": integer(1, 1),
        "apps": several(lambda app, where: app, MOST_APPS),
        "remove_apps": several(NAME, MOST_APPS),
    },
    {
        "deny_ports": several(PORTS, 16),
        "deny_addresses": several(ADDRESS, 64),
        "closed_ports": several(integer(1, 65535), 16),
        "totals": record({"apps": TOTAL, "build": TOTAL}),
    },
)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def parse(data: bytes) -> dict[str, Any]:
    """The wish, in which only the apps are still unchecked."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Refused(f"desired.json must be JSON in UTF-8: {error}") from None
    desired: dict[str, Any] = WISH(document, "desired.json")
    return desired


def instances(process: dict[str, Any]) -> list[dict[str, Any]]:
    """The slots of each, beginning with the first."""
    return [process["slots"], *(process["more"] or ())]


def count_instances(app: dict[str, Any]) -> int:
    return sum(len(instances(process)) for process in app["processes"])


def ports(app: dict[str, Any]) -> list[int]:
    slots = [slots for process in app["processes"] for slots in instances(process)]
    found = [slot["port"] for one in slots for slot in one.values()]
    return [port for port in found if port is not None]


#: What root has `rustploy-agent listen` write down of agent.yaml.
CEILINGS = record(
    {"memory_max_bytes": integer(1, 1 << 40), "cpu_quota_percent": integer(1, 102400), "tasks_max": integer(1, 65536)}
)


def ceilings(text: str) -> dict[str, int]:
    """The most that a process may have; nothing before the first start of the agent."""
    if not text:
        return {}
    try:
        found: dict[str, int] = CEILINGS(json.loads(text), "ceilings.json")
    except ValueError as error:
        raise Refused(f"ceilings.json must be JSON: {error}; start rustploy-listen.service to have it anew") from None
    return found


def beyond(app: dict[str, Any], most: dict[str, int]) -> str | None:
    """Which limit of the app is above its ceiling, in words."""
    for process in app["processes"]:
        for key, ceiling in most.items():
            if process[key] > ceiling:
                return f"{key} of {process['type']} must be at most {ceiling}, the ceiling that agent.yaml sets"
    return None


def checked(
    desired: dict[str, Any], refused: dict[str, str], most: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    """The apps that keep to the contract and to the ceilings `most`, and do not clash; the others are `refused`, each
    with its reason."""
    apps, names = [], [raw.get("name") if type(raw) is dict else None for raw in desired["apps"]]
    for index, raw in enumerate(desired["apps"]):
        try:
            apps.append(APP(raw, f"apps[{index}]"))
        except Refused as error:
            refused[f"{names[index] or f'apps[{index}]'}"[:80]] = str(error)
    holders: dict[int, int] = {}
    for port in (port for app in apps for port in ports(app)):
        holders[port] = holders.get(port, 0) + 1
    for app in apps:
        name, types = app["name"], [process["type"] for process in app["processes"]]
        if names.count(name) > 1 or name in desired["remove_apps"]:
            refused[name] = "name must stand only once in apps and remove_apps"
        elif len(set(types)) != len(types):
            refused[name] = "processes must each have a type of their own"
        elif count_instances(app) > MOST_APP_INSTANCES:
            refused[name] = f"processes must have at most {MOST_APP_INSTANCES} instances, not {count_instances(app)}"
        elif any(holders[port] > 1 for port in ports(app)):
            refused[name] = "port must be one that no other slot has"
        elif (problem := beyond(app, most or {})) is not None:
            refused[name] = problem
    return [app for app in apps if app["name"] not in refused]
