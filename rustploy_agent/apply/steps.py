"""The steps of a run, from the agent's file to the answer."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sys

from rustploy_agent.apply import firewall, rendering, wish
from rustploy_agent.apply.changes import Changes
from rustploy_agent.apply.host import Host
from rustploy_agent.apply.rendering import STATE, TRASH, UNITS
from rustploy_agent.apply.wish import Refused

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

DESIRED, RESULT = f"{STATE}/agent/desired.json", f"{STATE}/apply/result.json"
CEILINGS = f"{STATE}/apply/ceilings.json"
SYSUSERS, TMPFILES = "/etc/sysusers.d/rustploy-apps.conf", "/etc/tmpfiles.d/rustploy-apps.conf"
#: An earlier version started the apps at boot by links in there, which kept all units loaded.
APPS = "rustploy-apps.target"
WANTS = f"{UNITS}/{APPS}.wants"
SWEEP = "rustploy-sweep.service"
INSTANCE = "[a-z0-9]+-[ab](?:[2-9]|1[0-6])?"
UNIT = re.compile(rf"(rustploy-(?:app@([a-z0-9-]+)-{INSTANCE}|(?:fetch|build|task)@([a-z0-9-]+))\.service)\.d")


def known(host: Host) -> set[str]:
    """The apps whose users and directories have been rendered."""
    users = re.findall(r"^u rp-([a-z0-9-]+) ", host.read(SYSUSERS), re.MULTILINE)
    return {*users, *re.findall(rf"^d {STATE}/apps/([a-z0-9-]+) ", host.read(TMPFILES), re.MULTILINE)}


def rendered(host: Host) -> dict[str, str]:
    """Unit -> app, for every directory of drop-ins."""
    found = [match for name in os.listdir(host.root + UNITS) if (match := UNIT.fullmatch(name))]
    return {match[1]: match[2] or match[3] for match in found}


def check_accounts(host: Host, app: str) -> None:
    """Refused if a user or group of the app's names exists that apply did not make."""
    for account, gecos, home in rendering.accounts(app):
        user, group = host.user(account), host.group(account)
        foreign_user = user and (user.pw_gecos, user.pw_dir, user.pw_shell) != (gecos, home, rendering.NOLOGIN)
        foreign_group = (group and group.gr_mem) or (user and (not group or group.gr_gid != user.pw_gid))
        ids = [user.pw_uid if user else 1, group.gr_gid if group else 1]
        if foreign_user or foreign_group or not all(0 < number < 1000 for number in ids):
            raise Refused(f"user or group {account} exists with another purpose; choose another name for the app")


def clear_half_removed(host: Host, account: str) -> None:
    """Of an account that is gone from passwd or group, take what is left in shadow or gshadow.

    userdel writes one file after the other. Killed in between it leaves an entry that systemd-sysusers repeats when the
    account comes back, and of a repeated entry userdel only says that an administrator has to mend it.
    """
    for file, find, tool in (("/etc/shadow", host.user, "pwconv"), ("/etc/gshadow", host.group, "grpconv")):
        if not find(account) and re.search(rf"^{re.escape(account)}:", host.read(file), re.MULTILINE):
            host.run(f"/usr/sbin/{tool}")


def claim_accounts(host: Host, app: str, taken: set[str]) -> None:
    """`taken` are the apps that have theirs. A wish names no more than so many, but others may be named in each run."""
    if app not in taken and len(taken) >= wish.MOST_APPS:
        raise Refused(f"there are {wish.MOST_APPS} apps already, which is as many as there can be")
    check_accounts(host, app)
    for account, _, _ in rendering.accounts(app):
        clear_half_removed(host, account)
    taken.add(app)


def claim_instances(app: dict[str, Any], held: dict[str, int]) -> None:
    """`held` are the units of each app's instances, of apps that this wish does not name too. Fewer is always right."""
    name, units = app["name"], 2 * wish.count_instances(app)
    total = sum(held.values()) - held.get(name, 0) + units
    if units > held.get(name, 0) and total > 2 * wish.MOST_HOST_INSTANCES:
        raise Refused(f"all apps together must have at most {wish.MOST_HOST_INSTANCES} instances, not {total // 2}")
    held[name] = units


