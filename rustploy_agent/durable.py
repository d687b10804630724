"""Makes what was built survive a power cut, without waiting for what neighbours write to the same file system."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rustploy_agent.process import sync_filesystem

#: A disk flushes its cache for each file, so one sync of the whole file system is faster from about here on.
MOST_FILES = 256
#: Calls at the same time share the file system's commits.
AT_ONCE = 8


def make_durable(directory: Path) -> None:
    """Return once the tree below `directory`, and its own entry in the directory above, are on disk.

    A tree of few files is synced file by file. One of many, or one with a part that cannot be listed, is synced with
    the whole file system, which takes as long as it takes to write everybody's changes.
    """
    paths = few(directory)
    if paths is None:
        sync_filesystem(directory)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_sync, paths))


def few(directory: Path) -> list[Path] | None:
    """Return the tree's regular files, then its directories, the deepest first; None when it is not to be listed."""
    files: list[Path] = []
    directories, pending = [directory.parent, directory], [directory]
    try:
        while pending:
            for entry in os.scandir(pending.pop()):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    directories.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append(Path(entry.path))
                if len(files) + len(directories) > MOST_FILES:
                    return None
        readable = all(os.access(path, os.R_OK) for path in files)
    except OSError:  # a build may shut others out, or nest directories until a path is too long
        return None
    return [*files, *reversed(directories)] if readable else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
