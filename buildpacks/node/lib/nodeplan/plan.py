"""Decide what to do with a Node app: read package.json and print shell assignments for bin/compile.

`run BUILD_DIR HOST_NODE_VERSION`, the version empty when the host has no node, `unasked` when nothing depends on it.
What is slow to load is loaded where it is needed: small deployments wait for this program.

Names printed: node_ranges (of nodeversion.written; empty: the host's node will do), node_place (where they are asked),
manager, manager_spec, install (none, locked or loose), top (where it is installed: of a monorepo its top), omit_dev,
before (a script to run before installing), builds (commands, one a line), prune, cacheable, cache_key, start, hooks
(scripts of the repository that installing runs), framework, extras (packages that npx would fetch), exports (lines for
the app's profile).
"""

from __future__ import annotations

import json
import os
import sys

from nodeplan import frameworks, managers, nodeversion
from nodeplan import scripts as starts
from nodeplan.packagefile import Wrong, load, read_bytes, strings

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from typing import Any

DEPENDENCIES = ("dependencies", "optionalDependencies", "devDependencies")
LIFECYCLE = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
LOCAL = ("file:", "link:", "workspace:", "portal:", "patch:", ".")


def plan(build_dir: str, host_version: str, *, mend: bool = True) -> dict[str, str]:
    """Return the assignments for the repository in `build_dir`."""
    package = load(build_dir, mend=mend)
    top = _top(build_dir)
    whole = package if top == build_dir else load(top, mend=mend)
    files = frozenset(os.listdir(top))
    names = [name for name, _ in managers.LOCKFILES if name in files]
    locks = {name: read_bytes(f"{top}/{name}") for name in names}
    manager = managers.choose(whole, locks, ".yarnrc.yml" in files)
    manager = managers.for_workspace(manager, read_bytes(f"{top}/pnpm-workspace.yaml"))
    lock = locks.get(manager.lockfile, b"")
    install = _install(whole, manager) if top == build_dir else "locked" if manager.lockfile else "loose"
    if install == "locked":
        managers.check_lock(manager, lock)
    ranges, place = nodeversion.allowed(package, build_dir)
    if not ranges and top != build_dir:
        ranges, place = nodeversion.allowed(whole, top)
    if not ranges and install != "none" and host_version != "unasked":
        line = managers.node_without_wish(manager, lock, host_version)
        ranges, place = (nodeversion.intervals("", str(line)), "no version is asked") if line else ([], "")
    elif not ranges and not host_version:
        ranges, place = nodeversion.intervals("", "lts/*"), "no version is asked"
    if ranges and host_version not in ("", "unasked") and nodeversion.fits(_version(host_version), ranges):
        ranges = []
    found = {"node_ranges": nodeversion.written(ranges), "node_place": place if ranges else ""}
    found |= {"manager": manager.tool, "manager_spec": manager.spec, "install": install, "top": top}
    steps = _steps(package, manager, install, lock, build_dir)
    return found | (steps if top == build_dir else steps | _of_workspace(steps, top, build_dir))


def _top(build_dir: str) -> str:
    repository = os.environ.get("RUSTPLOY_REPOSITORY_DIR", build_dir)
    if repository == build_dir:
        return build_dir
    from nodeplan import workspaces

    return workspaces.top(build_dir, repository, tuple(name for name, _ in managers.LOCKFILES))


def _of_workspace(steps: dict[str, str], top: str, build_dir: str) -> dict[str, str]:
    """Change the plan for a workspace: the whole monorepo is installed, and Turborepo builds what it needs, too."""
    changed = {"cacheable": "", "cache_key": "", "prune": "", "omit_dev": "", "hooks": ""}
    inner = os.path.relpath(build_dir, top)
    if steps["builds"].endswith(" run build") and os.path.isfile(f"{top}/turbo.json"):
        changed["builds"] = f"cd {_quoted(top)} && turbo run build --filter={_quoted('./' + inner)}"
    return changed


def _version(text: str) -> tuple[int, int, int]:
    from nodeplan import noderange

    return noderange.version(text.partition("-")[0])


def _install(package: dict[str, Any], manager: managers.Manager) -> str:
    wanted = any(package.get(kind) for kind in DEPENDENCIES) or bool(package.get("workspaces"))
    hooks = any(name in strings(package.get("scripts")) for name in LIFECYCLE)
    if not wanted and not hooks:
        return "none"
    return "locked" if manager.lockfile else "loose"


def _steps(
    package: dict[str, Any], manager: managers.Manager, install: str, lock: bytes, build_dir: str
) -> dict[str, str]:
    scripts = strings(package.get("scripts"))
    framework = frameworks.of(package)
    early, start = starts.starting(scripts)
    commands = starts.reached([*procfile(build_dir), *([start] if start else [])], scripts)
    development = set(strings(package.get("devDependencies")))
    builds = build_commands(scripts, framework, early, start, manager.tool)
    hooks = [name for name in LIFECYCLE if name in scripts and not _is_git_hook(scripts[name])]
    lifecycle = [name for name in LIFECYCLE if name in scripts]
    keep_dev = bool(development) and starts.needs_development(commands, development)
    cacheable = install == "locked" and manager.tool in ("npm", "pnpm", "yarn") and _cacheable(package)
    omit_dev = not builds and not lifecycle and not keep_dev
    return {
        "omit_dev": _flag(omit_dev),
        "before": "heroku-prebuild" if "heroku-prebuild" in scripts else "",
        "builds": "\n".join(builds),
        "prune": _flag(not omit_dev and not keep_dev and development and install != "none"),
        "cacheable": _flag(cacheable),
        "cache_key": cache_key(package, lock, manager.spec) if cacheable else "",
        "hooks": " ".join(hooks),
        "start": start,
        "framework": framework.name,
        "exports": _exports(package),
        "extras": " ".join(_extras(commands, package)),
    }


