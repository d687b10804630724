"""Slot files: an app's secrets on their way to its process, byte for byte, past a shell that runs nothing of them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustploy_agent import names, pipes, slots

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60) | st.sampled_from(
    [
        "",
        "'",
        "''",
        "$(id)",
        "`id`",
        "%i%%",
        "a\\\n",
        "\r\n",
        "\\'",
        "!!",
        "\x81\x82\x88",
        "~",
        "-n",
        "*",
        "\x7f\x1b[0m",
    ]
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda key: key not in names.RESERVED_ENV
    and key.upper() not in ("PATH", "ENV")
    and not key.upper().startswith("RUSTPLOY_")
)
#: Prints each variable as NAME=value with a NUL behind it, and the launcher's two behind them.
READ_BACK = '. "$1"; printf "%s\\0" "$rustploy_app_dir" "$rustploy_command"; exec env -0'


def read_back(content: bytes, directory: Path) -> tuple[list[bytes], dict[bytes, bytes]]:
    """What a real shell makes of it: app directory and command, and the exported environment."""
    file = directory / "web-a.env"
    file.write_bytes(content)
    argv = ["/bin/sh", "-euc", READ_BACK, "sh", str(file)]
    done = subprocess.run(argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True, timeout=10)
    parts = done.stdout.split(b"\0")
    return parts[:2], dict(part.split(b"=", 1) for part in parts[2:] if part)  # type: ignore[misc]


@pytest.mark.processes
@settings(max_examples=60, deadline=None)
@given(env=st.dictionaries(keys, values, max_size=8), command=values.filter(bool))
def test_every_value_survives_the_shell_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, env: dict[str, str], command: str
) -> None:
    content = slots.render(env, Path("/var/lib/rustploy/apps/x/slugs/it's/app"), command)
    own, found = read_back(content, tmp_path_factory.mktemp("slot"))
    assert own == [b"/var/lib/rustploy/apps/x/slugs/it's/app", command.encode()]
    assert {key: found[key.encode()].decode() for key in env} == env


@pytest.mark.processes
def test_a_reserved_key_would_really_not_arrive(tmp_path: Path) -> None:
    """Why they are refused: the shell keeps these for itself or sets them anew."""
    _, found = read_back(slots.render({"PPID": "1", "IFS": "x"}, Path("/x"), "true"), tmp_path)
    assert found.get(b"PPID") != b"1" or found.get(b"IFS") == b"x"


def test_the_launcher_s_own_words_are_not_exported() -> None:
    lines = slots.render({"A": "1"}, Path("/x/app"), "run").decode().splitlines()
    assert lines == ["export A=1", "rustploy_app_dir=/x/app", "rustploy_command=run"]


def test_a_slot_file_is_readable_by_owner_and_group_only(tmp_path: Path) -> None:
    target = slots.path(tmp_path, "web", "a")
    target.parent.mkdir()
    before = os.umask(0)
    try:
        slots.write(target, b"export A=1\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_removing_a_slot_leaves_the_other_and_the_task(tmp_path: Path) -> None:
    directory = tmp_path / "slots"
    directory.mkdir()
    for name in ("web-a.env", "worker-a.env", "web-b.env", "task.env"):
        (directory / name).write_text("")
    slots.remove(tmp_path, "a")
    assert sorted(path.name for path in directory.iterdir()) == ["task.env", "web-b.env"]
    slots.remove(tmp_path, "a")


def test_instances_are_told_apart_from_process_types_that_end_in_digits(tmp_path: Path) -> None:
    """Else a lost database gives an app another slot or number than it runs with."""
    directory = tmp_path / "slots"
    directory.mkdir()
    for name in ("web-b", "web-b16", "b2-b", "w1-b2", "task", "web-b1", "web-b17", "web-c"):
        (directory / f"{name}.env").write_text("")
    assert slots.in_use(tmp_path) == "b"
    assert slots.numbers(tmp_path) == {"web": 16, "b2": 1, "w1": 2}
    assert slots.path(tmp_path, "web", "b", 16).exists() and slots.path(tmp_path, "w1", "b", 2).exists()
    slots.remove(tmp_path, "b")
    assert slots.in_use(tmp_path) is None and slots.numbers(tmp_path) == {}


def test_a_reserved_slot_file_is_for_the_same_readers_and_counts_as_none(tmp_path: Path) -> None:
    """An app that is set up anew from its directory must not take what was being made for what ran."""
    target = slots.path(tmp_path, "web", "b")
    target.parent.mkdir()
    slots.write(slots.path(tmp_path, "worker", "a"), b"")
    before = os.umask(0o077)
    try:
        pipes.make(target)
    finally:
        os.umask(before)
    assert (stat.S_ISFIFO(target.stat().st_mode), stat.S_IMODE(target.stat().st_mode)) == (True, 0o640)
    assert (slots.in_use(tmp_path), slots.numbers(tmp_path)) == ("a", {"worker": 1})
    slots.remove(tmp_path, "b")
    assert target.is_fifo(), "whoever waits at it must be found, to be stopped"
    slots.remove_pipes(tmp_path, "b")
    assert not target.exists()
