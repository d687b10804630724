"""The version of Python that a repository asks for, and the file that says so."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pyplan import texts, versions
from pyplan.wrong import Wrong


class Chosen(NamedTuple):
    """What uv is asked for, empty when the host's Python will do; and the file that asks, with its words.

    `pinned`: the words are one version, of which the patch level does not matter.
    """

    specifier: str
    source: str
    text: str
    pinned: bool = False


OTHERS = re.compile(r"^(pypy|graalpy|jython|anaconda|miniconda|miniforge|mambaforge|micropython|stackless|ironpython)")
SETUP = re.compile(r"python_requires\s*=\s*[\"']([^\"']+)[\"']")


def choose(root: str, host: str) -> Chosen:
    """`host` is the version of the host's Python, such as 3.11.2."""
    source, text, pinned = _asked(root)
    if not source:
        return Chosen("", "", "")
    if OTHERS.match(text.lower()):
        raise Wrong(f"{source} asks for {text[:40]}; only CPython is provided: write a version such as {_minor(host)}")
    try:
        admitted = _alternatives(text, pinned)
    except ValueError:
        raise Wrong(f"{source} must name a version such as {_minor(host)}, not {text[:40]!r}") from None
    if versions.fits(admitted, versions.exact(host)):
        return Chosen("", source, text, pinned)
    found = versions.choose(admitted)
    if found is None:
        raise Wrong(
            f"{source} asks for Python {text[:40]}; the host has {_minor(host)}, and others from 3.8 to "
            f"3.{max(versions.MINORS)} can be fetched: write {_minor(host)} there, or another of them"
        )
    return Chosen(found, source, text, pinned)


def alternatives(chosen: Chosen) -> list[list[versions.Test]]:
    """What the words of the repository admit."""
    return _alternatives(chosen.text, chosen.pinned)


def _alternatives(text: str, pinned: bool) -> list[list[versions.Test]]:
    return versions.parse(versions.minor_of(text) if pinned else text)


def _minor(host: str) -> str:
    return ".".join(host.split(".")[:2])


def _asked(root: str) -> tuple[str, str, bool]:
    """(file, text, whether it is a pin whose patch level does not matter); all empty when nothing is asked."""
    for source, text in _pins(root):
        if text:
            return source, text, True
    for source, text in _ranges(root):
        if isinstance(text, str) and text.strip():
            return source, text.strip(), False
    return "", "", False


def _pins(root: str) -> list[tuple[str, str]]:
    pins = []
    for name in (".python-version", "runtime.txt"):
        pins.append((name, _first_version(texts.read(root, name))))
    tools = re.search(r"(?m)^\s*python\s+(\S+)", texts.read(root, ".tool-versions") or "")
    pins.append((".tool-versions", tools[1] if tools else ""))
    requires = texts.table(texts.toml(root, "Pipfile"), "requires")
    for key in ("python_full_version", "python_version"):
        pins.append(("Pipfile", str(requires.get(key) or "").replace("*", "")))
    return pins


def _first_version(text: str | None) -> str:
    """The first line that says something. A name, as pyenv-virtualenv writes it, asks for no version."""
    for line in (text or "").splitlines():
        said = line.partition("#")[0].strip()
        if said and (any(letter.isdigit() for letter in said) or not re.fullmatch(r"[A-Za-z_-]+", said)):
            return said.split()[0] if said[0].isdigit() else said
    return ""


def _ranges(root: str) -> list[tuple[str, Any]]:
    project = texts.toml(root, "pyproject.toml")
    poetry = texts.table(project, "tool", "poetry", "dependencies").get("python")
    ranges: list[tuple[str, Any]] = [
        ("pyproject.toml (requires-python)", texts.table(project, "project").get("requires-python")),
        ("pyproject.toml (tool.poetry.dependencies.python)", poetry),
    ]
    # The same field of a lock file is at the top, and narrower.
    for name, key in (("uv.lock", "requires-python"), ("pylock.toml", "requires-python")):
        found = re.search(rf"(?m)^{key}\s*=\s*[\"']([^\"']+)", (texts.read(root, name) or "")[:4096])
        ranges.append((name, found[1] if found else None))
    setup_cfg = re.search(r"(?m)^\s*python_requires\s*=\s*(.+)$", texts.read(root, "setup.cfg") or "")
    ranges.append(("setup.cfg (python_requires)", setup_cfg[1] if setup_cfg else None))
    setup = SETUP.search(texts.read(root, "setup.py") or "")
    ranges.append(("setup.py (python_requires)", setup[1] if setup else None))
    return ranges
