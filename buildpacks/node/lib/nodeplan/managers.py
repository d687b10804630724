"""Which package manager installs an app, at which version, by its lock file and package.json."""

from __future__ import annotations

import json
import re
from collections import namedtuple

from nodeplan import noderange, nodeversion
from nodeplan.packagefile import Wrong, parse, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nodeplan.noderange import Interval

#: `tool`: npm, pnpm, yarn (1), berry or bun; `spec`: the npm package that carries it, empty: what is there.
Manager = namedtuple("Manager", "tool spec lockfile")
#: Asked in this order; rustploy_agent/builder/detection.py has the same one, and a test compares them.
LOCKFILES = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("npm-shrinkwrap.json", "npm"),
    ("package-lock.json", "npm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
)
PINNED = re.compile(r"(npm|pnpm|yarn|bun)@v?(\d+(?:\.\d+){0,2}[0-9A-Za-z.-]*)")
RANGE = re.compile(r"[\^~<>=v0-9x.* |-]{1,60}")


def choose(package: dict[str, Any], locks: dict[str, bytes], yarnrc: bool) -> Manager:
    """Return the manager; `locks` has the content of each lock file.

    Wrong for the lock files of two tools between which packageManager does not decide.
    """
    asked, version = pinned(package)
    present = [(name, tool) for name, tool in LOCKFILES if name in locks]
    tools = sorted({tool for _, tool in present})
    if asked and present and asked not in tools:
        raise Wrong(
            f"package.json names {asked} as packageManager and the repository has {present[0][0]} only; "
            f"commit the lock file of {asked}, or name {tools[0]}"
        )
    if not asked and len(tools) > 1:
        raise Wrong(
            f"two lock files: {' and '.join(name for name, _ in present)}; delete those that are out of date, "
            'or name the tool in package.json as "packageManager"'
        )
    tool = asked or (tools[0] if tools else "npm")
    lockfile = next((name for name, of in present if of == tool), "")
    lock = locks.get(lockfile, b"")
    if tool == "yarn" and is_berry(version, lock, yarnrc):
        return Manager("berry", _berry(version, lock), lockfile)
    return Manager(tool, _spec(tool, version, package, lock), lockfile)


def pinned(package: dict[str, Any]) -> tuple[str, str]:
    """Return the tool and version of packageManager or volta; two empty texts when neither names one."""
    match = PINNED.match(str(package.get("packageManager", "")))
    if match:
        return match[1], match[2]
    volta = strings(package.get("volta"))
    return next(((tool, volta[tool]) for tool in ("pnpm", "yarn") if tool in volta), ("", ""))


def is_berry(version: str, lock: bytes, yarnrc: bool) -> bool:
    """Yarn 2 or newer writes __metadata into its lock file; Yarn 1 says v1 in the first lines."""
    if version:
        return not re.match(r"[01](?:\.|$)", version)
    return b"\n__metadata:" in lock or (yarnrc and b"yarn lockfile v1" not in lock)


def _berry(version: str, lock: bytes) -> str:
    found = re.search(rb"\n__metadata:\n\s+version: (\d+)", lock)
    line = "3" if found and int(found[1]) <= 6 else "4"
    return f"@yarnpkg/cli-dist@{version or line}"


def _spec(tool: str, version: str, package: dict[str, Any], lock: bytes) -> str:
    asked = version or _bounded(strings(package.get("engines")).get(tool, "").strip())
    if tool == "npm":
        return f"npm@{asked}" if asked else ""
    if tool == "yarn":
        return f"yarn@{version}" if version else "yarn@1"
    if asked:
        return f"{tool}@{asked}"
    return "bun@1" if tool == "bun" else f"pnpm@{_pnpm(lock)}"


def _bounded(asked: str) -> str:
    """Return a range of engines that has an end: the newest version in `>=6` runs on no old node."""
    if not RANGE.fullmatch(asked):
        return ""
    try:
        ranges = noderange.parse(asked)
    except ValueError:
        return ""
    return asked if ranges and all(each.high < noderange.ENDLESS for each in ranges) else ""


def _pnpm(lock: bytes) -> str:
    """Each line of pnpm reads its own lock files; the newest one runs on current node only."""
    found = re.search(rb"(?m)^lockfileVersion:\s*'?(\d+)\.(\d+)", lock)
    lines = {b"5": "7", b"6": "8", b"9": "9"}
    return lines.get(found[1], "10") if found else "10"


def for_workspace(manager: Manager, workspace: bytes) -> Manager:
    """pnpm 9 wants `packages` in pnpm-workspace.yaml; only 10 takes a file with nothing but settings."""
    if workspace.strip() and manager.spec == "pnpm@9" and b"packages:" not in workspace:
        return manager._replace(spec="pnpm@10")
    return manager


def check_lock(manager: Manager, lock: bytes) -> None:
    """Refuse a lock file that its tool could not read: the tool's own message does not name the file."""
    if not manager.lockfile or manager.tool not in ("npm", "pnpm"):
        return
    if not lock.strip():
        raise Wrong(
            f"{manager.lockfile} is empty; run `{manager.tool} install` and commit what it writes, or delete it"
        )
    if re.search(rb"(?m)^<{7} ", lock):
        raise Wrong(f"{manager.lockfile} has git's conflict markers in it; resolve them and commit it again")
    if manager.tool == "npm" and "lockfileVersion" not in parse(lock.decode("utf-8-sig", "replace"), manager.lockfile):
        raise Wrong(f"{manager.lockfile} has no lockfileVersion; run `npm install` and commit what it writes")


def engines(manager: Manager, lock: bytes) -> list[list[Interval]]:
    """Return the versions of node that the locked packages ask for, as far as the lock file says it."""
    if manager.tool == "npm":
        asked = _npm_engines(lock)
    elif manager.tool == "pnpm":
        asked = {match.decode("utf-8", "replace") for match in re.findall(rb"engines: \{node: '?([^'},]+)", lock)}
    else:
        asked = set()
    found = []
    for text in sorted(asked):
        try:
            found.append(noderange.parse(text))
        except ValueError:
            continue
    return found


def _npm_engines(lock: bytes) -> set[str]:
    try:
        packages = json.loads(lock.decode("utf-8-sig", "replace")).get("packages")
    except (ValueError, RecursionError, AttributeError):
        return set()
    found = set()
    for place, about in packages.items() if isinstance(packages, dict) else ():
        if place and isinstance(about, dict) and not about.get("optional"):
            found.add(strings(about.get("engines")).get("node", ""))
    return found - {""}


def node_without_wish(manager: Manager, lock: bytes, host: str) -> int | None:
    """Return the line of node to fetch when the app asks for none; None: the host's will do.

    The newest line with long-term support on which most of the locked packages run; the host's if as many run on it.
    """
    asked = engines(manager, lock)
    lines = [line for line in sorted(nodeversion.LTS.values(), reverse=True) if line >= 12]
    known = [(_running((line, 10**5, 0), asked), line) for line in lines]
    best, line = max(known, key=lambda each: each[0])
    if not host:
        return line
    version = noderange.version(host)
    if asked:
        return None if _running(version, asked) >= best else line
    return None if version[0] >= nodeversion.OLDEST_UNASKED else line


def _running(version: noderange.Version, asked: list[list[Interval]]) -> int:
    return sum(nodeversion.fits(version, ranges) for ranges in asked)
