"""The marks by which the ingress knows, with each request, which slot of an app serves and whether the app is open.

They are files, because a new configuration would end every websocket of every app: `<app>.b` means slot b (else a),
`<app>.open` that a release runs, `<app>.maintenance` that visitors get a page instead. Each comes and goes at once.
"""

from __future__ import annotations

from pathlib import Path

from rustploy_agent import files

KINDS = ("b", "open", "maintenance")


def point(routes: Path, app: str, slot: str) -> None:
    """Requests from now on go to this slot. Opened last: a first release must not be looked for in the other slot."""
    _mark(routes / f"{app}.b", slot == "b")
    _mark(routes / f"{app}.open", True)


def close(routes: Path, app: str) -> None:
    _mark(routes / f"{app}.open", False)


def maintain(routes: Path, app: str, wanted: bool) -> None:
    _mark(routes / f"{app}.maintenance", wanted)


def forget(routes: Path, app: str) -> None:
    """A later app of the same name must not begin with the marks of this one."""
    for kind in KINDS:
        _mark(routes / f"{app}.{kind}", False)


def marked(routes: Path) -> set[str]:
    """The apps that have a mark."""
    return {path.stem for path in routes.iterdir() if path.suffix.removeprefix(".") in KINDS}


def _mark(path: Path, wanted: bool) -> None:
    if path.exists() == wanted:
        return
    if wanted:
        files.replace(path, b"")
    else:
        path.unlink(missing_ok=True)
        files.sync_directory(path.parent)
