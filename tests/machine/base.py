"""The base file systems that machines are overlays of, made once and kept."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.machine import places

REPOSITORY = Path(__file__).resolve().parents[2]
DEBIAN_ROOT = REPOSITORY / "packaging" / "debian-root"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rustploy-agent" / "roots"
RELEASES = ("bookworm", "trixie")


def base_root(release: str) -> Path:
    """The directory with this release's base system; made anew when the recipe changed or the last try broke off."""
    recipe = subprocess.run([DEBIAN_ROOT, "recipe", release], check=True, capture_output=True).stdout
    root = CACHE / f"{release}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _build(release, root)
            _remove_old(release, root)
    return root


def _build(release: str, root: Path) -> None:
    unfinished = root.with_name(f"{root.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    subprocess.run([DEBIAN_ROOT, "build", release, unfinished], check=True)
    unfinished.rename(root)


def _remove_old(release: str, current: Path) -> None:
    """A root that a machine lies over must stay."""
    used = {json.loads(file.read_text())["base"] for file in places.RUN.glob("*/machine.json")}
    for root in CACHE.glob(f"{release}-*"):
        if root != current and str(root) not in used:
            shutil.rmtree(root)
