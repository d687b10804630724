"""`rustploy-agent doctor`: looks at everything the agent needs on this host and says what to do about each trouble."""

from __future__ import annotations

import grp
import http.client
import json
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

from rustploy_agent import damage, descriptors, listening, process, reach, sockets, space, units
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError

POLKIT_RULES = Path("/usr/share/polkit-1/rules.d/50-rustploy.rules")
TEMPLATES = ("rustploy-app@.service", "rustploy-build@.service", "rustploy-fetch@.service", "rustploy-task@.service")
#: The owner of sockets that systemd made.
PID_1 = 0
UNIT_DIRECTORY = Path("/usr/lib/systemd/system")
#: systemd limits memory, processor and tasks of a unit by these (systemd.resource-control(5)).
CONTROL_GROUPS, CONTROLLERS = Path("/sys/fs/cgroup"), ("cpu", "memory", "pids")
HEALTH_SECONDS = 5
#: A question to systemd over D-Bus, as the agent asks them (busctl(1)).
BUS_SECONDS = 5
LIST_UNITS = (
    *("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"),
    *("ListUnitsByNames", "as", "1", units.AGENT),
)
#: A trouble is what is wrong and what to do; None says that all is well.
Trouble = tuple[str, str] | None


def doctor(settings: Settings) -> int:
    """Prints a line per check; 0 when all is well, else 1."""
    healthy = True
    for name, check in CHECKS.items():
        trouble = _checked(check, settings)
        healthy = healthy and trouble is None
        print(f"ok       {name}" if trouble is None else f"PROBLEM  {name}: {trouble[0]}\n         {trouble[1]}")
    return 0 if healthy else 1


def _checked(check: Callable[[Settings], Trouble], settings: Settings) -> Trouble:
    try:
        return check(settings)
    except (OSError, KeyError, ValueError, AgentError) as error:
        return f"could not be checked: {error}", "run it as root on the host that runs the agent"


def _units(_: Settings) -> Trouble:
    missing = [
        name
        for name in (*TEMPLATES, units.AGENT, units.APPLY, units.SOCKET, units.LISTEN, units.FIREWALL)
        if not (UNIT_DIRECTORY / name).is_file()
    ]
    if missing:
        return f"missing: {', '.join(missing)}", "reinstall: apt-get install --reinstall rustploy-agent"
    state = process.run(["systemctl", "show", "--property=ActiveState", "--value", units.AGENT], seconds=10).strip()
    return (
        None
        if state == "active"
        else (f"{units.AGENT} is {state}", f"systemctl status {units.AGENT}; journalctl -u {units.AGENT}")
    )


def _failed_units(_: Settings) -> Trouble:
    listed = process.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "rustploy-*"], seconds=10)
    names = [line.split()[0] for line in listed.splitlines()]
    return (f"failed: {', '.join(names)}", f"journalctl -u {names[0]}") if names else None


def _polkit(_: Settings) -> Trouble:
    if not POLKIT_RULES.is_file():
        return f"{POLKIT_RULES} is missing", "reinstall: apt-get install --reinstall rustploy-agent"
    state = process.run(["systemctl", "show", "--property=LoadState", "--value", "polkit.service"], seconds=10).strip()
    return None if state == "loaded" else ("polkit is not installed", "apt-get install polkitd")


def _journal(_: Settings) -> Trouble:
    members = grp.getgrnam("systemd-journal").gr_mem
    shown = process.run(["systemctl", "show", "--property=SupplementaryGroups", "--value", units.AGENT], seconds=10)
    if "systemd-journal" not in shown.split() and "rustploy" not in members:
        return (
            "the agent is not in the group systemd-journal",
            "systemctl cat rustploy-agent shows who changed SupplementaryGroups=",
        )
    if not Path("/var/log/journal").is_dir():
        return (
            "the journal is kept in memory only, logs are lost at a reboot",
            "mkdir /var/log/journal; systemctl restart systemd-journald",
        )
    return None


def _disk(settings: Settings) -> Trouble:
    found = space.shortage(settings.paths.state, settings.min_free_bytes)
    return (
        (found, "remove what is not needed, or lower releases.keep or disk.min_free_mib in agent.yaml")
        if found
        else None
    )


def _state(settings: Settings) -> Trouble:
    about = settings.paths.database.parent.stat()
    right = about.st_uid == pwd.getpwnam("rustploy").pw_uid and stat.S_IMODE(about.st_mode) == 0o700
    return (
        None
        if right
        else (f"{settings.paths.database.parent} has the wrong owner or mode", "systemd-tmpfiles --create")
    )


def _database(settings: Settings) -> Trouble:
    """A file that was put aside stays a trouble until somebody has decided about it."""
    help_ = f"/usr/share/doc/rustploy-agent/{damage.MANUAL}"
    kept = damage.aside(settings.paths)
    if kept:
        return f"it was damaged and put aside as {kept[-1]}, so apps and access may be missing", help_
    try:
        process.run(["rustploy-agent", "database", "check"], seconds=60)  # as the agent's user, who owns it
    except process.ProcessFailed as error:
        return error.message.rpartition("rustploy-agent: ")[2], help_
    return None


def _key(settings: Settings) -> Trouble:
    path = settings.paths.vault_key
    help_ = "/usr/share/doc/rustploy-agent/operations.md, The key"
    if not path.exists():
        return f"{path} is missing, so no secret can be read or set", help_
    about = path.lstat()
    if about.st_uid != pwd.getpwnam("rustploy").pw_uid or stat.S_IMODE(about.st_mode) != 0o400:
        return f"{path} has the wrong owner or mode", f"chown rustploy:rustploy {path}; chmod 0400 {path}"
    try:
        process.run(["rustploy-agent", "key", "check"], seconds=60)  # as the agent's user, who owns the database
    except process.ProcessFailed as error:
        return error.message.rpartition("rustploy-agent: ")[2], help_
    return None


