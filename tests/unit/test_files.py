"""Files between users: replaced whole or not at all, and never read through a link that somebody planted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rustploy_agent import files

ME = os.geteuid()


def test_content_and_mode_arrive_whatever_the_umask_is(tmp_path: Path) -> None:
    target = tmp_path / "x"
    before = os.umask(0o077)
    try:
        files.replace(target, b"new", mode=0o644)
    finally:
        os.umask(before)
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o644)
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "x").symlink_to(victim)
    files.replace(tmp_path / "x", b"new")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "x").is_symlink()


def test_a_failed_write_leaves_the_old_content_and_no_rest(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def refused(path: Path, owner: int = ME) -> str:
    with pytest.raises(files.UntrustedFile) as caught:
        files.read_untrusted_json(path, owner=owner)
    return str(caught.value)


def test_an_object_of_the_right_owner_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"a": 1}')
    assert files.read_untrusted_json(tmp_path / "x", owner=ME) == {"a": 1}


def test_everything_else_is_refused_with_its_reason(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text("{}")
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir").mkdir()
    (tmp_path / "large").write_bytes(b" " * (files.LARGEST_MESSAGE + 1))
    (tmp_path / "deep").write_text("[" * 200_000)
    (tmp_path / "list").write_text("[]")
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert "cannot be opened" in refused(tmp_path / "absent")
    assert "cannot be opened" in refused(tmp_path / "link")
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "dir")
    assert "expected owner" in refused(good, owner=ME + 1)
    assert "larger" in refused(tmp_path / "large")
    assert "not valid" in refused(tmp_path / "deep")
    assert "not a JSON object" in refused(tmp_path / "list")
    assert "not valid" in refused(tmp_path / "bytes")
