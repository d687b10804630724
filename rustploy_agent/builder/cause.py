"""Which of a failed build's lines say why it failed. Pure.

After the line that matters tools print their usage, stack traces and where their log is, and each wrapper repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rustploy_agent.builder import debian_hints

#: How many lines the program keeps for this; a compiler's output is long.
KEPT_LINES = 400
#: Characters of a line that are looked at.
LONGEST_READ = 2000
MOST_LINES = 5
LONGEST_LINE = 300
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
#: What the tools put before each of their lines.
PREFIX = re.compile(r"^\s*(?:(?:npm (?:error|ERR!)|gyp ERR!(?: stack)?|error:? (?=error\b))\s*)+", re.IGNORECASE)
#: A buildpack's own sentence about the failure (`fail` of buildpacks/lib/release.sh).
OWN = re.compile(r"^\s*!\s+(.+)$")
#: From such a line on npm prints its manual.
MANUAL = re.compile(r"^(?:Clean install a project|Install a package|Usage:|Options:)\s*$")
#: Lines that follow a cause and are none, by the tool that prints them.
NOISE = re.compile(
    r"^\s*(?:"
    + "|".join(
        (
            r"$|[\^~|]+\s*$|at |hint:|note:|WARNING:|.*See above for output|-+> ",
            r"\[notice\]|.*\[end of output\]|.*─> \[\d+ lines of output\]",  # pip
            r"> |A complete log|/\S+debug-\d\.log|npm (?:warn|WARN|notice)|Run \"npm help",  # npm
            r"Exit status \d+|Failed at the ",
            r"code (?:\d+|EUSAGE|ELIFECYCLE|E404)$|(?:errno|path|syscall|signal|spawn)\s",
            r"command failed$|command (?:/bin/)?sh |This is probably not a problem with npm|Lifecycle script",
            r"\d+ packages are looking|run `npm fund|404\s*$|404\s+(?:Note|tarball|'.*is not in)",
            r"node:internal|Node\.js v\d",
            r"gyp (?:info|http|verb|WARN)|\$npm_package_|cwd |System |node -v|node-gyp -v|not ok|command \"",  # gyp
            r"info |ELIFECYCLE|(?:error |\[?ERROR\]? )?Command failed with exit code \d+\.?$",  # yarn, pnpm
            r"make(?:\[\d+\])?: (?:Leaving|Entering) directory",
        )
    )
    + ")"
)
STRONG = re.compile(
    r"\berr(?:or)?\b|\berror:|Error\b|\bERR_|not found|no such|cannot|can't|could not|couldn't|failed|missing|invalid"
    r"|unsupported|unexpected|denied|refused|unable|conflict|forbidden|mismatch|out of memory|killed",
    re.IGNORECASE,
)


def clean(line: str) -> str:
    """Return the line without colours and other control characters."""
    return CONTROL.sub("", line).rstrip()


def of(lines: Iterable[str]) -> str:
    """Return the sentence that says why the build failed, of the lines that it printed."""
    cleaned = [clean(line) for line in lines]
    own = OWN.match(cleaned[-1]) if cleaned else None
    if own:
        return own[1][: LONGEST_LINE * 2]
    told = _told(cleaned)
    hint = debian_hints.hint(told)
    if hint:
        return hint
    strong = [line for line in told[-KEPT_LINES // 4 :] if STRONG.search(line)]
    quoted = "; ".join(line[:LONGEST_LINE] for line in _quoted(told, strong))
    return f"its last lines: {quoted or '(none)'}"


def _quoted(told: list[str], strong: list[str]) -> list[str]:
    """The last lines when they say what is wrong, else the ones that do with what follows them."""
    last = told[-MOST_LINES:]
    if not strong or strong[-1] in last:
        return last
    position = len(told) - 1 - told[::-1].index(strong[-1])
    start = max(0, position - MOST_LINES // 2)
    return told[start : start + MOST_LINES]


def _told(lines: list[str]) -> list[str]:
    """The lines without prefixes, noise, manuals and repetitions."""
    told: list[str] = []
    in_manual = False
    for line in lines:
        prefix = PREFIX.match(line)
        text = line[prefix.end() :].strip() if prefix else line.strip()
        in_manual = bool(prefix) and (in_manual or bool(MANUAL.match(text)))
        if in_manual or NOISE.match(text) or NOISE.match(line):
            continue
        if text in told[-20:]:
            told.remove(text)
        told.append(text)
    return told
