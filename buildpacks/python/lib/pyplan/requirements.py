"""Requirements files as pip reads them, made into one list that names everything by its full path."""

from __future__ import annotations

import getopt
import os
import re
import shlex
from collections.abc import Callable
from urllib.parse import unquote, urljoin

from pyplan import texts
from pyplan.wrong import Wrong

DEEPEST = 10
SCHEME = re.compile(r"^(https?|ftp|file):", re.IGNORECASE)
VCS = re.compile(r"^(git|hg|svn|bzr)\+")
COMMENT = re.compile(r"(^|\s+)#.*$")
NAME = re.compile(r"^\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\]\s*)?(?=$|[\s=<>!~;@(,])")
PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?===?\s*([0-9][A-Za-z0-9.!+_-]*)\)?\s*(?=$|;|\s-)"
)
SHORT = "r:c:e:i:f:"
LONG = [
    *(
        "requirement=",
        "constraint=",
        "editable=",
        "index-url=",
        "extra-index-url=",
        "no-index",
        "find-links=",
        "pypi-url=",
    ),
    *("no-binary=", "only-binary=", "prefer-binary", "require-hashes", "pre", "trusted-host=", "use-feature="),
    *("hash=", "global-option=", "config-settings=", "config-setting=", "install-option=", "process-dependency-links"),
]
Fetch = Callable[[str], str]


class Requirements:
    """What is asked for. `lines` and `constraints` are for uv; `local`: something is of the repository itself."""

    def __init__(self, root: str, fetch: Fetch | None = None) -> None:
        self.root = root
        self.lines: list[str] = []
        self.constraints: list[str] = []
        self.names: set[str] = set()
        self.pins: dict[str, str] = {}
        self.trusted: list[str] = []
        self.pre = self.local = self.hashed = self.unread = False
        self._fetch = fetch

    def add(self, name: str, *, constraint: bool = False, depth: int = 0) -> None:
        """Add a file of the repository, or a URL, with all that it includes."""
        if depth > DEEPEST:
            raise Wrong(f"{name}: requirements files include each other")
        for line in logical_lines(self._text(name)):
            self.add_line(line, name, constraint, depth)

    def _text(self, name: str) -> str:
        if SCHEME.match(name):
            if self._fetch is None:
                self.unread = True
                return ""
            return texts.decode(self._fetch(name).encode("latin-1"))
        found = texts.read(self.root, name)
        if found is None:
            raise Wrong(f"{name} is named in a requirements file but is not in the repository")
        return found

    def add_line(self, line: str, file: str, constraint: bool = False, depth: int = 0) -> None:
        requirement, options = split(line, file)
        kept = []
        for option, value in options:
            if option in ("-r", "--requirement", "-c", "--constraint"):
                nested = constraint or option in ("-c", "--constraint")
                self.add(_beside(file, value), constraint=nested, depth=depth + 1)
            elif option in ("-e", "--editable"):
                self._append(f"-e {self._located(value)}" if not VCS.match(value) else value, constraint)
            elif requirement:
                kept += [f"{option}={value}"] if option in ("--hash", "--config-settings") else []
                self.hashed |= option == "--hash"
            else:
                self._global(option, value, file)
        if requirement:
            self._requirement(requirement, kept, constraint)

    def _requirement(self, requirement: str, kept: list[str], constraint: bool) -> None:
        self._append(" ".join([self._located(requirement), *kept]), constraint)
        name = NAME.match(requirement)
        if name and not constraint:
            self.names.add(normal(name[1]))
        pin = PIN.match(requirement)
        if pin:
            self.pins[normal(pin[1])] = pin[2]

    def _append(self, line: str, constraint: bool) -> None:
        (self.constraints if constraint else self.lines).append(line)

    def _global(self, option: str, value: str, file: str) -> None:
        """Options that hold for the whole run; those that uv has no use for are left out."""
        if option in ("-f", "--find-links"):
            directory = _beside(file, value)
            if not SCHEME.match(value) and os.path.isdir(f"{self.root}/{directory}"):
                value, self.local = f"{self.root}/{directory}", True
            self.lines.append(f"--find-links {value}")
        elif option in ("-i", "--index-url", "--pypi-url"):
            self.lines.append(f"--index-url {value}")
        elif option in ("--extra-index-url", "--no-binary", "--only-binary"):
            self.lines += [f"{option} {one}" for one in (value.split(",") if "binary" in option else [value])]
        elif option == "--no-index":
            self.lines.append(option)
        elif option == "--trusted-host":
            self.trusted.append(value)
        self.pre |= option == "--pre"
        self.hashed |= option == "--require-hashes"

    def _located(self, requirement: str) -> str:
        """A path of the repository as a full one; anything else as it is."""
        head, separator, marker = _marker(requirement)
        named, at, place = head.rpartition(" @ ") if " @ " in head else ("", "", head)
        place, extras = re.fullmatch(r"(.*?)(\[[^\]]*\])?", place.strip(), re.DOTALL).groups("")  # type: ignore[union-attr]
        path = place
        if place.lower().startswith("file:"):
            path = unquote(re.sub(r"^file:(//(localhost)?(?=/))?", "", place, flags=re.IGNORECASE)).partition("#")[0]
        elif SCHEME.match(place) or VCS.match(place) or "://" in place or not (place[:1] == "." or "/" in place):
            return requirement
        if path.startswith("/"):
            self.local |= texts.inside(self.root, os.path.realpath(path))
            return requirement
        full = os.path.normpath(f"{self.root}/{path}")
        if not texts.inside(self.root, os.path.realpath(full)):
            raise Wrong(f"{place} in a requirements file leads out of the repository")
        if not os.path.exists(full):
            raise Wrong(f"{place} is named in a requirements file but is not in the repository")
        self.local = True
        return f"{named}{at}{'file://' if named else ''}{full}{extras}{separator}{marker}"


def logical_lines(text: str) -> list[str]:
    """Lines with continuations joined, without comments and blank lines."""
    lines: list[str] = []
    begun = ""
    for line in text.splitlines():
        if line.endswith("\\") and not COMMENT.match(line):
            begun += line[:-1]
            continue
        if begun and COMMENT.match(line):
            line = " " + line
        lines.append(begun + line)
        begun = ""
    stripped = [COMMENT.sub("", line).strip() for line in [*lines, begun]]
    return [line for line in stripped if line]


def split(line: str, file: str) -> tuple[str, list[tuple[str, str]]]:
    """The requirement of a line and its options, as pip takes them apart."""
    words = line.split(" ")
    count = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    try:
        options, rest = getopt.gnu_getopt(shlex.split(" ".join(words[count:])), SHORT, LONG)
    except (getopt.GetoptError, ValueError) as error:
        raise Wrong(f"{file}: {line[:80]!r}: {error}") from None
    return " ".join([*words[:count], *rest]).strip(), options


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _marker(requirement: str) -> tuple[str, str, str]:
    """A path or URL ends at a `;` that stands after a space; a name's version does at any."""
    if "/" in requirement.partition(";")[0] and " ;" not in requirement:
        return requirement, "", ""
    return requirement.partition(" ;" if " ;" in requirement else ";")


def _beside(file: str, named: str) -> str:
    """Where an included file lies: beside the one that names it."""
    if SCHEME.match(named):
        return named
    if SCHEME.match(file):
        return urljoin(file, named)
    return os.path.normpath(os.path.join(os.path.dirname(file), named))
