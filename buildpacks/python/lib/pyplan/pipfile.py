"""Pipfile and Pipfile.lock as requirements."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pyplan import texts
from pyplan.wrong import Wrong

#: Tables of a Pipfile that are no category of packages.
SECTIONS = ("source", "requires", "scripts", "pipenv", "pipfile", "packages", "dev-packages")


def locked(root: str) -> list[str]:
    """The lines of the lock file's default packages, with their hashes and indexes."""
    try:
        lock = json.loads(texts.read(root, "Pipfile.lock") or "")
        packages, meta = lock["default"], lock.get("_meta", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Wrong("Pipfile.lock is no lock file of pipenv; make a new one with `pipenv lock`") from None
    lines = _indexes(meta.get("sources"))
    return lines + [_line(name, about, root) for name, about in packages.items()]


def loose(root: str) -> list[str]:
    """The lines of a Pipfile without a lock."""
    document = texts.toml(root, "Pipfile")
    packages = texts.table(document, "packages")
    return _indexes(document.get("source")) + [_line(name, about, root) for name, about in packages.items()]


def in_step(root: str) -> bool:
    """Whether the lock was made of this Pipfile; True as well when that cannot be known."""
    try:
        said = json.loads(texts.read(root, "Pipfile.lock") or "")["_meta"]["hash"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return True
    document = texts.toml(root, "Pipfile")
    if not document:
        return True
    parts: dict[str, Any] = {
        "_meta": {"sources": document.get("source", []), "requires": document.get("requires", {})},
        "default": document.get("packages", {}),
        "develop": document.get("dev-packages", {}),
    }
    parts |= {name: value for name, value in document.items() if name not in (*SECTIONS, "default", "develop")}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return bool(hashlib.sha256(text.encode()).hexdigest() == said)


def _indexes(sources: Any) -> list[str]:
    """Lines for the sources. The usual index, by pipenv's name for it, is left to what the host is set up for."""
    found = [one for one in sources or [] if isinstance(one, dict) and isinstance(one.get("url"), str)]
    others = [one["url"] for one in found if one.get("name") != "pypi"]
    lines = [f"--extra-index-url {url}" for url in others]
    if lines and len(others) == len(found):
        lines[0] = f"--index-url {others[0]}"
    return lines


def _line(name: str, about: Any, root: str) -> str:
    if isinstance(about, str):
        about = {"version": about}
    if not isinstance(about, dict):
        raise Wrong(f"Pipfile: {name}: must be a version or a table")
    extras = f"[{','.join(about['extras'])}]" if about.get("extras") else ""
    marker = f" ; {about['markers']}" if about.get("markers") else ""
    for tool in ("git", "hg", "svn"):
        if tool in about:
            ref = f"@{about['ref']}" if about.get("ref") else ""
            part = f"#subdirectory={about['subdirectory']}" if about.get("subdirectory") else ""
            url = about[tool] if about[tool].startswith(f"{tool}+") else f"{tool}+{about[tool]}"
            return f"{name}{extras} @ {url}{ref}{part}{marker}"
    if "path" in about:
        path = about["path"] if about["path"].startswith((".", "/")) else f"./{about['path']}"
        return f"{'-e ' if about.get('editable') else ''}{path}{extras}{marker}"
    if "file" in about:
        return f"{name}{extras} @ {about['file']}{marker}"
    version = str(about.get("version") or "*").strip()
    if version == "*":
        version = ""
    elif version[0].isdigit():
        version = f"=={version}"
    hashes = "".join(f" --hash={one}" for one in about.get("hashes") or [])
    return f"{name}{extras}{version}{marker}{hashes}"
