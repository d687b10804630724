"""A checkout looked at once: its manifest, its framework, and the buildpack that can build it."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from rustploy_agent.builder import child, detection, job
from rustploy_agent.builder.job import Refused

#: Asked in this order; a repository that several can build says with build_mode which one it means.
ORDER = ("go", "python", "node", "static")
MANIFEST = "rustploy.yaml"
DETECT_SECONDS = 10


class Inspection(NamedTuple):
    detection: dict[str, Any]
    buildpack: str | None
    manifest: str | None


def inspect(app: str, build_mode: str, buildpacks: str) -> Inspection:
    """Runs no code of the repository: detect scripts are ours and only look at names and texts."""
    try:
        manifest = job.read_optional(f"{app}/{MANIFEST}")
    except ValueError as error:
        raise Refused("invalid_manifest", str(error)) from None
    names = frozenset(os.listdir(app))
    found = detection.detect(names, lambda name: _text(app, name))
    return Inspection(found, _matching(app, build_mode, buildpacks), manifest)


def _matching(app: str, build_mode: str, buildpacks: str) -> str | None:
    asked = ORDER if build_mode == "auto" else (build_mode,)
    for name in asked:
        detect = f"{buildpacks}/{name}/bin/detect"
        if os.access(detect, os.X_OK) and agrees(detect, app):
            return name
    return None


def agrees(question: str, app: str) -> bool:
    """Whether one of our scripts that only looks (bin/detect, bin/instant) ends with 0 for this checkout."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    deadline = time.monotonic() + DETECT_SECONDS
    with open(os.devnull, "wb") as nowhere:
        return child.run([question, app], environment, deadline, lambda _: None, output=nowhere.fileno()) == 0


def _text(app: str, name: str) -> str | None:
    """A file of the checkout that may be anything; what cannot be read as text says nothing about the framework."""
    try:
        return job.read_optional(f"{app}/{name}", job.MESSAGE_LIMIT)
    except ValueError:
        return None
