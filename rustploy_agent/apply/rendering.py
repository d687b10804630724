"""What is rendered, as text: pure functions of a checked wish. Every value in it keeps to a narrow pattern."""

from __future__ import annotations

from rustploy_agent.apply.wish import instances

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

STATE = "/var/lib/rustploy"
#: On the file system of what it is for, and no name that an app could have.
TRASH = f"{STATE}/apps/.trash"
UNITS = "/etc/systemd/system"
NOLOGIN = "/usr/sbin/nologin"
HEADER = "# Written by rustploy-apply; changes are overwritten.\n"


def drop_in_path(unit: str) -> str:
    return f"{UNITS}/{unit}.d/50-rustploy.conf"


def build_user(name: str) -> str:
    return f"rpb-{name}"


def accounts(name: str) -> list[tuple[str, str, str]]:
    """(user, GECOS, home) of an app."""
    home = f"{STATE}/apps/{name}"
    return [
        (f"rp-{name}", f"rustploy app {name}", f"{home}/data"),
        (build_user(name), f"rustploy build {name}", f"{home}/cache"),
    ]


def directories(name: str) -> list[tuple[str, str, str, str]]:
    """(path, mode, user, group) of an app."""
    home, run, build = f"{STATE}/apps/{name}", f"rp-{name}", build_user(name)
    return [
        (home, "0711", "root", "root"),
        (f"{home}/data", "0700", run, run),
        (f"{home}/slots", "2750", "rustploy", run),
        (f"{home}/slugs", "2711", "rustploy", build),
        (f"{home}/jobs", "2750", "rustploy", build),
        (f"{home}/results", "2750", build, "rustploy"),
        (f"{home}/mirror", "0700", build, build),
        (f"{home}/cache", "0700", build, build),
    ]


def sysusers(names: Iterable[str]) -> str:
    lines = [f'u {user} - "{gecos}" {home} {NOLOGIN}\n' for name in names for user, gecos, home in accounts(name)]
    return HEADER + "".join(lines)


def tmpfiles(names: Iterable[str]) -> str:
    return HEADER + "".join(f"d {' '.join(directory)} -\n" for name in names for directory in directories(name))


def drop_in(wish: dict[str, Any], app: str, unit: str, user: str, service: list[str], conditions: Iterable[str]) -> str:
    lines = [f"User={user}", f"Group={user}", f"SyslogIdentifier={app}-{unit}", f"LogExtraFields=RUSTPLOY_APP={app}"]
    lines += [f"SocketBindDeny=tcp:{denied['first']}-{denied['last']}" for denied in wish["deny_ports"] or ()]
    lines += [f"IPAddressDeny={address}" for address in wish["deny_addresses"] or ()]
    return "\n".join([f"{HEADER}[Unit]", *conditions, "", "[Service]", *lines, *service, ""])


def slices(wish: dict[str, Any]) -> dict[str, str]:
    """The drop-in of each slice: what all its units together may use. Builds are slowed down before they are ended."""
    texts = {}
    for kind, total in (wish["totals"] or {}).items():
        memory = total["memory_percent"]
        high = [f"MemoryHigh={max(1, memory * 5 // 6)}%"] if kind == "build" else []
        most = [
            f"MemoryMax={memory}%",
            f"MemorySwapMax={total['swap_percent']}%",
            f"TasksMax={total['tasks_percent']}%",
        ]
        texts[f"rustploy-{kind}.slice"] = "\n".join([f"{HEADER}[Slice]", *high, *most, ""])
    return texts


def launched(wish: dict[str, Any], app: str, unit: str, process: dict[str, Any], slot: dict[str, Any]) -> str:
    """The drop-in of a unit that runs what the slot file of the same name says."""
    home = f"{STATE}/apps/{app}"
    file = f"{home}/slots/{unit}.env"
    service = [
        f"Environment=RUSTPLOY_SLOT_FILE={file}",
        f"BindReadOnlyPaths={home}/slugs {home}/slots",
        f"BindPaths={home}/data",
        f"LogExtraFields=RUSTPLOY_PROCESS={process['type']}",
        f"MemoryMax={process['memory_max_bytes']}",
        # Else an app at its limit fills the host's swap, and everybody else waits for the disk.
        f"MemorySwapMax={process['memory_max_bytes']}",
        f"CPUQuota={process['cpu_quota_percent']}%",
        f"TasksMax={process['tasks_max']}",
    ]
    service += [f"LogExtraFields=RUSTPLOY_DEPLOYMENT={slot['deployment_id']}"] if slot["deployment_id"] else []
    service += [f"SocketBindAllow=tcp:{slot['port']}"] if slot["port"] else []
    # PID 1 follows links as root: without the second condition the agent could ask it whether any file exists.
    conditions = [f"ConditionPathExists={file}", f"ConditionPathIsSymbolicLink=!{file}"]
    return drop_in(wish, app, unit, f"rp-{app}", service, conditions)


def units(wish: dict[str, Any], app: dict[str, Any]) -> dict[str, str]:
    """The drop-in of each unit of the app. The release phase gets the limits of the app's largest process."""
    name, texts = app["name"], {}
    home = f"{STATE}/apps/{name}"
    for process in app["processes"]:
        for number, slots in enumerate(instances(process), 1):
            for key, slot in slots.items():
                unit = f"{process['type']}-{key}{number if number > 1 else ''}"
                texts[f"rustploy-app@{name}-{unit}.service"] = launched(wish, name, unit, process, slot)
    if app["processes"]:
        task = max(app["processes"], key=lambda process: process["memory_max_bytes"]) | {"type": "release"}
        slot = {"port": None, "deployment_id": app["deployment_id"]}
        texts[f"rustploy-task@{name}.service"] = launched(wish, name, "task", task, slot)
    for kind, own in (("fetch", "mirror"), ("build", "cache")):
        binds = [f"BindReadOnlyPaths={home}/jobs", f"BindPaths={home}/slugs {home}/results {home}/{own}"]
        texts[f"rustploy-{kind}@{name}.service"] = drop_in(wish, name, kind, build_user(name), binds, [])
    return texts
