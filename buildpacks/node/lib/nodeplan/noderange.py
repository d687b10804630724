"""Version ranges as package.json's engines.node writes them (npm's semver ranges).

Only whole releases are chosen between, so a prerelease in a range stands for the release that comes after it.
"""

from __future__ import annotations

import re
from collections import namedtuple  # not typing, which takes longer to load than the rest of a small build

Version = tuple[int, int, int]
ENDLESS: Version = (10**6, 0, 0)
PART = r"(?P<{0}major>\d+|[xX*])(?:\.(?P<{0}minor>\d+|[xX*]))?(?:\.(?P<{0}patch>\d+|[xX*]))?"
TAIL = r"(?P<{0}pre>-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
COMPARATOR = re.compile(r"(?P<operator>\^|~>?|>=|<=|>|<|=)?\s*[vV]?" + (PART + TAIL).format(""))
HYPHEN = re.compile(r"[vV]?" + (PART + TAIL).format("a") + r"\s+-\s+[vV]?" + (PART + TAIL).format("b"))


class Interval(namedtuple("Interval", "low high")):
    """low <= version < high."""

    __slots__ = ()

    def __contains__(self, version: object) -> bool:
        return isinstance(version, tuple) and self.low <= version < self.high


def parse(text: str) -> list[Interval]:
    """The intervals of a range; any of them will do. ValueError when it is not one."""
    found = []
    for alternative in text.split("||"):
        interval = _alternative(alternative.strip())
        if interval.low < interval.high:
            found.append(interval)
    return found


def version(text: str) -> Version:
    """The three numbers of a whole version such as v20.1.0."""
    major, minor, patch = (int(part) for part in text.strip().lstrip("v").split(".")[:3])
    return major, minor, patch


def _alternative(text: str) -> Interval:
    hyphen = HYPHEN.fullmatch(text)
    if hyphen:
        return Interval(_span(hyphen, "a").low, _span(hyphen, "b").high)
    low, high = (0, 0, 0), ENDLESS
    position = 0
    while position < len(text):
        match = COMPARATOR.match(text, position)
        if not match:
            raise ValueError(f"{text!r} is not a version range such as >=20 or 22.x")
        one = _comparator(match["operator"] or "=", match)
        low, high = max(low, one.low), min(high, one.high)
        position = re.compile(r"[\s,]*").match(text, match.end()).end()  # type: ignore[union-attr]
    return Interval(low, high)


def _comparator(operator: str, match: re.Match[str]) -> Interval:
    span = _span(match, "")
    if operator == ">=":
        return Interval(span.low, ENDLESS)
    prerelease = bool(match["pre"])
    if operator == ">":
        return Interval(span.low if prerelease else span.high, ENDLESS)
    if operator == "<":
        return Interval((0, 0, 0), span.low)
    if operator == "<=":
        return Interval((0, 0, 0), span.low if prerelease else span.high)
    major, minor, patch = span.low
    if operator == "^":
        return Interval(span.low, max(span.high, (major + 1, 0, 0)))
    if operator.startswith("~"):
        return Interval(span.low, max(span.high, (major, minor + 1, 0)))
    return span


def _span(match: re.Match[str], prefix: str) -> Interval:
    """What a possibly partial version stands for: 20 is [20.0.0, 21.0.0), 20.1 is [20.1.0, 20.2.0), * is everything."""
    parts = []
    for name in ("major", "minor", "patch"):
        part = match[prefix + name]
        if part is None or part in "xX*":
            break
        parts.append(int(part))
    if not parts:
        return Interval((0, 0, 0), ENDLESS)
    low = (*parts, 0, 0)[:3]
    high = (*parts[:-1], parts[-1] + 1, 0, 0)[:3]
    return Interval((low[0], low[1], low[2]), (high[0], high[1], high[2]))
