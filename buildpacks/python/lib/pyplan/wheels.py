"""For which Pythons the packages of a lock file have wheels, by the names of the files that it lists."""

from __future__ import annotations

import os
import re
from typing import Any

from pyplan import texts

WHEEL = re.compile(r"([A-Za-z0-9_.!+-]+)-([A-Za-z0-9_.]+)-([A-Za-z0-9_.]+)-([A-Za-z0-9_.]+)\.whl")


def lacking(root: str, lockfile: str | None, minor: int) -> list[str]:
    """Packages that have wheels for this machine, but none for Python 3.`minor`."""
    return sorted(name for name, files in listed(root, lockfile).items() if _lacks(files, minor))


def older(root: str, lockfile: str | None, minor: int, oldest: int = 9) -> tuple[int, list[str]] | None:
    """The newest older minor version for which nothing is lacking, with what the given one lacks."""
    packages = listed(root, lockfile)
    missing = sorted(name for name, files in packages.items() if _lacks(files, minor))
    if not missing:
        return None
    for other in range(minor - 1, oldest - 1, -1):
        if not any(_lacks(files, other) for files in packages.values()):
            return other, missing
    return None


def listed(root: str, lockfile: str | None) -> dict[str, list[str]]:
    """The wheels of each package that is needed to run."""
    if lockfile not in ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"):
        return {}
    document = texts.toml(root, lockfile)
    packages = [
        one for one in document.get("packages" if lockfile == "pylock.toml" else "package", []) if isinstance(one, dict)
    ]
    packages = _reached(packages) if lockfile == "uv.lock" else [one for one in packages if _is_main(one)]
    return {str(one.get("name")): _files(one) for one in packages}


def _is_main(package: dict[str, Any]) -> bool:
    groups = package.get("groups")
    return not isinstance(groups, list) or bool({"main", "default"} & set(groups))


def _files(package: dict[str, Any]) -> list[str]:
    found = []
    for one in (package.get("wheels") or []) + (package.get("files") or []):
        named = (
            one.get("file") or one.get("name") or one.get("url") or one.get("path") if isinstance(one, dict) else None
        )
        if isinstance(named, str) and named.endswith(".whl"):
            found.append(named.rpartition("/")[2])
    return found


def _reached(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the project depends on, without its development groups."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for one in packages:
        by_name.setdefault(str(one.get("name")), []).append(one)
    pending = [one for one in packages if {"virtual", "editable"} & set(one.get("source") or {})]
    seen: list[dict[str, Any]] = []
    while pending:
        one = pending.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        for dependency in one.get("dependencies") or []:
            pending += by_name.get(str(dependency.get("name")), [])
    return seen


def _lacks(files: list[str], minor: int) -> bool:
    tags = [match.groups()[1:] for file in files if (match := WHEEL.fullmatch(file))]
    here = [(python, abi) for python, abi, platform in tags if _is_here(platform)]
    return bool(here) and not any(_runs(python, abi, minor) for python, abi in here)


def _is_here(platform: str) -> bool:
    machine = os.uname().machine
    return any(
        one == "any" or ("linux" in one and "musl" not in one and one.endswith(machine)) for one in platform.split(".")
    )


def _runs(pythons: str, abi: str, minor: int) -> bool:
    for python in pythons.split("."):
        number = re.fullmatch(r"(?:py|cp)3(\d*)", python)
        if not number:
            continue
        since = int(number[1] or 0)
        if since == minor or (since <= minor and (python.startswith("py") or "abi3" in abi.split("."))):
            return True
    return False
