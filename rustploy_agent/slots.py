"""The files in an app's slots directory: environment and command of each process, for the launcher to read.

The directory is setgid to the app's group, so a file made here is readable by the agent and that app and nobody else.
A unit without its file does not start, also at boot.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Mapping
from pathlib import Path

from rustploy_agent import files, units

PORT = re.compile(rb"^export PORT=([0-9]{1,5})$", re.MULTILINE)
NAME = re.compile(r"([a-z][a-z0-9]{0,15})-([ab])([2-9]|1[0-6])?\.env")


def render(env: Mapping[str, str], release: Path, command: str, *, root: str = "", copied: bool = False) -> bytes:
    """Return a slot file: sh assignments, in single quotes, in which every byte arrives as it is.

    The process runs in the directory `root` of `release`; when `copied`, in that of a copy that it may write into.
    """
    lines = [f"export {key}={shlex.quote(value)}" for key, value in sorted(env.items())]
    lines += [f"rustploy_app_dir={shlex.quote(str(release / root))}", f"rustploy_command={shlex.quote(command)}"]
    if copied:
        lines += [f"rustploy_copy_of={shlex.quote(str(release))}", f"rustploy_root={shlex.quote(root)}"]
    return "\n".join([*lines, ""]).encode("utf-8")


def path(app: Path, process: str, slot: str, number: int = 1) -> Path:
    return app / "slots" / f"{units.instance(process, slot, number)}.env"


def task_path(app: Path) -> Path:
    return app / "slots" / "task.env"


def write(target: Path, content: bytes) -> None:
    """To be made durable before it serves; the process may read it at once."""
    files.replace(target, content, durable=False)


def make_durable(target: Path) -> None:
    files.make_durable(target)


def in_use(app: Path) -> str | None:
    """The slot that has files, which is the one that serves; None when neither or both do."""
    found = {name[2] for file, name in _named(app) if file.is_file()}
    return found.pop() if len(found) == 1 else None


def numbers(app: Path) -> dict[str, int]:
    """Process types that have files, and the highest number of an instance of theirs."""
    found: dict[str, int] = {}
    for file, name in _named(app):
        if file.is_file():
            found[name[1]] = max(found.get(name[1], 1), int(name[3] or 1))
    return found


def port(app: Path, process: str, slot: str, number: int) -> int | None:
    """Where the process that runs in this slot listens; None when none runs there or it serves no HTTP."""
    file = path(app, process, slot, number)
    found = PORT.search(file.read_bytes()) if file.is_file() else None
    return int(found[1]) if found else None


def of_slot(app: Path, slot: str) -> list[Path]:
    return [file for file, name in _named(app) if name[2] == slot]


def remove(app: Path, slot: str, but: Container[Path] = ()) -> None:
    """No release starts in this slot any more, also not at boot, `but` that of these files.

    Pipes stay: who waits at one must be found by it, to be stopped.
    """
    remove_files([file for file in of_slot(app, slot) if file not in but and not file.is_fifo()])


def remove_pipes(app: Path, slot: str, but: Container[Path] = ()) -> None:
    """Once nobody waits at them."""
    for file in of_slot(app, slot):
        if file not in but and file.is_fifo():
            file.unlink()


def remove_files(targets: list[Path]) -> None:
    """These instances start no more, also not at boot."""
    removed = [file for file in targets if file.exists()]
    for file in removed:
        file.unlink(missing_ok=True)
    if removed:
        files.sync_directory(removed[0].parent)


def _named(app: Path) -> list[tuple[Path, re.Match[str]]]:
    """Files, and pipes at which units wait, or that were left by a deployment that was cut short."""
    return [(file, name) for file in (app / "slots").glob("*.env") if (name := NAME.fullmatch(file.name))]