def is_provided(host: Host, app: str, *, usable: bool = False) -> bool:
    """`usable`: nor has a build, which owns some of the directories, shut others or itself out of them."""
    for path, mode, name, _ in rendering.directories(app):
        user, found = host.user(name), host.directory(path)
        if not user or not found or found[0] != user.pw_uid:
            return False
        if usable and name == rendering.build_user(app) and found[1] != int(mode, 8):
            return False
    return True


def provide(host: Host, apps: set[str]) -> None:
    """Users and directories for these apps; apps that are not named keep theirs."""
    before = known(host)
    if apps <= before and all(is_provided(host, app, usable=True) for app in apps):
        return
    host.write(SYSUSERS, rendering.sysusers(sorted(before | apps)))
    host.write(TMPFILES, rendering.tmpfiles(sorted(before | apps)))
    for argv in (["/usr/bin/systemd-sysusers", SYSUSERS], ["/usr/bin/systemd-tmpfiles", "--create", TMPFILES]):
        try:
            host.run(*argv)
        except Refused as error:  # what it did do stands; whose things are missing is seen app by app
            sys.stderr.write(f"{error}\n")


def render(host: Host, texts: dict[str, str], changes: Changes) -> None:
    for unit, content in texts.items():
        if host.read(rendering.drop_in_path(unit)) != content:
            changes.note(unit)
            host.write(rendering.drop_in_path(unit), content)


def unrender(host: Host, units: list[str], changes: Changes) -> None:
    """Stop these units and remove what apply rendered for them; an operator's own drop-ins stay."""
    ours = [unit for unit in units if host.read(rendering.drop_in_path(unit))]
    if ours:
        host.systemctl("stop", *ours)
    for unit in ours:
        changes.note(unit)
    for unit in units:
        host.remove(rendering.drop_in_path(unit))
        host.remove_directory(f"{UNITS}/{unit}.d")


def unlink_wants(host: Host, changes: Changes) -> None:
    """Remove apps' links of an earlier version; an operator's own stay.

    systemd does not say that a target's links have changed, so it is reloaded in any case.
    """
    for unit in host.entries(WANTS):
        if not unit.startswith("rustploy-app@"):
            continue
        changes.note(APPS)
        changes.outdated = True
        host.remove(f"{WANTS}/{unit}")


def remove_account(host: Host, account: str) -> None:
    for tool, find in (("/usr/sbin/userdel", host.user), ("/usr/sbin/groupdel", host.group)):
        try:
            if find(account):
                host.run(tool, account)
        except Refused:
            if find(account):  # else the tool of a run that was killed got there first
                raise
    clear_half_removed(host, account)


def remove_app(host: Host, app: str) -> None:
    """What is left once its units are gone. The lines that tell of the app go last: a broken-off run starts again."""
    before = known(host)
    if app not in before:
        return
    check_accounts(host, app)
    host.put_aside(f"{STATE}/apps/{app}", TRASH)
    for account, _, _ in rendering.accounts(app):
        remove_account(host, account)
    host.write(TMPFILES, rendering.tmpfiles(sorted(before - {app})))
    host.write(SYSUSERS, rendering.sysusers(sorted(before - {app})))


def ports_of_others(host: Host, before: dict[str, str], named: set[str]) -> dict[str, list[int]]:
    """Of apps that this wish does not name, or that were refused: their units are as an earlier run rendered them."""
    found: dict[str, list[int]] = {}
    for unit, app in before.items():
        if app not in named:
            text = host.read(rendering.drop_in_path(unit))
            found.setdefault(app, []).extend(map(int, re.findall(r"^SocketBindAllow=tcp:(\d+)$", text, re.MULTILINE)))
    return found


