"""Want of room is told before it hurts, be it of bytes or of files."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rustploy_agent import space

GIB = 2**30


def disk(free: int, files: int, free_files: int) -> SimpleNamespace:
    return SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=files, f_favail=free_files)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (disk(10 * GIB, 10**6, 10**5), None),
        (disk(10 * GIB, 0, 0), None),  # btrfs and its like
        (disk(10 * GIB, 10_000, 600), None),  # a small one, which is far from full
        (disk(GIB // 4, 10**6, 10**5), "256 MiB are free"),
        (disk(10 * GIB, 10**6, 0), "0 more files"),
        (disk(10 * GIB, 10**6, 1500), "inodes"),
    ],
)
def test_bytes_and_files_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, about: SimpleNamespace, told: str | None
) -> None:
    """Else a disk with room that takes no more files fails builds with words that nobody understands."""
    monkeypatch.setattr(os, "statvfs", lambda _: about)
    found = space.shortage(tmp_path, GIB)
    assert found is None if told is None else found is not None and told in found
