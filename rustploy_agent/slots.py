"""The files in an app's slots directory: environment and command of each process, for the launcher to read.

The directory is setgid to the app's group, so a file made here is readable by the agent and that app and nobody else.
A unit without its file does not start, also at boot.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from rustploy_agent import files


def render(env: Mapping[str, str], app_dir: Path, command: str) -> bytes:
    """sh assignments; in single quotes nothing but the quote itself has a meaning, so every byte arrives as it is."""
    lines = [f"export {key}={shlex.quote(value)}" for key, value in sorted(env.items())]
    lines += [f"rustploy_app_dir={shlex.quote(str(app_dir))}", f"rustploy_command={shlex.quote(command)}", ""]
    return "\n".join(lines).encode("utf-8")


def path(app: Path, process: str, slot: str) -> Path:
    return app / "slots" / f"{process}-{slot}.env"


def task_path(app: Path) -> Path:
    return app / "slots" / "task.env"


def write(target: Path, content: bytes) -> None:
    """To be made durable before it serves; the process may read it at once."""
    files.replace(target, content, durable=False)


def make_durable(target: Path) -> None:
    files.make_durable(target)


def reserve(target: Path) -> int:
    """A pipe where the file will be: a launcher waits at it until this descriptor is closed, and then looks again.

    Nothing ever goes through it, for whatever the app runs now could take it out. Nor can that keep anybody waiting:
    opened for reading too, no other end is needed. Without the agent, launchers wait until they are stopped.
    """
    os.mkfifo(target)
    target.chmod(0o640)
    return os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def in_use(app: Path) -> str | None:
    """The slot that has files, which is the one that serves; None when neither or both do."""
    found = {file.stem[-1] for file in _files(app)}
    return found.pop() if len(found) == 1 else None


def process_types(app: Path) -> set[str]:
    return {file.stem[:-2] for file in _files(app)}


def _files(app: Path) -> list[Path]:
    """Not the pipes that a deployment which was cut short has left."""
    return [file for file in (app / "slots").glob("*-[ab].env") if file.is_file()]


def remove(app: Path, slot: str) -> None:
    """Nothing starts in this slot any more, also not at boot."""
    removed = list((app / "slots").glob(f"*-{slot}.env"))
    for file in removed:
        file.unlink(missing_ok=True)
    if removed:
        files.sync_directory(app / "slots")