def _exports(package: dict[str, Any]) -> str:
    """Return what npm tells a script about its package, for the app's profile."""
    told = {f"npm_package_{key}": package.get(key) for key in ("name", "version")}
    return "\n".join(f"export {name}={_quoted(text)}" for name, text in told.items() if isinstance(text, str))


def build_commands(
    scripts: dict[str, str], framework: frameworks.Framework, early: list[str], start: str, tool: str
) -> list[str]:
    """Return what makes the app, in order: as Heroku does, heroku-postbuild instead of build."""
    run = {"yarn": "yarn run", "berry": "yarn run", "pnpm": "pnpm run", "bun": "bun run"}.get(tool, "npm run")
    named = next((name for name in ("heroku-postbuild", "build") if name in scripts), "")
    if named:
        theirs = [command for command in early if not _same_build(command, scripts)]
        return [f"{run} {named}", *theirs]
    if early:
        return early
    return [framework.build] if framework.build and not start else []


def _same_build(command: str, scripts: dict[str, str]) -> bool:
    return command.split()[-1] == "build" or command == scripts.get("build")


def _is_git_hook(script: str) -> bool:
    """Whether the script only installs git's hooks, which a checkout without git has no use for."""
    tools = ("husky", "simple-git-hooks", "lefthook", "is-ci")
    return all(part.split()[:1] and part.split()[0] in (*tools, "true", "exit") for part in script.split("||"))


def _extras(commands: list[str], package: dict[str, Any]) -> list[str]:
    """Return what npx would fetch when the app starts: packages that are no dependencies."""
    known = {name for kind in DEPENDENCIES for name in strings(package.get(kind))}
    known |= {program for program, owners in starts.PROGRAMS.items() if known & set(owners)}
    return [
        name for name in starts.wanted_programs(commands) if name.rpartition("@")[0] not in known and name not in known
    ]


def procfile(build_dir: str) -> list[str]:
    """Return the commands of the Procfile."""
    lines = read_bytes(f"{build_dir}/Procfile").decode("utf-8-sig", "replace").splitlines()
    return [line.partition(":")[2].strip() for line in lines if ":" in line and not line.lstrip().startswith("#")]


def cache_key(package: dict[str, Any], lock: bytes, spec: str) -> str:
    """Everything in package.json that decides what is installed, and the lock file."""
    parts = {key: package.get(key) for key in (*DEPENDENCIES, "overrides", "resolutions", "pnpm", "packageManager")}
    scripts = strings(package.get("scripts"))
    parts |= {"hooks": {name: scripts[name] for name in LIFECYCLE if name in scripts}}
    import hashlib

    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode() + b"\0" + spec.encode() + b"\0" + lock).hexdigest()


def _cacheable(package: dict[str, Any]) -> bool:
    """Not when what is installed depends on the repository's other files: its workspaces, packages inside it."""
    wanted = [text for kind in DEPENDENCIES for text in strings(package.get(kind)).values()]
    return not any(text.startswith(LOCAL) for text in wanted) and not package.get("workspaces")


def _flag(value: object) -> str:
    return "1" if value else ""


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def shell(assignments: dict[str, str]) -> str:
    """Return the assignments for a shell to evaluate."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in assignments.items())


def run(build_dir: str, host_version: str) -> None:
    """Print the plan of a repository."""
    try:
        sys.stdout.write(shell(plan(build_dir, host_version)))
    except Wrong as wrong:
        sys.exit(f" !     node: {wrong}")


def after(build_dir: str) -> None:
    """Print how what the build left is started or served."""
    try:
        command, site, page = frameworks.produced(build_dir)
    except Wrong as wrong:
        sys.exit(f" !     node: {wrong}")
    command = starts.with_exec(command) if command else ""
    sys.stdout.write(shell({"left_start": command, "left_site": site, "left_page": page}))


def pnp_programs(directory: str) -> None:
    """Write a script for each program that `yarn bin --json` names on standard input."""
    for line in sys.stdin:
        found = strings(json.loads(line)) if line.startswith("{") else {}
        name, path = found.get("name", ""), found.get("path", "")
        if name.replace("-", "").replace("_", "").replace(".", "").isalnum() and path:
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nexec node {_quoted(path)} "$@"\n')
            os.chmod(f"{directory}/{name}", 0o755)


def npm_for(major: str) -> None:
    """Print the line of npm for a line of node."""
    sys.stdout.write(f"{nodeversion.npm_for(int(major) if major.isdigit() else nodeversion.NEWEST_LTS)}\n")


def pick(ranges: str) -> None:
    """Print the version to fetch, of those that standard input names as a JSON list, and the line of npm for it."""
    from nodeplan import noderange

    try:
        listed = json.loads(sys.stdin.read() or "[]")
        published = [noderange.version(text) for text in listed if isinstance(text, str) and "-" not in text]
        found = nodeversion.pick(nodeversion.read_written(ranges), published)
    except Wrong as wrong:
        sys.exit(f" !     node: {wrong}")
    sys.stdout.write(f"{'.'.join(map(str, found))} {nodeversion.npm_for(found[0])}\n")
