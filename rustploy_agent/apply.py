"""Root's only program: renders the users, directories and units of the apps that the agent wishes for.

It reads agent/desired.json as untrusted input and refuses what does not keep to docs/architecture.md, each app on its
own; a file that is wrong as a whole it refuses as a whole, with exit status 1. Killed at any point, the next run
completes it. Standard library only, and no heavy part of it: every deployment waits for this program.
"""
# pathlib takes as long to load as everything else here together.
# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH110, PTH112, PTH120, PTH123

from __future__ import annotations

import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import sys

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Check = Callable[[Any, str], Any]  # (value, where it stands) -> the value, or Refused

LONGEST = 1024 * 1024
STATE = "/var/lib/rustploy"
DESIRED, RESULT, RELOAD = f"{STATE}/agent/desired.json", f"{STATE}/apply/result.json", f"{STATE}/apply/reload-pending"
UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/rustploy-apps.target.wants"
TEMPLATE = "/usr/lib/systemd/system/rustploy-app@.service"
SYSUSERS, TMPFILES = "/etc/sysusers.d/rustploy-apps.conf", "/etc/tmpfiles.d/rustploy-apps.conf"
HEADER = "# Written by rustploy-apply; changes are overwritten.\n"
NOLOGIN = "/usr/sbin/nologin"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
UNIT = re.compile(r"(rustploy-(?:app@([a-z0-9-]+)-[a-z0-9]+-[ab]|(?:fetch|build|task)@([a-z0-9-]+))\.service)\.d")


class Refused(Exception):
    """Something that will not be done; the text names it and says what would be right."""


# --- what the agent may wish for


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


