"""The linters, as tests: what they would find later is cheaper now."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "-C", TREE, "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return [TREE / name for name in listed.split("\0") if name and (TREE / name).is_file()]


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(100)
    return path.suffix == ".sh" or (first.startswith(b"#!") and first.split()[-1].endswith((b"/sh", b"bash", b" sh")))


def clean(*argv: str | Path) -> None:
    found = subprocess.run(argv, cwd=TREE, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("check", [("ruff", "check", "--no-cache"), ("mypy",)], ids=lambda check: check[0])
def test_python(check: tuple[str, ...]) -> None:
    clean(sys.executable, "-m", *check)


def test_shell() -> None:
    scripts = [path for path in tracked() if is_shell(path)]
    assert len(scripts) > 10
    clean("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *scripts)
