"""Where a repository says what it needs: which file holds, and what it names."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, NamedTuple

from pyplan import locked, pipfile, poetry, texts
from pyplan.requirements import NAME, Fetch, Requirements, normal
from pyplan.wrong import Wrong

#: The lock file of each tool, of which a repository has one.
LOCKS = (("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile.lock", "pipenv"))
#: Looked for when there is nothing at the top.
DIRECTORY = ("requirements/production.txt", "requirements/prod.txt", "requirements/base.txt")
QUOTED_NAME = re.compile(r"(?m)^name\s*=\s*\"([^\"]+)\"")


class Source(NamedTuple):
    """`how`: uv, poetry, pdm, pylock, project or requirements. `key`: all that the installed packages depend on."""

    file: str
    how: str
    manager: str
    lockfile: str | None
    requirements: Requirements
    names: frozenset[str]
    key: str
    local: bool
    package: bool
    notes: tuple[str, ...]


def find(root: str, fetch: Fetch | None = None) -> Source:
    """The source that holds. `fetch` gives the text behind a URL that a requirements file includes."""
    file, how, manager = choose(root)
    wanted = Requirements(root, fetch)
    project = texts.toml(root, "pyproject.toml")
    notes: list[str] = []
    if how == "pipenv":
        _pipenv(root, file, wanted, notes)
        how = "requirements"
    elif how == "requirements":
        wanted.add(file)
    elif file in locked.TOOLS:
        locked.add(root, file, project, wanted)
    elif how == "poetry":
        for line in poetry.indexes(project) + poetry.dependencies(project):
            wanted.add_line(line, file)
        notes.append("there is no poetry.lock: versions may change from build to build; commit one")
        how = "requirements"
    is_lock = file.endswith(".lock") or how == "pylock"
    names = wanted.names | (_locked_names(root, file) if is_lock else set()) | _declared(project)
    if how == "project":
        names |= set(re.findall(r"[\"']([A-Za-z][A-Za-z0-9._-]*)", texts.read(root, "setup.py") or ""))
    local = wanted.local or _lock_is_local(root, file)
    return Source(
        file=file,
        how=how,
        manager=manager,
        lockfile=file if is_lock else None,
        requirements=wanted,
        names=frozenset(normal(name) for name in names),
        key=_key(root, file, how, wanted),
        local=local,
        package=manager != "pipenv"
        and file not in ("requirements.txt", "pylock.toml", *DIRECTORY)
        and is_package(root, project),
        notes=tuple(notes),
    )


def choose(root: str) -> tuple[str, str, str]:
    """(file, how, manager); Wrong when two lock files contradict each other or there is nothing to go by."""
    found = [(file, tool) for file, tool in LOCKS if os.path.isfile(f"{root}/{file}")]
    if len(found) > 1:
        names = " and ".join(file for file, _ in found)
        raise Wrong(f"there are two lock files, {names}; remove the one that is not used")
    if found:
        file, tool = found[0]
        if tool != "pipenv" and not os.path.isfile(f"{root}/pyproject.toml"):
            raise Wrong(f"{file} needs the pyproject.toml that it was made of; commit that too, or remove {file}")
        return file, tool, tool
    if os.path.isfile(f"{root}/pylock.toml"):
        return "pylock.toml", "pylock", "uv"
    if os.path.isfile(f"{root}/requirements.txt"):
        return "requirements.txt", "requirements", "pip"
    if os.path.isfile(f"{root}/Pipfile"):
        return "Pipfile", "pipenv", "pipenv"
    project = texts.toml(root, "pyproject.toml")
    named = isinstance(project.get("project"), dict)
    if not named and texts.table(project, "tool", "poetry"):
        return "pyproject.toml", "poetry", "poetry"
    if named:
        return "pyproject.toml", "project", "pip"
    for file in ("setup.py", "setup.cfg"):
        if os.path.isfile(f"{root}/{file}"):
            return file, "project", "pip"
    for file in DIRECTORY:
        if os.path.isfile(f"{root}/{file}"):
            return file, "requirements", "pip"
    raise Wrong(
        "nothing says which packages are needed: add requirements.txt, or project.dependencies to pyproject.toml "
        "(an empty requirements.txt if there are none)"
    )


def is_package(root: str, project: dict[str, Any]) -> bool:
    """Whether the repository itself is to be installed: uv's rule, and Poetry's and PDM's settings."""
    uv = texts.table(project, "tool", "uv").get("package")
    if isinstance(uv, bool):
        return uv
    if texts.table(project, "tool", "poetry").get("package-mode") is False:
        return False
    if texts.table(project, "tool", "pdm").get("distribution") is False:
        return False
    has_setup = os.path.isfile(f"{root}/setup.py") and "project" not in project
    return "build-system" in project or has_setup


def _pipenv(root: str, file: str, wanted: Requirements, notes: list[str]) -> None:
    lines = pipfile.locked(root) if file == "Pipfile.lock" else pipfile.loose(root)
    for line in lines:
        wanted.add_line(line, file)
    if file == "Pipfile":
        notes.append("there is no Pipfile.lock: versions may change from build to build; commit one")
    elif not pipfile.in_step(root):
        notes.append("Pipfile.lock is older than Pipfile; what it locks is installed: run `pipenv lock` to renew it")


def _key(root: str, file: str, how: str, wanted: Requirements) -> str:
    parts = [how, *wanted.lines, "--", *wanted.constraints, str(wanted.pre), str(wanted.hashed)]
    if how != "requirements":
        parts += [
            f"{name}\n{texts.read(root, name)}" for name in (file, "pyproject.toml", "setup.py", "setup.cfg", "uv.toml")
        ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _declared(project: dict[str, Any]) -> set[str]:
    """Names of the dependencies that pyproject.toml lists itself."""
    listed = texts.table(project, "project").get("dependencies")
    found = {match[1] for text in listed or [] if isinstance(text, str) and (match := NAME.match(text))}
    return found | set(texts.table(project, "tool", "poetry", "dependencies"))


def _locked_names(root: str, file: str) -> set[str]:
    return set() if file == "Pipfile.lock" else set(QUOTED_NAME.findall(texts.read(root, file) or ""))


def _lock_is_local(root: str, file: str) -> bool:
    """Whether a lock names directories of the repository besides the project itself."""
    text = texts.read(root, file) or ""
    if file == "uv.lock":
        return bool(re.search(r"source = \{ (?:editable|virtual|directory|path) = \"(?!\.\")", text))
    if file == "poetry.lock":
        return bool(re.search(r"(?m)^type = \"(?:directory|file)\"", text))
    return file in ("pdm.lock", "pylock.toml") and bool(re.search(r"(?m)^path = |directory = ", text))
