"""What was built is on disk before it serves, and a neighbour that writes much does not hold it up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rustploy_agent import durable


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were synced, each with its own call; a whole file system's is `all of <directory>`."""
    seen: list[str] = []
    real: Callable[[int], None] = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(durable, "sync_filesystem", lambda path: seen.append(f"all of {path}"))
    return seen


@pytest.fixture
def slug(tmp_path: Path) -> Path:
    made = tmp_path / "slugs" / "one"
    (made / "app" / "deep" / "er").mkdir(parents=True)
    for name in ("app/run", "app/deep/file", "app/deep/er/file"):
        (made / name).write_text("x")
    (made / "app" / "link").symlink_to("/etc/passwd")
    return made


def test_every_file_and_directory_is_synced_and_nothing_else(slug: Path, synced: list[str]) -> None:
    """Else a power cut leaves files without content in a release that serves, or an empty directory in its place."""
    os.mkfifo(slug / "app" / "pipe")  # opening it would wait for ever
    durable.make_durable(slug)
    expected = {str(path) for path in slug.rglob("*") if path.name not in ("link", "pipe")}
    assert set(synced) == expected | {str(slug), str(slug.parent)}
    assert len(synced) == len(set(synced))


def test_many_files_are_synced_at_once(slug: Path, synced: list[str]) -> None:
    """Else each of ten thousand files waits for the disk's cache."""
    for number in range(durable.MOST_FILES):
        (slug / "app" / str(number)).touch()
    durable.make_durable(slug)
    assert synced == [f"all of {slug}"]


@pytest.mark.parametrize("mode", [0o711, 0o000])
def test_a_part_that_cannot_be_listed_is_not_left_out(slug: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a build that shuts others out of a directory gets a release that a power cut empties."""
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "er":
            raise PermissionError
        return real(path)

    (slug / "app" / "deep" / "er").chmod(mode)
    if os.geteuid() == 0:  # whom no mode keeps out
        monkeypatch.setattr(os, "scandir", scandir)
    assert durable.few(slug) is None
    (slug / "app" / "deep" / "er").chmod(0o755)


def test_a_disk_that_fails_fails_the_deployment(slug: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a release is offered for rollback that is not there."""

    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        durable.make_durable(slug)
