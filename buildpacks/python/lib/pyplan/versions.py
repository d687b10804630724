"""Which versions of Python a text admits, in the spellings of pyenv, Heroku, PEP 440, Poetry, Pipenv and uv."""

from __future__ import annotations

import re
from collections.abc import Callable

Version = tuple[int, int, int]
Test = Callable[[Version], bool]

#: Newest patch release, for a minor version of which only the newest is ever chosen.
NEWEST = 99
#: Tried in this order when the host's own does not fit: those that most packages have wheels for come first.
MINORS = (13, 12, 11, 10, 9, 14, 8, 15)
PREFIX = re.compile(r"^(?:c?python|py)?[-@ ]?v?(?=[0-9<>=~^!*])", re.IGNORECASE)
CLAUSE = re.compile(
    r"\s*(?P<operator>===|==|~=|!=|>=|<=|=|>|<|\^|~)?\s*v?"
    r"(?P<version>\*|\d+(?:\.(?:\d+|[xX*]))*)(?P<wild>\+?)(?:\.?(?:a|b|rc|dev|post|-dev)\d*)?\s*(?:,|$|(?=[\s<>=~^!]))"
)


def parse(text: str) -> list[list[Test]]:
    """Alternatives, each a list of tests that a version must pass; ValueError when it is no range of versions."""
    cleaned = PREFIX.sub("", text.strip().strip("\"'").strip())
    cleaned = re.sub(r"(?<=\d)(?:/.*|-dev)$", "", cleaned)
    return [_clauses(part) for part in re.split(r"\|\|?", cleaned)]


def fits(alternatives: list[list[Test]], version: Version) -> bool:
    return any(all(test(version) for test in tests) for tests in alternatives)


def choose(alternatives: list[list[Test]]) -> str | None:
    """The version to be fetched, such as 3.12, or 3.12.1 when only that will do; None when there is none."""
    for minor in MINORS:
        if fits(alternatives, (3, minor, NEWEST)):
            return f"3.{minor}"
    for minor in MINORS:
        for patch in range(40, -1, -1):
            if fits(alternatives, (3, minor, patch)):
                return f"3.{minor}.{patch}"
    return None


def exact(text: str) -> Version:
    """(3, 11, 2) of 3.11.2."""
    numbers = [int(part) for part in re.findall(r"\d+", text)[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch


def minor_of(text: str) -> str:
    """A version without its patch level: security releases of a minor version are compatible, and wanted."""
    cleaned = PREFIX.sub("", text.strip().strip("\"'").strip())
    return re.sub(r"^(\d+\.\d+)\.(?:\d+)(?=$|/|-dev$)", r"\1", cleaned)


def _clauses(text: str) -> list[Test]:
    tests: list[Test] = []
    position = 0
    while position < len(text.rstrip()):
        match = CLAUSE.match(text, position)
        if not match or match.end() == position:
            raise ValueError(f"{text.strip()[:40]!r} is no version or range of versions")
        position = match.end()
        version = match["version"]
        if version == "*":
            continue
        numbers = tuple(int(part) for part in re.findall(r"\d+", version))[:3]
        tests.append(_test(match["operator"] or "=", numbers, version.lower().endswith(("x", "*"))))
    if not tests and "*" not in text:
        raise ValueError("no version is named")
    return tests


def _test(operator: str, numbers: tuple[int, ...], wild: bool) -> Test:
    count = len(numbers)
    floor = (*numbers, 0, 0, 0)[:3]
    if operator in ("=", "==", "==="):
        return lambda version: version[:count] == numbers
    if operator == "!=":
        return lambda version: version[:count] != numbers
    if operator == "<":
        return lambda version: version < floor
    if operator == "<=":
        return lambda version: version[:count] <= numbers
    if operator == ">":
        # `>3.10` admits 3.10.1 by the letter, and `>3.10.*` does not.
        return (lambda version: version[:count] > numbers) if wild else (lambda version: version > floor)
    if operator == ">=":
        return lambda version: version >= floor
    kept = _kept(operator, count)
    return lambda version: version >= floor and version[:kept] == numbers[:kept]


def _kept(operator: str, count: int) -> int:
    """How many leading numbers ^, ~ and ~= do not let change."""
    if operator == "^" or count == 1:
        return 1
    return count - 1 if operator == "~=" else 2
