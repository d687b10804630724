"""The tools these tests run, pinned and installed once into the cache: a venv, which brings node, and npm's modules.

They are programs to us, never imported: what they need of libraries must not mix with the tests' own.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
TREE = HERE.parents[1]
VISITOR = TREE / "tests" / "integration"
DOCUMENT = TREE / "openapi.yaml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rustploy-agent"


@functools.cache
def python_bin() -> Path:
    """Where schemathesis, openapi-python-client, node and npm are."""
    return _venv("contract-python", HERE / "requirements.txt") / "bin"


@functools.cache
def node_modules() -> Path:
    return _installed("contract-npm", HERE / "npm" / "package-lock.json", _install_npm) / "node_modules"


def visitor(*arguments: str, input: str = "") -> str:
    """What tests/integration/modern.py prints, a visitor over HTTP/2 and HTTP/3."""
    program = [_venv("modern-python", VISITOR / "requirements.txt") / "bin" / "python", VISITOR / "modern.py"]
    ended = subprocess.run([*program, *arguments], input=input, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def run(*argv: str | Path, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """One of the tools, found before the host's; it may fail."""
    own = f"{node_modules() / '.bin'}:{python_bin()}"
    env = dict(os.environ) | {"PATH": f"{own}:{os.environ['PATH']}", "NO_COLOR": "1"} | environment
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    return subprocess.run(argv, cwd=cwd, env=env, timeout=timeout, **quiet)


def _installed(name: str, recipe: Path, install: Callable[[Path], None]) -> Path:
    """A directory for just this recipe; a broken-off installation is none."""
    digest = hashlib.sha256(recipe.read_bytes()).hexdigest()[:16]
    place, done = CACHE / f"{name}-{digest}", CACHE / f"{name}-{digest}" / ".installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(CACHE / f"{name}.lock"):
        if not done.exists():
            for old in CACHE.glob(f"{name}-*"):
                shutil.rmtree(old)
            install(place)
            done.touch()
    return place


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _venv(name: str, requirements: Path) -> Path:
    def install(place: Path) -> None:
        _succeed(sys.executable, "-m", "venv", place)
        quiet = ["--quiet", "--disable-pip-version-check"]
        _succeed(place / "bin" / "pip", "install", *quiet, "--requirement", requirements)

    return _installed(name, requirements, install)


def _install_npm(place: Path) -> None:
    """No package's script is run."""
    place.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "npm" / name, place)
    path = {"PATH": f"{python_bin()}:{os.environ['PATH']}"}
    _succeed("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=place, env=dict(os.environ) | path)


def _succeed(*argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    ended = subprocess.run(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    if ended.returncode:
        raise RuntimeError(f"{argv} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")
