"""The dependencies that Poetry's own table lists, as requirements."""

from __future__ import annotations

import re
from typing import Any

from pyplan import texts
from pyplan.wrong import Wrong

SOURCES = ("git", "url", "path", "file")


def dependencies(project: dict[str, Any]) -> list[str]:
    """Lines for what is installed to run: the table's entries, without optional ones and groups."""
    lines: list[str] = []
    for name, about in texts.table(project, "tool", "poetry", "dependencies").items():
        if name.lower() == "python":
            continue
        for one in about if isinstance(about, list) else [about]:
            line = _line(name, one)
            if line:
                lines.append(line)
    return lines


def indexes(project: dict[str, Any]) -> list[str]:
    """Lines for the sources that the project names besides the usual one."""
    sources = texts.table(project, "tool", "poetry").get("source")
    urls = [one.get("url") for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []
    return [f"--extra-index-url {url}" for url in urls if isinstance(url, str)]


def specifier(text: str) -> str:
    """A version constraint of Poetry in the notation of PEP 440; empty for any version."""
    if "||" in text or re.search(r"\s\|\s", text):
        return ""  # PEP 440 has no `or`; a lock file says which one it is
    return ",".join(part for one in re.split(r",|\s+(?=[<>=!~^])", text) if (part := _one(one.strip())))


def _one(text: str) -> str:
    text = re.sub(r"\s+", "", text)
    if text in ("", "*", "==*"):
        return ""
    match = re.fullmatch(r"([\^~])v?([0-9][\w.+-]*)", text)
    if match:
        return f">={match[2]},<{_ceiling(match[1], match[2])}"
    if text[0].isdigit():
        return f"=={text}"
    return f"={text}" if re.match(r"=[0-9]", text) else text


def _ceiling(operator: str, version: str) -> str:
    """The first version that ^ and ~ do not admit."""
    numbers = [int(part) for part in re.match(r"[0-9.]+", version)[0].strip(".").split(".")]  # type: ignore[index]
    if operator == "~":
        kept = 1 if len(numbers) == 1 else 2
    else:
        kept = next((index + 1 for index, number in enumerate(numbers) if number), len(numbers))
    return ".".join(str(number) for number in [*numbers[: kept - 1], numbers[kept - 1] + 1])


def _line(name: str, about: Any) -> str:
    if isinstance(about, str):
        about = {"version": about}
    if not isinstance(about, dict):
        raise Wrong(f"pyproject.toml: tool.poetry.dependencies.{name}: must be a version or a table")
    if about.get("optional"):
        return ""
    extras = f"[{','.join(about['extras'])}]" if about.get("extras") else ""
    marker = _marker(about)
    if "git" in about:
        at = next((f"@{about[key]}" for key in ("rev", "tag", "branch") if about.get(key)), "")
        part = f"#subdirectory={about['subdirectory']}" if about.get("subdirectory") else ""
        return f"{name}{extras} @ git+{about['git'].removeprefix('git+')}{at}{part}{marker}"
    if "url" in about:
        return f"{name}{extras} @ {about['url']}{marker}"
    path = about.get("path") or about.get("file")
    if path:
        place = path if path.startswith((".", "/")) else f"./{path}"
        return f"{'-e ' if about.get('develop') else ''}{place}{extras}{marker}"
    return f"{name}{extras}{specifier(str(about.get('version') or '*'))}{marker}"


def _marker(about: dict[str, Any]) -> str:
    parts = [f"({about['markers']})"] if about.get("markers") else []
    if about.get("platform"):
        parts.append(f"sys_platform == '{about['platform']}'")
    for one in specifier(str(about.get("python") or "")).split(","):
        match = re.fullmatch(r"(==|!=|<=|>=|<|>|~=)([0-9][0-9.]*)(?:\.\*)?", one)
        if match:
            # Python 3.9 itself is `3.9` for python_version; a patch level needs the full one.
            variable = "python_full_version" if match[2].count(".") > 1 else "python_version"
            version = match[2] if "." in match[2] else f"{match[2]}.0"
            parts.append(f"{variable} {match[1]} '{version}'")
    return f" ; {' and '.join(parts)}" if parts else ""
