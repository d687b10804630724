"""A checkout looked at once: its manifest, the directory of it that is the app, its framework and its buildpack."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from rustploy_agent.builder import child, describe, detection, job
from rustploy_agent.builder.job import Refused
from rustploy_agent.builder.root import directory, subdirectories
from rustploy_agent.builder.root import parse as parse_root

#: Asked in this order; a repository that several can build says with build_mode which one it means.
ORDER = ("go", "python", "node", "static")
MANIFEST = "rustploy.yaml"
DETECT_SECONDS = 10
#: Directories that are looked into when nothing at the top of a repository can be built.
MOST_DIRECTORIES = 40
#: A manifest with more brackets than any real one takes PyYAML long; the agent says what is wrong with it.
MOST_BRACKETS = 200


class Inspection(NamedTuple):
    detection: dict[str, Any]
    buildpack: str | None
    manifest: str | None
    #: The directory of the checkout that is the app, empty for its top.
    root: str
    #: The text of its app.json.
    app_json: str | None
    #: Where else something can be built, as "server (python)"; only looked for when nothing can at the top.
    candidates: list[str]


def inspect(app: str, build_mode: str, buildpacks: str, asked_root: str | None = None) -> Inspection:
    """Look at a checkout; with `asked_root`, at that directory of it.

    Runs no code of the repository: detect scripts are ours and only look at names and texts. Refused when the manifest
    cannot be read, or when there is no such directory.
    """
    manifest = _manifest(app)
    root = _manifest_root(manifest) if asked_root is None else asked_root
    candidates: list[str] = []
    manifest_names_root = asked_root is None and root is not None
    if root is None:
        root = ""
        if _matching(app, build_mode, buildpacks) is None:
            candidates = _candidates(app, build_mode, buildpacks)
            root = _only_app(candidates)
    top = directory(app, root)
    if root and not manifest_names_root:
        manifest = _manifest(top) or manifest
    names = frozenset(os.listdir(top))
    found = detection.detect(names, lambda name: _text(top, name))
    buildpack = _matching(top, build_mode, buildpacks)
    told = describe.describe(found, top, buildpack, buildpacks)
    return Inspection(told, buildpack, manifest, root, _text(top, "app.json"), candidates)


def _manifest(directory: str) -> str | None:
    try:
        return job.read_optional(f"{directory}/{MANIFEST}")
    except ValueError as error:
        raise Refused("invalid_manifest", str(error)) from None


def _manifest_root(manifest: str | None) -> str | None:
    """The manifest's build.root; None when it has none, or is wrong, of which the agent tells."""
    if manifest is None or "root" not in manifest or sum(map(manifest.count, "[{")) > MOST_BRACKETS:
        return None
    import yaml

    try:
        return parse_root(yaml.safe_load(manifest)["build"]["root"])
    except Exception:  # PyYAML raises nearly anything for a value that does not fit its tag
        return None


def _candidates(app: str, build_mode: str, buildpacks: str) -> list[str]:
    """Directories of the first two levels that a buildpack can build, static pages left out."""
    found = []
    for entry in sorted(subdirectories(app), key=lambda entry: entry.name)[:MOST_DIRECTORIES]:
        inner = sorted(subdirectories(entry.path), key=lambda inner: inner.name)[:MOST_DIRECTORIES]
        for path in (entry.path, *(each.path for each in inner if entry.name in ("apps", "packages", "services"))):
            root, name = path[len(app) + 1 :], _matching(path, build_mode, buildpacks)
            if name not in (None, "static") and parse_root(root) == root:
                found.append(f"{root} ({name})")
    return found


def _only_app(candidates: list[str]) -> str:
    """The directory, when a single one has an app; else the top."""
    return candidates[0].partition(" ")[0] if len(candidates) == 1 else ""


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