def _builds(_: Settings) -> Trouble:
    """As the agent's user, who owns the database."""
    outdated = process.run(["rustploy-agent", "rebuild", "--list"], seconds=60).splitlines()
    if not outdated:
        return None
    named = ", ".join(line.partition(":")[0] for line in outdated)
    return (
        f"built for another Debian or interpreter: {named}",
        "rustploy-agent rebuild --all; before that a restart may fail: operations.md, From Debian 12 to 13",
    )


def _limits(_: Settings) -> Trouble:
    try:
        found = (CONTROL_GROUPS / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return (
            f"they do not hold, for {CONTROL_GROUPS} is not of version 2",
            "systemd.unified_cgroup_hierarchy in systemd(1)",
        )
    missing = [name for name in CONTROLLERS if name not in found]
    if not missing:
        return None
    return (
        f"they do not hold, for this system has no control of {', '.join(missing)}",
        "in a container, whoever runs it can delegate that; else look for cgroup_disable= in /proc/cmdline",
    )


def _git(_: Settings) -> Trouble:
    process.run(["git", "--version"], seconds=10)
    return None


def _port(settings: Settings) -> Trouble:
    port = settings.listen_port
    owners = sockets.owners(port)
    state = process.run(["systemctl", "show", "--property=ActiveState", "--value", units.SOCKET], seconds=10).strip()
    if owners == {PID_1} and state == "active":
        return None
    if owners == {pwd.getpwnam("rustploy").pw_uid}:
        advice = f"systemctl restart {units.AGENT}; journalctl -u {units.LISTEN} -u {units.SOCKET}"
        return f"systemd does not hold port {port}, so an app could take it while the agent restarts", advice
    who = "nothing listens" if not owners else "another program listens"
    return f"{who} on port {port}", f"ss -ltnp sport = :{port}; listen.port in agent.yaml"


def _ingress(settings: Settings) -> Trouble:
    if not settings.ingress.enabled:
        return None
    look = f"systemctl status {units.INGRESS}; journalctl -u {units.INGRESS} -u {units.AGENT}"
    tls = settings.ingress.tls != "off"
    own = pwd.getpwnam("rustploy-ingress").pw_uid
    for port in [settings.ingress.http_port, *([settings.ingress.https_port] if tls else [])]:
        owners = sockets.owners(port)
        if owners - {own}:
            return (
                f"another program listens on port {port}",
                f"ss -ltnp sport = :{port}; stop it, or choose another port below ingress in agent.yaml",
            )
        if not owners:
            return f"it does not listen on port {port}", look
    if _health(settings).get("ingress") == "down":
        return "it does not serve what it should", f"journalctl -u {units.AGENT} -g ingress -n 5 says why"
    return None


def _health(settings: Settings) -> dict[str, str]:
    """What the agent says of itself; nothing when it does not answer, which is another check's trouble."""
    host, port = listening.addresses(settings)[0]
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", "/health")
        found: dict[str, str] = json.loads(connection.getresponse().read())
        return found
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


def _bus(settings: Settings) -> Trouble:
    """Root's systemctl does without D-Bus; the agent cannot."""
    try:
        process.run(["busctl", "--system", f"--timeout={BUS_SECONDS}", "call", *LIST_UNITS], seconds=2 * BUS_SECONDS)
    except process.ProcessFailed:
        return (
            "systemd does not answer there, so nothing can be deployed",
            "systemctl status dbus; systemctl restart dbus",
        )
    if _health(settings).get("systemd") == "down":
        return "the agent does not reach systemd there", f"journalctl -u {units.AGENT} -g D-Bus -n 5 says why"
    return None


def _caddy(_: Settings) -> Trouble:
    state = process.run(["systemctl", "show", "--property=ActiveState", "--value", "caddy.service"], seconds=10).strip()
    if state == "active" and sockets.owners(2019):
        return (
            "caddy.service has its admin API on TCP port 2019, where every app on this host can reconfigure it",
            "put `admin off` into /etc/caddy/Caddyfile and restart caddy, or systemctl disable --now caddy",
        )
    return None


def _descriptors(_: Settings) -> Trouble:
    shown = process.run(["systemctl", "show", "--property=MainPID", "--value", units.AGENT], seconds=10).strip()
    if shown == "0":
        return None  # it does not run, which is another check's trouble
    used, most = descriptors.of_process(int(shown))
    if used < most - descriptors.KEPT:
        return None
    return (
        f"{used} of {most} are used, and the agent refuses connections",
        f"ls -l /proc/{shown}/fd shows for what; systemctl restart {units.AGENT} ends what leaked,"
        " a smaller listen.connections in agent.yaml what clients hold",
    )


def _user(_: Settings) -> Trouble:
    return None if os.geteuid() == 0 else ("not run as root", "run it as root: rustploy-agent doctor")


CHECKS: dict[str, Callable[[Settings], Trouble]] = {
    "run by root": _user,
    "units": _units,
    "failed units": _failed_units,
    "D-Bus": _bus,
    "polkit rule": _polkit,
    "journal access": _journal,
    "state directory": _state,
    "database": _database,
    "key of secrets": _key,
    "disk space": _disk,
    "limits of apps": _limits,
    "builds of apps": _builds,
    "git": _git,
    "API port": _port,
    "file descriptors": _descriptors,
    "ingress": _ingress,
    "Caddy's admin API": _caddy,
    "ports of apps": reach.app_ports,
    "name servers": reach.name_servers,
}
