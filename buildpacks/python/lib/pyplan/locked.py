"""The lock files of Poetry and PDM: every version and hash in them, to which a resolution by uv is held.

uv resolves what the project asks for with every locked version as a constraint: so markers and extras select as they
should. Then each result must be in the lock, and gets its hashes. What is not in it is refused.
"""

from __future__ import annotations

import re
from typing import Any

from pyplan import poetry, texts
from pyplan.requirements import Requirements, normal
from pyplan.wrong import Wrong

TOOLS = {"poetry.lock": "poetry lock", "pdm.lock": "pdm lock"}


def add(root: str, file: str, project: dict[str, Any], wanted: Requirements) -> None:
    """Put what the project asks for into `wanted`, and what is locked into its constraints."""
    packages = _packages(root, file)
    direct = {normal(one["name"]): one for one in packages if _place(one)}
    lines = list(texts.table(project, "project").get("dependencies") or [])
    if file == "poetry.lock":
        named = {normal(name[1]) for line in lines if (name := re.match(r"\s*([A-Za-z0-9._-]+)", str(line)))}
        # Where both tables list a package, Poetry's only says where it comes from.
        lines += [line for line in poetry.dependencies(project) if _name(line) not in named]
    for line in lines:
        about = direct.get(_name(line))
        marker = line.partition(" ; ")[2]
        wanted.add_line(f"{_place(about)}{f' ; {marker}' if marker else ''}" if about else line, file)
    urls = {
        one["source"]["url"] for one in packages if _source(one).get("type") == "legacy" and _source(one).get("url")
    }
    for url in sorted(urls):
        wanted.add_line(f"--extra-index-url {url}", file)
    wanted.constraints += _pins([one for one in packages if normal(one["name"]) not in direct])


def join(root: str, file: str, resolved: str) -> list[str]:
    """The resolved lines with their hashes; Wrong when one of them is not locked."""
    packages = _packages(root, file)
    hashes = {(normal(one["name"]), _plain(one["version"])): _hashes(one) for one in packages}
    lines = []
    for line in resolved.splitlines():
        match = re.match(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
        if not match:
            lines.append(line)
            continue
        found = hashes.get((normal(match[1]), _plain(match[2])))
        if found is None:
            raise Wrong(
                f"{file} is out of step with pyproject.toml: {match[1]} is asked for and is not locked; "
                f"run `{TOOLS[file]}` and commit the result"
            )
        lines.append(" ".join([line, *(f"--hash={one}" for one in found)]))
    return lines


def run(root: str, file: str, resolved: str) -> None:
    """Replace a file of resolved lines by the same with hashes."""
    with open(resolved, encoding="utf-8") as opened:
        lines = join(root, file, opened.read())
    with open(resolved, "w", encoding="utf-8") as opened:
        opened.write("".join(f"{line}\n" for line in lines))


def _packages(root: str, file: str) -> list[dict[str, Any]]:
    document = texts.toml(root, file)
    found = document.get("package", [])
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("version", ""), str)
        for one in found
    ):
        raise Wrong(f"{file} is no lock file that can be read; make a new one with `{TOOLS[file]}`")
    # PDM lists a package again for each set of extras, and Poetry 1.0 kept the hashes elsewhere.
    kept = texts.table(document, "metadata", "files")
    return [{"version": "0", **one, "files": one.get("files") or kept.get(one["name"], [])} for one in found]


def _pins(packages: list[dict[str, Any]]) -> list[str]:
    versions: dict[str, set[str]] = {}
    for one in packages:
        versions.setdefault(normal(one["name"]), set()).add(one["version"])
    lines = []
    for name, found in sorted(versions.items()):
        if len(found) == 1:
            lines.append(f"{name}=={next(iter(found))}")
            continue
        marked = [
            one
            for one in packages
            if normal(one["name"]) == name and isinstance(one.get("markers") or one.get("marker"), str)
        ]
        lines += [f"{name}=={one['version']} ; {one.get('markers') or one.get('marker')}" for one in marked]
    return lines


def _hashes(package: dict[str, Any]) -> list[str]:
    return sorted(
        {one["hash"] for one in package["files"] if isinstance(one, dict) and isinstance(one.get("hash"), str)}
    )


def _place(package: dict[str, Any] | None) -> str:
    """Where a package comes from that is no release of an index; empty for others."""
    if package is None:
        return ""
    source, name = _source(package), package["name"]
    url, kind = str(source.get("url") or ""), source.get("type")
    if kind == "git":
        part = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
        return f"{name} @ git+{url}@{source.get('resolved_reference')}{part}"
    if kind == "url":
        return f"{name} @ {url}"
    if kind in ("directory", "file"):
        return url if url.startswith((".", "/")) else f"./{url}"
    if "git" in package:
        return f"{name} @ git+{package['git']}@{package.get('revision') or package.get('ref')}"
    if package.get("path"):
        return str(package["path"])
    return f"{name} @ {package['url']}" if package.get("url") else ""


def _source(package: dict[str, Any]) -> dict[str, Any]:
    return texts.table(package, "source")


def _name(line: str) -> str:
    match = re.match(r"\s*(?:-e\s+)?([A-Za-z0-9._-]+)", line)
    return normal(match[1]) if match else ""


def _plain(version: str) -> str:
    """A version as it compares: 1.0 and 1.0.0 are not told apart by tools that write them."""
    return re.sub(r"(?:\.0)+$", "", version.lower().replace("-", ".").removeprefix("v"))
