"""Decide which Go builds a module, what is built, and which program is the web process. Runs nothing.

`go.mod` reference: https://go.dev/ref/mod#go-mod-file; the `+heroku` comments are those of Heroku's buildpack for Go.
"""

from __future__ import annotations

import re
import shlex
import sys
from typing import NamedTuple

#: The oldest Go that the package index has.
OLDEST_FETCHED = (1, 21)
GO_DIRECTIVE = re.compile(r"^go\s+(\d+(?:\.\d+){1,2})", re.MULTILINE)
HEROKU_VERSION = re.compile(r"^//\s*\+heroku\s+goVersion\s+(?:go)?(\d+(?:\.\d+){0,2})", re.MULTILINE)
HEROKU_INSTALL = re.compile(r"^//\s*\+heroku\s+install\s+(.+)$", re.MULTILINE)
MODULE = re.compile(r"^module\s+\"?([^\s\"]+)", re.MULTILINE)
PATTERN = re.compile(r"\.(?:/[A-Za-z0-9_.-]+)*(?:/\.\.\.)?")
WEB_NAMES = ("web", "server", "app", "main", "api")


class Plan(NamedTuple):
    """`specifier` is empty when the host's Go will do, else a version specifier for the package index."""

    specifier: str
    wanted: str
    packages: tuple[str, ...]
    needs_cgo: bool


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as 1.22.3 or go1.22rc1; () for anything else."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def plan(go_mod: str, host: str) -> Plan:
    """Return what to build with for a go.mod's text and the host's Go version (empty: the host has none).

    A module's `go` line is the oldest Go that may build it, and every newer Go builds it the same way; so the host's Go
    is taken when it is new enough, else the newest one there is, which has the latest security fixes.
    """
    asked = [version(match.group(1)) for match in (GO_DIRECTIVE.search(go_mod), HEROKU_VERSION.search(go_mod)) if match]
    least = max(asked, default=())
    packages = tuple(
        pattern for line in HEROKU_INSTALL.findall(go_mod) for pattern in line.split() if PATTERN.fullmatch(pattern)
    )
    specifier = "" if host and version(host) >= least else f">={written(max(least, OLDEST_FETCHED))}"
    return Plan(specifier, written(least), packages or ("./...",), "github.com/mattn/go-sqlite3 " in go_mod)


def web_program(module: str, programs: list[str]) -> str:
    """Return which of the built programs (by name) is the web process; empty when nothing says so."""
    if len(programs) == 1:
        return programs[0]
    parts = [part for part in module.split("/") if not re.fullmatch(r"v\d+", part)]
    preferred = ([parts[-1]] if parts else []) + list(WEB_NAMES)
    return next((name for name in preferred if name in programs), "")


def module_of(go_mod: str) -> str:
    """Return the module's path; empty when go.mod names none."""
    found = MODULE.search(go_mod)
    return found.group(1) if found else ""


def written(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def run(build: str, host: str) -> None:
    """Print the plan as assignments for the shell."""
    found = plan(_go_mod(build), host)
    packages = " ".join(map(shlex.quote, found.packages))
    sys.stdout.write(
        f"go_specifier={shlex.quote(found.specifier)} go_wanted={shlex.quote(found.wanted)}\n"
        f"go_packages=({packages}) go_needs_cgo={'1' if found.needs_cgo else ''}\n"
    )


def run_web(build: str, *programs: str) -> None:
    """Print the name of the web program, or nothing."""
    sys.stdout.write(web_program(module_of(_go_mod(build)), list(programs)))


def _go_mod(build: str) -> str:
    try:
        with open(f"{build}/go.mod", encoding="utf-8-sig") as file:
            return file.read(1 << 20)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        sys.exit(" !     go: go.mod must be a text file in UTF-8")
