"""What a slug was built for: the host's Debian, and the host's interpreters that it runs with.

After an upgrade of Debian, or of such an interpreter, a slug is not used again: a virtual environment of Python 3.11
does not start with Python 3.13.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from rustploy_agent import process
from rustploy_agent.models import App, Release, Slug

#: An upgrade of the host replaces it while the agent runs.
OS_RELEASE = Path("/etc/os-release")
PYTHON, NODE = "/usr/bin/python3", "/usr/bin/node"


def of_host() -> str:
    """Return which system this is, such as debian-12."""
    about = dict(line.partition("=")[::2] for line in OS_RELEASE.read_text(encoding="utf-8").splitlines())
    return "-".join(about.get(key, "").strip('"') for key in ("ID", "VERSION_ID")).rstrip("-")


def _python(path: str) -> str | None:
    """Return its version, which is in the name of the file that the link names."""
    found = re.fullmatch(r"python(3\.[0-9]+)", Path(path).resolve().name)
    return found[1] if found else None


def _node(path: str) -> str | None:
    try:
        about = Path(path).stat()
    except OSError:
        return None
    return _node_package(about.st_ino, about.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _node_package(_inode: int, _changed: int) -> str | None:
    """Return the major version by its package: node itself does not start in the agent's sandbox."""
    try:
        return process.run(["dpkg-query", "-W", "-f", "${Version}", "nodejs"], seconds=10).partition(".")[0]
    except process.ProcessFailed:
        return None


#: Versions whose change makes what was built unusable. None: it is not there, or cannot be told.
INTERPRETERS: dict[str, Callable[[str], str | None]] = {PYTHON: _python, NODE: _node}


def runtimes(paths: Iterable[str]) -> dict[str, str]:
    """Return the versions of these interpreters of the host; paths that are none are left out."""
    found = {path: INTERPRETERS[path](path) for path in paths if path in INTERPRETERS}
    return {path: version for path, version in found.items() if version}


def adopt() -> None:
    """Take slugs that an older agent built, and wrote nothing about, for slugs of this Debian."""
    Slug.update(stack=of_host()).where(Slug.stack == "").execute()


def fits(slug: Slug) -> bool:
    return slug.stack in ("", of_host()) and not changed_runtimes(slug)


def changed_runtimes(slug: Slug) -> list[str]:
    """Return the interpreters that have another version now: what needs them does not start any more."""
    now = runtimes(slug.runtimes)
    return [path for path, version in slug.runtimes.items() if now.get(path) != version]


def difference(slug: Slug) -> str:
    """Return a sentence that says what it was built with and what there is now."""
    paths = list(slug.runtimes)
    before, now = [slug.stack, *_named(slug.runtimes)], [of_host(), *_named(runtimes(paths))]
    return f"it was built on {' with '.join(before)}, and this host is {' with '.join(now)}"


def _named(versions: dict[str, str]) -> list[str]:
    return [f"{Path(path).name} {version}" for path, version in versions.items()]


def rebuild_needed(app: App) -> str | None:
    """Return why the release that serves should be built anew; None when it fits this host."""
    release = Release.get_or_none(Release.id == app.active_release_id)
    if release is None or fits(release.slug):
        return None
    return f"{difference(release.slug)}; deploy it, or run `rustploy-agent rebuild {app.name}` as root"
