"""Which node an app asks for, where it says so, and which of the published versions that is."""

from __future__ import annotations

import re

from nodeplan import noderange
from nodeplan.noderange import Interval, Version
from nodeplan.packagefile import Wrong, read_bytes, strings, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Release lines with long-term support by their name, and the one that is taken when nothing is asked.
LTS = {"argon": 4, "boron": 6, "carbon": 8, "dubnium": 10, "erbium": 12, "fermium": 14, "gallium": 16, "hydrogen": 18}
LTS |= {"iron": 20, "jod": 22, "krypton": 24}
NEWEST_LTS = max(LTS.values())
OLDEST = 8
#: The oldest of the host that runs packages whose needs are not known.
OLDEST_UNASKED = 20
NEWEST = ("node", "current", "latest", "stable", "*", "x")
FILES = (".nvmrc", ".node-version", ".tool-versions")


def wishes(package: dict[str, Any], build_dir: str) -> list[tuple[str, str]]:
    """Return (where it stands, what is asked) for each place that names a version, the one that counts most first."""
    found = [(name, _of_file(name, build_dir)) for name in FILES]
    found.append(("package.json: volta.node", strings(package.get("volta")).get("node", "")))
    dev_engines = package.get("devEngines")
    runtime = strings(dev_engines.get("runtime")) if isinstance(dev_engines, dict) else {}
    if runtime.get("name") == "node":
        found.append(("package.json: devEngines.runtime", runtime.get("version", "")))
    found.insert(0, ("package.json: engines.node", strings(package.get("engines")).get("node", "")))
    return [(place, asked.strip()) for place, asked in found if asked.strip()]


def _of_file(name: str, build_dir: str) -> str:
    """The version in a file of one line, or the line `nodejs` of asdf's file; comments begin with #."""
    lines = text_of(read_bytes(f"{build_dir}/{name}"), name).splitlines()
    texts = [line.partition("#")[0].strip() for line in lines]
    if name == ".tool-versions":
        texts = [text.split()[1] for text in texts if re.match(r"node(?:js)?\s+\S", text)]
    return next((text for text in texts if text), "")


def intervals(place: str, asked: str) -> list[Interval]:
    """Return what `asked` allows; Wrong, naming the place, when it is no version."""
    text = asked.lower().removeprefix("node@").removeprefix("node/").strip()
    if text in NEWEST or text == "system":
        return noderange.parse("*")
    if text.startswith("lts"):
        major = _lts(text.partition("/")[2] or "*")
        if major is None:
            raise Wrong(
                f"{place}: there is no line {asked!r}; there are lts/* and {', '.join(f'lts/{n}' for n in LTS)}"
            )
        return noderange.parse(str(major))
    if text in LTS:
        return noderange.parse(str(LTS[text]))
    try:
        found = noderange.parse(text)
    except ValueError as error:
        raise Wrong(f"{place}: {error}") from None
    if not found:
        raise Wrong(f"{place}: no version is in {asked!r}")
    return found


def _lts(name: str) -> int | None:
    if name == "*":
        return NEWEST_LTS
    if re.fullmatch(r"-\d", name):
        majors = sorted(LTS.values())
        return majors[-1 - int(name[1:])] if int(name[1:]) < len(majors) else None
    return LTS.get(name)


def both(first: list[Interval], second: list[Interval]) -> list[Interval]:
    """Return what lies in both; nothing when they contradict each other."""
    pairs = [(max(a.low, b.low), min(a.high, b.high)) for a in first for b in second]
    return [Interval(low, high) for low, high in pairs if low < high]


def allowed(package: dict[str, Any], build_dir: str) -> tuple[list[Interval], str]:
    """Return what all places allow together, and the place that is named for it.

    engines.node comes first: it is about running the app. A file that contradicts it is about developing it.
    """
    found: list[Interval] = []
    place = ""
    for where, asked in wishes(package, build_dir):
        one = intervals(where, asked)
        if not place:
            found, place = one, f"{where} {asked}"
        elif both(found, one):
            found, place = both(found, one), f"{where} {asked}"
    return found, place


def fits(version: Version, ranges: list[Interval]) -> bool:
    return any(version in interval for interval in ranges)


def written(ranges: list[Interval]) -> str:
    """Return the ranges in a form that `pick` reads, as a shell word and as a cache's name."""
    return "||".join(".".join(map(str, each.low)) + "-" + ".".join(map(str, each.high)) for each in ranges)


def read_written(text: str) -> list[Interval]:
    found = []
    for part in text.split("||"):
        low, high = part.split("-")
        found.append(Interval(noderange.version(low), noderange.version(high)))
    return found


def pick(ranges: list[Interval], published: list[Version]) -> Version:
    """Return the version to fetch: of the newest line with long-term support that is allowed, else the newest allowed.

    A patch release that was never published as a package is replaced by the nearest later one of its line.
    """
    usable = [version for version in published if version[0] >= OLDEST]
    inside = [version for version in usable if fits(version, ranges)]
    for major in sorted(LTS.values(), reverse=True):
        of_line = [version for version in inside if version[0] == major]
        if of_line:
            return max(of_line)
    if inside:
        return max(inside)
    for each in ranges:
        nearest = [version for version in usable if version[0] == each.low[0] and version >= each.low]
        if nearest:
            return min(nearest)
    lines = sorted({version[0] for version in usable})
    raise Wrong(f"there is no such node; the package index has the lines {', '.join(map(str, lines)) or 'of none'}")


def npm_for(major: int) -> int:
    """Return the line of npm that came with this node: newer ones refuse it, or what its lock files say."""
    lines = ((24, 11), (18, 10), (16, 8), (15, 7))
    return next((npm for least, npm in lines if major >= least), 6)
