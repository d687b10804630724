"""The node buildpack's modules, as its bin/compile and an import load them."""

import importlib
import sys
from pathlib import Path
from typing import Any

from tests.unit.programs import BUILDPACKS

sys.path.insert(0, str(BUILDPACKS / "node" / "lib"))


def module(name: str) -> Any:
    return importlib.import_module(f"nodeplan.{name}")


def written(directory: Path, files: dict[str, str]) -> str:
    """A repository with these files; its path."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
    return str(directory)
