"""What went wrong, in one line, out of the output of uv, pip, a compiler, Poetry or PDM."""

from __future__ import annotations

import re
import sys

LONGEST = 600
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FAILED = re.compile(r"Failed (?:to )?(?:build|download and build)\w* `?([A-Za-z0-9._-]+)(?:==([^`\s]+))?")
UNREACHABLE = re.compile(
    r"dns error|[Cc]onnection refused|Connect(?:ion)? timed? ?out|Network is unreachable|tls handshake|tcp connect"
)


def run(file: str) -> None:
    with open(file, encoding="utf-8", errors="replace") as opened:
        sys.stdout.write(sentence(opened.read()))


def sentence(said: str) -> str:
    """One line that names the cause, and the Debian package where one is missing."""
    text = CONTROL.sub("", said)
    failed = FAILED.search(text)
    about = f"{failed[1]} {failed[2] or ''}".strip() + " cannot be built: " if failed else ""
    missing = _missing(text)
    if missing:
        return cut(about + missing)
    return cut(about + cause(text) if failed else cause(text))


def cause(text: str) -> str:
    """The tool's own error: the innermost cause that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    solver = _joined(lines)
    if solver:
        return solver
    exceptions = [line for line in lines if re.match(r"^(?:\w+\.)*\w*(?:Error|Exception|Required)\b.*:", line)]
    causes = [line for line in lines if re.match(r"^(?:cause|Caused by): ", line)]
    errors = [line for line in lines if re.match(r"^(?:error|ERROR)\b", line)]
    if any(UNREACHABLE.search(line) for line in causes):
        what = next((line for line in causes if "Failed to" in line), errors[0] if errors else causes[0])
        return f"{_bare(what)}: {_bare(causes[-1])}"
    for found in (exceptions[-1:], causes[:1] if errors else [], errors[-1:], lines[-1:]):
        if found:
            return _bare(found[0])
    return "it said nothing"


def _joined(lines: list[str]) -> str:
    """uv's explanation why there is no solution, which spans lines."""
    for index, line in enumerate(lines):
        match = re.match(r"^(?:cause: |╰─▶ )?(Because .*)", line)
        if match:
            rest = []
            for following in lines[index + 1 :]:
                if re.match(r"^(?:hint|error|help)\b", following):
                    break
                rest.append(following)
            return " ".join([match[1], *rest])
    return ""


def _bare(line: str) -> str:
    return re.sub(r"^(?:error|ERROR|cause|Caused by): ", "", line)


def _missing(text: str) -> str:
    """What Debian package the host lacks, by the table that is for all builds."""
    try:
        from rustploy_agent.builder import debian_hints
    except ImportError:
        return ""
    return debian_hints.hint(line.strip() for line in text.splitlines())


def cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else flat[: LONGEST - 1] + "…"
