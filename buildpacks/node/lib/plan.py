"""What to do with a Node app: reads package.json and prints shell assignments for bin/compile.

`run BUILD_DIR HOST_NODE_VERSION`, the version empty when the host has no node, `unasked` when nothing depends on it.
What is slow to load is loaded where it is needed: small deployments wait for this program.
Names printed: node_specifier (for pip; empty: the host's node will do), manager, install (none, locked or loose),
omit_dev, has_build, prune, cacheable, cache_key, start.
"""

from __future__ import annotations

import json
import os
import re
import sys

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from typing import Any

LOCKFILES = (
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
)
DEPENDENCIES = ("dependencies", "optionalDependencies", "devDependencies")
LIFECYCLE = ("preinstall", "install", "postinstall", "prepare")
DEFAULT_SPECIFIER = ">=22"
BUILTINS = frozenset("cd export set . source if while for case exec eval test [ { ! : unset ulimit umask trap".split())


class Wrong(Exception):
    """package.json says something that cannot be done; the message says what would be right."""


def plan(package: dict[str, Any], files: frozenset[str], host_version: str, lock: bytes = b"") -> dict[str, str]:
    """The assignments. `files`: names at the top of the repository; `lock`: the lock file's content."""
    scripts = _strings(package.get("scripts"))
    lockfile, manager = next(((name, tool) for name, tool in LOCKFILES if name in files), (None, "npm"))
    has_dev, wanted = bool(package.get("devDependencies")), any(package.get(kind) for kind in DEPENDENCIES)
    build = "build" in scripts
    needed = wanted or bool(package.get("workspaces"))
    install = "none" if not needed else "locked" if lockfile else "loose"
    cacheable = install == "locked" and _cacheable(package, scripts)
    return {
        "node_specifier": node_specifier(package, host_version),
        "manager": manager,
        "install": install,
        "omit_dev": _flag(not build),
        "has_build": _flag(build),
        "prune": _flag(build and has_dev and install != "none"),
        "cacheable": _flag(cacheable),
        "cache_key": cache_key(package, lock) if cacheable else "",
        "start": start_command(package, scripts, files),
    }


def node_specifier(package: dict[str, Any], host_version: str) -> str:
    """Empty when the host's node is in the range of engines.node, or there is no range."""
    asked = _strings(package.get("engines")).get("node", "").strip()
    if not asked:
        return "" if host_version else DEFAULT_SPECIFIER
    import noderange

    try:
        intervals = noderange.parse(asked)
    except ValueError as error:
        raise Wrong(f"package.json: engines.node: {error}") from None
    if not intervals:
        raise Wrong(f"package.json: engines.node: no version is in {asked!r}")
    if host_version and any(noderange.version(host_version) in interval for interval in intervals):
        return ""
    return max(intervals).pip_specifier()


def start_command(package: dict[str, Any], scripts: dict[str, str], files: frozenset[str]) -> str:
    """What `npm start` would run, without npm staying in memory beside the app."""
    if "start" in scripts:
        command = _without_npm(scripts["start"], scripts)
        if "prestart" in scripts:
            return f"{_without_npm(scripts['prestart'], scripts)} && {command}"
        return with_exec(command)
    if "server.js" in files:
        return "exec node server.js"
    main = package.get("main")
    if isinstance(main, str) and re.fullmatch(r"[A-Za-z0-9_./-]+", main) and not main.startswith("-"):
        return f"exec node {main}"
    return "exec node index.js" if "index.js" in files else ""


def with_exec(command: str) -> str:
    """Without a shell waiting beside it, when the command is a single program."""
    first = command.split(maxsplit=1)[0] if command.split() else ""
    single = re.fullmatch(r"[A-Za-z0-9_./@-]+", first) and first not in BUILTINS
    return f"exec {command}" if single and not re.search(r"[;&|<>()`\n#]", command) else command


def cache_key(package: dict[str, Any], lock: bytes) -> str:
    """Everything in package.json that decides what is installed, and the lock file."""
    parts = {key: package.get(key) for key in (*DEPENDENCIES, "overrides", "resolutions", "pnpm", "packageManager")}
    import hashlib

    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode() + b"\0" + lock).hexdigest()


def _without_npm(command: str, scripts: dict[str, str], depth: int = 0) -> str:
    """`npm run serve` is replaced by what serve runs."""
    match = re.fullmatch(r"\s*(?:npm|pnpm|yarn)(?:\s+run)?\s+([A-Za-z0-9:_-]+)\s*", command)
    if match and match[1] in scripts and depth < 5:
        return _without_npm(scripts[match[1]], scripts, depth + 1)
    return command.strip()


def _cacheable(package: dict[str, Any], scripts: dict[str, str]) -> bool:
    """Not when installing depends on the repository's own files: its scripts, its workspaces, packages inside it."""
    local = any(
        re.match(r"(?:file|link|workspace|portal):|\.", str(wanted))
        for kind in DEPENDENCIES
        for wanted in _strings(package.get(kind)).values()
    )
    return not local and not package.get("workspaces") and not any(name in scripts for name in LIFECYCLE)


def _strings(value: object) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _flag(value: object) -> str:
    return "1" if value else ""


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(build_dir: str, host_version: str) -> None:
    try:
        package = json.loads(_read(f"{build_dir}/package.json"))
    except (ValueError, RecursionError) as error:
        raise Wrong(f"package.json is not valid JSON: {error}") from None
    if not isinstance(package, dict):
        raise Wrong("package.json must be an object")
    files = frozenset(os.listdir(build_dir))
    lockfile = next((name for name, _ in LOCKFILES if name in files), None)
    assignments = plan(package, files, host_version, _read(f"{build_dir}/{lockfile}") if lockfile else b"")
    sys.stdout.write("".join(f"{name}={_quoted(value)}\n" for name, value in assignments.items()))


def run(build_dir: str, host_version: str) -> None:
    try:
        main(build_dir, host_version)
    except Wrong as wrong:
        sys.exit(str(wrong))
