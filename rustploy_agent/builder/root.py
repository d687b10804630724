"""The directory of a checkout that is the app, when the repository holds more than one."""

from __future__ import annotations

import os
import re

from rustploy_agent.builder.job import Refused

PART = re.compile(r"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*")
LONGEST = 255


def parse(value: object) -> str | None:
    """Return the path below the repository's top, empty for the top itself; None for anything that is no such path."""
    if value in (".", "", "./"):
        return ""
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    parts = value.removeprefix("./").removesuffix("/").split("/")
    return "/".join(parts) if all(PART.fullmatch(part) and part not in (".", "..") for part in parts) else None


def directory(checkout: str, root: str) -> str:
    """Return the path of that directory of the checkout; Refused when it is none, or lies behind a link."""
    path = checkout
    for part in filter(None, root.split("/")):
        path = f"{path}/{part}"
        if parse(root) != root or os.path.islink(path) or not os.path.isdir(path):
            there = ", ".join(sorted(entry.name for entry in subdirectories(checkout))[:10]) or "none"
            raise Refused(
                "build_root_not_found",
                f"build.root: the repository has no directory {root}; directories at its top: {there}",
            )
    return path


def subdirectories(path: str) -> list[os.DirEntry[str]]:
    """Return the directories in `path`, without links and hidden ones."""
    with os.scandir(path) as entries:
        return [entry for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