def each(names: Iterable[str], refused: dict[str, str], step: Callable[[str], None]) -> list[str]:
    """The names for which the step went well; the others are `refused`, and every later step leaves them alone."""
    done = []
    for name in names:
        try:
            step(name)
            done.append(name)
        except (Refused, OSError) as error:
            refused[name] = str(error)
    return done


def fulfil(host: Host, desired: dict[str, Any]) -> dict[str, Any]:
    """Make the machine as wished; what came of it, by app."""
    refused: dict[str, str] = {}
    apps = {app["name"]: app for app in wish.checked(desired, refused, wish.ceilings(host.read(CEILINGS)))}
    taken = known(host)
    before, changes = rendered(host), Changes(host)
    unlink_wants(host, changes)
    held: dict[str, int] = {}
    for unit, name in before.items():
        held[name] = held.get(name, 0) + unit.startswith("rustploy-app@")
    shrinking_first = sorted(apps, key=lambda name: 2 * wish.count_instances(apps[name]) - held.get(name, 0))
    names = each(shrinking_first, refused, lambda name: claim_instances(apps[name], held))
    names = each(names, refused, lambda name: claim_accounts(host, name, taken))
    provide(host, set(names))

    def update(name: str) -> None:
        if not is_provided(host, name):
            raise Refused("its users and directories could not be made; the journal of rustploy-apply.service says why")
        texts = rendering.units(desired, apps[name])
        unrender(host, [unit for unit in before if before[unit] == name and unit not in texts], changes)
        render(host, texts, changes)

    names = each(names, refused, update)
    render(host, rendering.slices(desired), changes)
    going = desired["remove_apps"]
    going = each(
        going, refused, lambda name: unrender(host, [unit for unit in before if before[unit] == name], changes)
    )
    changes.tell_systemd()
    ports = {name: wish.ports(apps[name]) for name in names} | ports_of_others(host, before, {*names, *going})
    firewall.update(host, known(host) - set(going), ports, desired["closed_ports"] or [])
    gone = each(going, refused, lambda name: remove_app(host, name))
    slugs = {slug: f"{STATE}/apps/{name}/slugs/{slug}" for name in names for slug in apps[name]["remove_slugs"]}
    slugs_gone = each(slugs, {}, lambda slug: host.put_aside(slugs[slug], TRASH))
    outcome = {name: {"ok": name not in refused, "error": refused.get(name)} for name in [*names, *refused]}
    return {"apps": outcome, "removed_apps": gone, "removed_slugs": slugs_gone}


def carry_out(host: Host) -> dict[str, Any]:
    """Read the desired state and fulfil it; what came of it, as result.json has it."""
    result: dict[str, Any] = {"desired_sha256": None, "ok": True, "error": None}
    result |= {"apps": {}, "removed_apps": [], "removed_slugs": []}
    try:
        data = host.read_untrusted(DESIRED, "rustploy")
        result["desired_sha256"] = hashlib.sha256(data).hexdigest()
        result |= fulfil(host, wish.parse(data))
    except (Refused, OSError) as error:
        result |= {"ok": False, "error": str(error)}
        sys.stderr.write(f"desired state refused: {error}\n")
    for name, app in result["apps"].items():
        if app["error"]:
            sys.stderr.write(f"app {name!r} refused: {app['error']}\n")
    return result


def start_sweep(host: Host) -> None:
    """What was put aside, in this run or in one before a reboot, is removed without anybody waiting for it."""
    if host.entries(TRASH):
        try:
            host.systemctl("--no-block", "start", SWEEP)
        except Refused as error:
            sys.stderr.write(f"{error}\n")


def main(host: Host) -> int:
    """0 when the file was carried out, though single apps may have been refused; 1 when it was refused as a whole."""
    lock = os.open(f"{host.root}{STATE}/apply", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.lexists(host.root + DESIRED):  # a new agent has not wished for anything yet
            return 0
        result, agent = carry_out(host), host.group("rustploy")
        host.write(RESULT, json.dumps(result) + "\n", 0o640, agent.gr_gid if agent else -1)
        return 0 if result["ok"] else 1
    finally:
        start_sweep(host)
        os.close(lock)
