"""The python buildpack's modules, as its bin/compile and an import load them."""

import importlib
import sys
from pathlib import Path
from typing import Any

from tests.unit.programs import BUILDPACKS

sys.path.insert(0, str(BUILDPACKS / "python" / "lib"))


def module(name: str) -> Any:
    return importlib.import_module(f"pyplan.{name}")


def written(directory: Path, files: dict[str, str | bytes]) -> str:
    """A repository with these files; its path."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(directory)
