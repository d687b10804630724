"""The top of a monorepo, when the app is one of its workspaces: there is the lock file, and there it is installed."""

from __future__ import annotations

import fnmatch
import os
import re

from nodeplan.packagefile import load, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENTRY = re.compile(r"(?m)^\s*-\s*['\"]?([\w./*!@-]+)")


def top(build_dir: str, repository: str, lockfiles: tuple[str, ...]) -> str:
    """Return the directory whose workspaces have `build_dir` among them; `build_dir` when there is none."""
    if any(os.path.isfile(f"{build_dir}/{name}") for name in lockfiles):
        return build_dir
    place = os.path.dirname(build_dir)
    while place == repository or place.startswith(f"{repository}/"):
        if os.path.isfile(f"{place}/package.json") and _has(place, os.path.relpath(build_dir, place)):
            return place
        place = os.path.dirname(place)
    return build_dir


def _has(place: str, inner: str) -> bool:
    named: Any = load(place, mend=False).get("workspaces")
    patterns = named.get("packages") if isinstance(named, dict) else named
    patterns = [text for text in patterns if isinstance(text, str)] if isinstance(patterns, list) else []
    patterns += ENTRY.findall(read_bytes(f"{place}/pnpm-workspace.yaml").decode("utf-8", "replace"))
    return any(fnmatch.fnmatch(inner, pattern.removeprefix("./").rstrip("/")) for pattern in patterns)
