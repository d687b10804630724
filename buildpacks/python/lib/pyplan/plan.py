"""What to do with a Python repository, told twice: as shell assignments for bin/compile, and for the import of an app.

`run BUILD_DIR HOST_VERSION` prints the assignments; whatever is in the way is one line on standard error and the end.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import Any

from pyplan import asked, entry, sources, texts, versions, wheels
from pyplan.wrong import Wrong

FRAMEWORKS = (
    *("django", "fastapi", "litestar", "quart", "starlette", "sanic", "streamlit", "gradio", "dash"),
    *("flask", "bottle", "falcon", "pyramid"),
)
OLDEST_MINOR = 9
#: What a document of valid TOML or JSON raises that has another value where one is looked for.
ODD = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
FETCH_SECONDS = 30


def run(build: str, host: str) -> None:
    try:
        made = assignments(build, host)
    except Wrong as wrong:
        sys.exit(f" !     python: {wrong}")
    except ODD as odd:
        sys.exit(f" !     python: a file that says what is needed has an unexpected form: {odd!r}")
    sys.stdout.write("".join(f"{name}={_quoted(value)}\n" for name, value in made.items()))


def assignments(build: str, host: str) -> dict[str, str | list[str]]:
    """Names and values for bin/compile. The list of requirements is written to .rustploy/."""
    chosen = asked.choose(build, host)
    source = sources.find(build, _fetch)
    start = _start(build, source.names)
    wanted = source.requirements
    notes = [*source.notes]
    if source.lockfile and os.path.isfile(f"{build}/requirements.txt"):
        notes.append(f"{source.lockfile} is installed; requirements.txt beside it is not read")
    older = wheels.older(build, source.lockfile, versions.exact(host)[1]) if not chosen.specifier else None
    _write(f"{build}/.rustploy/requirements.txt", wanted.lines)
    _write(f"{build}/.rustploy/constraints.txt", wanted.constraints)
    pinned = [line.partition(" --hash")[0] for line in wanted.lines if sources.NAME.match(line) and "==" in line]
    _write(f"{build}/.rustploy/pins.txt", [line for line in pinned if " @ " not in line])
    return {
        "python_specifier": chosen.specifier,
        "python_asked": f"{chosen.source} asks for {chosen.text}" if chosen.source else "",
        "python_older": _older(build, chosen, host),
        "lock_older": f"3.{older[0]}" if older and f"3.{older[0]}" in _older(build, chosen, host) else "",
        "lock_lacking": ", ".join(older[1][:5]) if older else "",
        "install_how": source.how,
        "install_file": source.file,
        "install_key": source.key,
        "install_local": _flag(source.local),
        "install_own": _flag(source.package),
        "install_own_needed": _flag(_needs_install(build)),
        "install_hashed": _flag(wanted.hashed),
        "install_pre": _flag(wanted.pre),
        "install_trusted": wanted.trusted,
        "install_pinned": sorted(wanted.pins),
        "has_setuptools": _flag("setuptools" in source.names),
        "entry_command": start.command,
        "entry_server": start.server,
        "entry_extra": start.server if start.server not in source.names else "",
        "entry_what": start.what,
        "entry_warning": " ".join(start.warnings),
        "django_directory": entry.django_directory(build) or "",
        "notes": notes,
    }


def describe(root: str, host: str) -> dict[str, Any]:
    """What an import tells: the same decisions, with whatever is in the way as a warning."""
    found: dict[str, Any] = {
        "framework": "python",
        "package_manager": "pip",
        "lockfile": None,
        "build_profile": "python",
    }
    warnings: list[str] = []
    names: frozenset[str] = frozenset()
    try:
        source = sources.find(root)
        names = source.names
        found |= {"package_manager": source.manager, "lockfile": source.lockfile}
        warnings += source.notes
    except (Wrong, *ODD) as wrong:
        warnings.append(str(wrong))
    try:
        chosen = asked.choose(root, host)
        found["runtime"] = f"python {chosen.specifier or '.'.join(host.split('.')[:2])}"
        if chosen.specifier:
            warnings.append(_fetched(chosen, host))
    except (Wrong, *ODD) as wrong:
        warnings.append(str(wrong))
    start = _start(root, names)
    found["framework"] = framework(root, names, start.framework)
    found["processes"] = {"web": start.command} if start.command else {}
    return found | {"warnings": warnings + list(start.warnings)}


def framework(root: str, names: frozenset[str], served: str | None = None) -> str:
    """The framework by the requirements, or by the project's shape."""
    if entry.django(root, names):
        return "django"
    return served or next((name for name in FRAMEWORKS if name in names), "python")


def _fetched(chosen: asked.Chosen, host: str) -> str:
    return (
        f"{chosen.source} asks for Python {chosen.text}; the host has {host}, so Python {chosen.specifier} is "
        "fetched at the first build"
    )


def _start(root: str, names: frozenset[str]) -> entry.Entry:
    procfile = texts.read(root, "Procfile") or ""
    if re.search(r"(?m)^\s*web\s*:", procfile) or _manifest_starts(root):
        return entry.NOTHING
    return entry.choose(root, names)


def _manifest_starts(root: str) -> bool:
    return bool(re.search(r"(?m)^\s+[\"']?start_command[\"']?\s*:\s*\S", texts.read(root, "rustploy.yaml") or ""))


def _older(root: str, chosen: asked.Chosen, host: str) -> list[str]:
    """Minor versions below the host's that would do as well, newest first."""
    if chosen.specifier:
        return []
    minor = versions.exact(host)[1]
    found = list(range(minor - 1, OLDEST_MINOR - 1, -1))
    if chosen.text:
        alternatives = asked.alternatives(chosen)
        found = [other for other in found if versions.fits(alternatives, (3, other, versions.NEWEST))]
    return [f"3.{other}" for other in found]


def _needs_install(root: str) -> bool:
    """Whether the app hardly works without being installed: its code is in src/, or it has commands of its own."""
    project = texts.toml(root, "pyproject.toml")
    return os.path.isdir(f"{root}/src") or bool(texts.table(project, "project", "scripts"))


def _fetch(url: str) -> str:
    """The content behind a URL of a requirements file, a character for each byte."""
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:
            content: bytes = answer.read(texts.LIMIT + 1)
    except (OSError, ValueError) as error:
        raise Wrong(f"{url} is named in a requirements file and cannot be fetched: {error}") from None
    if len(content) > texts.LIMIT:
        raise Wrong(f"{url} is named in a requirements file and is larger than {texts.LIMIT // 2**20} MiB")
    return content.decode("latin-1")


def _write(path: str, lines: list[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _flag(value: object) -> str:
    return "1" if value else ""


def _quoted(value: str | list[str]) -> str:
    return shlex.quote(value) if isinstance(value, str) else f"({' '.join(shlex.quote(one) for one in value)})"
