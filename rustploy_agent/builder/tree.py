"""Whether a commit's tree may be checked out: no submodules, no way out, not too much. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rustploy_agent.builder.job import Refused

MOST_FILES = 200_000
MOST_SYMLINKS = 10_000
LONGEST_PATH = 3000  # leaves room for /var/lib/rustploy/apps/…/app before PATH_MAX
LONGEST_NAME = 255
LONGEST_TARGET = 4095
ENTRY = re.compile(rb"(\d{6}) (blob|tree|commit) ([0-9a-f]{40}) +(-|\d+)\t(.+)", re.DOTALL)


class Symlink(NamedTuple):
    path: bytes
    blob: str


class Tree(NamedTuple):
    """Bytes is the sum of all files as they will lie on disk, before any conversion of line ends."""

    files: int
    bytes: int
    symlinks: list[Symlink]


def entries(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The NUL-terminated entries of `git ls-tree -z`, however the pipe cut them."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\0")
        yield from whole


def survey(lines: Iterable[bytes], max_bytes: int) -> Tree:
    """Reads no further than the first thing that is refused, so that a tree of 10^10 files costs nothing."""
    files = total = 0
    symlinks: list[Symlink] = []
    for line in lines:
        match = ENTRY.fullmatch(line)
        if not match:
            raise ValueError(f"git ls-tree: unexpected entry {line[:80]!r}")
        mode, _, blob, size, path = match.groups()
        _check_path(path)
        if mode == b"160000":
            raise Refused(
                "unsupported_submodule",
                f"{show(path)} is a git submodule; submodules are not fetched. Commit its "
                "files into the repository or install it as a package during the build",
            )
        files, total = files + 1, total + int(size)
        if files > MOST_FILES:
            raise Refused("repository_too_large", f"the commit has more than {MOST_FILES} files")
        if total > max_bytes:
            raise Refused(
                "repository_too_large",
                f"the commit's files take more than {max_bytes // 2**20} MiB "
                f"(the limit was passed at {show(path)})",
            )
        if mode == b"120000":
            symlinks.append(_symlink(path, blob.decode(), int(size), len(symlinks)))
    return Tree(files, total, symlinks)


def check_target(path: bytes, target: bytes) -> None:
    """`..` only at the start, and not above the top: then a chain of links cannot leave the tree either."""
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == b"..":
        climbs += 1
    if target.startswith(b"/") or climbs > path.count(b"/"):
        raise Refused(
            "unsafe_symlink",
            f"{show(path)} is a symbolic link to {show(target)}, which leads out of the repository; "
            "links must be relative and stay inside",
        )
    if b".." in parts[climbs:] or b"\0" in target or not target:
        raise Refused(
            "unsafe_symlink",
            f"{show(path)} is a symbolic link to {show(target)}; write the target without '..' in " "the middle",
        )


def show(path: bytes) -> str:
    text = path[:200].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _symlink(path: bytes, blob: str, size: int, already: int) -> Symlink:
    if size > LONGEST_TARGET:
        raise Refused(
            "unsafe_symlink", f"{show(path)} is a symbolic link with a target of {size} bytes; at most {LONGEST_TARGET}"
        )
    if already >= MOST_SYMLINKS:
        raise Refused("unsafe_symlink", f"the commit has more than {MOST_SYMLINKS} symbolic links")
    return Symlink(path, blob)


def _check_path(path: bytes) -> None:
    if len(path) > LONGEST_PATH:
        raise Refused("unsafe_path", f"{show(path)}… is longer than {LONGEST_PATH} bytes")
    for name in path.split(b"/"):
        if name in (b"", b".", b"..") or name.lower() == b".git":
            raise Refused(
                "unsafe_path", f"{show(path)}: a file or directory may not be named {show(name) or 'nothing'!r}"
            )
        if len(name) > LONGEST_NAME:
            raise Refused("unsafe_path", f"{show(path)}: a name is longer than {LONGEST_NAME} bytes")