NAME = text(r"(?!.*--)[a-z](?:[a-z0-9-]{0,25}[a-z0-9])?")
UUID = text(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SLOT = record({"port": maybe(integer(1024, 65535)), "deployment_id": maybe(UUID)})
PROCESS = record({
    "type": text(r"[a-z][a-z0-9]{0,15}"),
    "memory_max_bytes": integer(16 << 20, 1 << 40),
    "cpu_quota_percent": integer(1, 102400),
    "tasks_max": integer(4, 65536),
    "slots": record({"a": SLOT, "b": SLOT}),
})
APP = record(
    {"name": NAME, "processes": several(PROCESS, 16), "remove_slugs": several(UUID, 1000)},
    {"deployment_id": maybe(UUID)},
)
PORTS = record({"first": integer(1, 65535), "last": integer(1, 65535)})
WISH = record(
    {"version": integer(1, 1), "apps": several(lambda app, where: app, 400), "remove_apps": several(NAME, 400)},
    {"deny_ports": several(PORTS, 16)},
)


def parse(data: bytes) -> dict[str, Any]:
    """The wish, in which only the apps are still unchecked."""
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return dict(pairs)

    try:
        return WISH(json.loads(data.decode("utf-8"), object_pairs_hook=unique), "desired.json")  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise Refused(f"desired.json must be JSON in UTF-8: {error}") from None


def ports(app: dict[str, Any]) -> list[int]:
    found = [slot["port"] for process in app["processes"] for slot in process["slots"].values()]
    return [port for port in found if port is not None]


def checked(wish: dict[str, Any], refused: dict[str, str]) -> list[dict[str, Any]]:
    """The apps that keep to the contract and do not clash; the others are `refused`, each with its reason."""
    apps, names = [], [raw.get("name") if type(raw) is dict else None for raw in wish["apps"]]
    for index, raw in enumerate(wish["apps"]):
        try:
            apps.append(APP(raw, f"apps[{index}]"))
        except Refused as error:
            refused[f"{names[index] or f'apps[{index}]'}"[:80]] = str(error)
    taken = [port for app in apps for port in ports(app)]
    for app in apps:
        name, types = app["name"], [process["type"] for process in app["processes"]]
        if names.count(name) > 1 or name in wish["remove_apps"]:
            refused[name] = "name must stand only once in apps and remove_apps"
        elif len(set(types)) != len(types):
            refused[name] = "processes must each have a type of their own"
        elif any(taken.count(port) > 1 for port in ports(app)):
            refused[name] = "port must be one that no other slot has"
    return [app for app in apps if app["name"] not in refused]


# --- what is rendered: pure functions


def drop_in_path(unit: str) -> str:
    return f"{UNITS}/{unit}.d/50-rustploy.conf"


def accounts(name: str) -> list[tuple[str, str, str]]:
    """(user, GECOS, home) of an app."""
    home = f"{STATE}/apps/{name}"
    return [
        (f"rp-{name}", f"rustploy app {name}", f"{home}/data"),
        (f"rpb-{name}", f"rustploy build {name}", f"{home}/cache"),
    ]


def directories(name: str) -> list[tuple[str, str, str, str]]:
    """(path, mode, user, group) of an app."""
    home, run, build = f"{STATE}/apps/{name}", f"rp-{name}", f"rpb-{name}"
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
    return "\n".join([f"{HEADER}[Unit]", *conditions, "", "[Service]", *lines, *service, ""])


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
        for key, slot in process["slots"].items():
            unit = f"{process['type']}-{key}"
            texts[f"rustploy-app@{name}-{unit}.service"] = launched(wish, name, unit, process, slot)
    if app["processes"]:
        task = max(app["processes"], key=lambda process: process["memory_max_bytes"]) | {"type": "release"}
        slot = {"port": None, "deployment_id": app["deployment_id"]}
        texts[f"rustploy-task@{name}.service"] = launched(wish, name, "task", task, slot)
    for kind, own in (("fetch", "mirror"), ("build", "cache")):
        binds = [f"BindReadOnlyPaths={home}/jobs", f"BindPaths={home}/slugs {home}/results {home}/{own}"]
        texts[f"rustploy-{kind}@{name}.service"] = drop_in(wish, name, kind, f"rpb-{name}", binds, [])
    return texts


# --- the machine


class Host:
    """What apply reads and changes. Tests give it another root, other accounts, and commands that are only noted."""

    root = ""

    def user(self, name: str) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            return None

    def group(self, name: str) -> grp.struct_group | None:
        try:
            return grp.getgrnam(name)
        except KeyError:
            return None

    def run(self, *argv: str) -> None:
        if os.spawnve(os.P_WAIT, argv[0], argv, ENVIRONMENT) != 0:
            raise Refused(f"`{' '.join(argv)}` failed; the journal of rustploy-apply.service says why")

    def read(self, path: str) -> str:
        try:
            with open(self.root + path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, path: str, content: str, mode: int = 0o644, group: int = -1) -> None:
        """Whole or not at all, and on the disk."""
        directory, name = os.path.split(self.root + path)
        if not os.path.isdir(directory):
            os.makedirs(directory)
            sync(os.path.dirname(directory))
        with open(f"{directory}/.{name}.new", "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{directory}/.{name}.new", self.root + path)
        sync(directory)

    def remove(self, path: str) -> None:
        try:
            os.unlink(self.root + path)
            sync(os.path.dirname(self.root + path))
        except FileNotFoundError:
            pass

    def has_directory(self, path: str, owner: str) -> bool:
        """A real one, no link to one, and that user's."""
        user = self.user(owner)
        try:
            found = os.lstat(self.root + path)
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(found.st_mode) and user is not None and found.st_uid == user.pw_uid

    def rendered(self) -> dict[str, str]:
        """Unit -> app, for every drop-in that stands there."""
        found = [match for name in os.listdir(self.root + UNITS) if (match := UNIT.fullmatch(name))]
        return {match[1]: match[2] or match[3] for match in found if os.path.exists(self.root + drop_in_path(match[1]))}

    def known(self) -> set[str]:
        """The apps whose users and directories have been rendered."""
        return {*re.findall(r"^u rp-([a-z0-9-]+) ", self.read(SYSUSERS), re.MULTILINE),
                *re.findall(rf"^d {STATE}/apps/([a-z0-9-]+) ", self.read(TMPFILES), re.MULTILINE)}


def sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the steps


def check_accounts(host: Host, name: str) -> None:
    """Refused if a user or group of the app's names exists that apply did not make."""
    for account, gecos, home in accounts(name):
        user, group = host.user(account), host.group(account)
        foreign_user = user and (user.pw_gecos, user.pw_dir, user.pw_shell) != (gecos, home, NOLOGIN)
        foreign_group = (group and group.gr_mem) or (user and (not group or group.gr_gid != user.pw_gid))
        ids = [user.pw_uid if user else 1, group.gr_gid if group else 1]
        if foreign_user or foreign_group or not all(0 < number < 1000 for number in ids):
            raise Refused(f"user or group {account} exists with another purpose; choose another name for the app")


def is_provided(host: Host, name: str) -> bool:
    return all(host.user(user) for user, _, _ in accounts(name)) and all(
        host.has_directory(path, owner) for path, _, owner, _ in directories(name))


def provide(host: Host, names: set[str]) -> None:
    """Users and directories for these apps; apps that are not named keep theirs."""
    known = sorted(host.known() | names)
    if all(is_provided(host, name) for name in names) and known == sorted(host.known()):
        return
    host.write(SYSUSERS, sysusers(known))
    host.write(TMPFILES, tmpfiles(known))
    for argv in (["/usr/bin/systemd-sysusers", SYSUSERS], ["/usr/bin/systemd-tmpfiles", "--create", TMPFILES]):
        try:
            host.run(*argv)
        except Refused as error:  # what it did do stands; whose things are missing is seen app by app
            sys.stderr.write(f"{error}\n")


def render(host: Host, texts: dict[str, str], stale: list[str]) -> None:
    unrender(host, stale)
    for unit, content in texts.items():
        if host.read(drop_in_path(unit)) != content:
            host.write(RELOAD, "")
            host.write(drop_in_path(unit), content)
        link = f"{WANTS}/{unit}"
        if unit.startswith("rustploy-app@") and not os.path.lexists(host.root + link):
            os.makedirs(host.root + WANTS, exist_ok=True)
            os.symlink(TEMPLATE, host.root + link)
            sync(host.root + WANTS)


def unrender(host: Host, names: list[str]) -> None:
    if names:
        host.run("/usr/bin/systemctl", "stop", *names)
        host.write(RELOAD, "")
    for unit in names:
        host.remove(f"{WANTS}/{unit}")
        host.remove(drop_in_path(unit))
        if not os.listdir(os.path.dirname(host.root + drop_in_path(unit))):  # an operator may have added to it
            os.rmdir(os.path.dirname(host.root + drop_in_path(unit)))


def remove_tree(host: Host, path: str) -> None:
    """Never follows a link: nobody but root can replace what stands before the last part of `path`."""
    if os.path.lexists(host.root + path):
        host.run("/usr/bin/rm", "-rf", "--one-file-system", "--", host.root + path)


def remove_app(host: Host, name: str) -> None:
    """What is left once its units are gone. The lines that tell of the app go last: a broken-off run starts again."""
    if name not in host.known():
        return
    check_accounts(host, name)
    remove_tree(host, f"{STATE}/apps/{name}")
    for account, _, _ in accounts(name):
        if host.user(account):
            host.run("/usr/sbin/userdel", account)
        if host.group(account):
            host.run("/usr/sbin/groupdel", account)
    known = sorted(host.known() - {name})
    host.write(TMPFILES, tmpfiles(known))
    host.write(SYSUSERS, sysusers(known))


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


def fulfil(host: Host, wish: dict[str, Any]) -> dict[str, Any]:
    """Make the machine as wished; what came of it, as result.json has it."""
    refused: dict[str, str] = {}
    apps = {app["name"]: app for app in checked(wish, refused)}
    names = each(apps, refused, lambda name: check_accounts(host, name))
    provide(host, set(names))

    def build(name: str) -> None:
        if not is_provided(host, name):
            raise Refused("its users and directories could not be made; the journal of rustploy-apply.service says why")
        texts = units(wish, apps[name])
        render(host, texts, [unit for unit in before if before[unit] == name and unit not in texts])

    before = host.rendered()
    names = each(names, refused, build)
    going = each(wish["remove_apps"], refused, lambda name: unrender(host, [u for u in before if before[u] == name]))
    if os.path.exists(host.root + RELOAD):
        host.run("/usr/bin/systemctl", "daemon-reload")
        host.remove(RELOAD)
    gone = each(going, refused, lambda name: remove_app(host, name))
    slugs = {slug: f"{STATE}/apps/{name}/slugs/{slug}" for name in names for slug in apps[name]["remove_slugs"]}
    slugs_gone = each(slugs, {}, lambda slug: remove_tree(host, slugs[slug]))
    outcome = {name: {"ok": name not in refused, "error": refused.get(name)} for name in [*names, *refused]}
    return {"apps": outcome, "removed_apps": gone, "removed_slugs": slugs_gone}


def desired(host: Host) -> bytes:
    """The agent's file, if nobody else can have put it there."""
    owner = host.user("rustploy")
    try:
        descriptor = os.open(host.root + DESIRED, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if owner is None or found.st_uid != owner.pw_uid or not stat.S_ISREG(found.st_mode):
                raise Refused("desired.json must be a regular file that belongs to user rustploy")
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise Refused(f"desired.json must be readable: {error.strerror}") from None
    if len(data) > LONGEST:
        raise Refused(f"desired.json must have at most {LONGEST} bytes")
    return data


def main(host: Host) -> int:
    """0 when the file was carried out, though single apps may have been refused; 1 when it was refused as a whole."""
    lock = os.open(os.path.dirname(host.root + RESULT), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    result: dict[str, Any] = {"desired_sha256": None, "ok": True, "error": None}
    result |= {"apps": {}, "removed_apps": [], "removed_slugs": []}
    try:
        data = desired(host)
        result["desired_sha256"] = hashlib.sha256(data).hexdigest()
        result |= fulfil(host, parse(data))
    except (Refused, OSError) as error:
        result |= {"ok": False, "error": str(error)}
        sys.stderr.write(f"desired state refused: {error}\n")
    for name, app in result["apps"].items():
        if app["error"]:
            sys.stderr.write(f"app {name!r} refused: {app['error']}\n")
    agent = host.group("rustploy")
    host.write(RESULT, json.dumps(result) + "\n", 0o640, agent.gr_gid if agent else -1)
    os.close(lock)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(Host()))
