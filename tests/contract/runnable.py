"""The shell commands of docs/api, as pages promise them: ```sh blocks run in the order of the README's list."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs" / "api"


def pages() -> list[Path]:
    """Those listed under "To try in this order"."""
    listed = (
        (DOCS / "README.md").read_text(encoding="utf-8").partition("## To try in this order")[2].partition("\n## ")[0]
    )
    return [DOCS / name for name in re.findall(r"^\d+\. \[[^]]+\]\(([^)]+)\)", listed, re.MULTILINE)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def script() -> str:
    """All of it, as one program: later pages use what earlier ones made."""
    return "".join(f"# {page.name}\n{block}" for page in pages() for block in blocks(page, "sh"))


def pipelines() -> dict[str, tuple[dict[str, Any], str]]:
    """CI system -> (the document as it is parsed, its shell step)."""
    github, gitlab = (yaml.safe_load(block) for block in blocks(DOCS / "ci.md", "yaml"))
    return {
        "github": (github, github["jobs"]["deploy"]["steps"][0]["run"]),
        "gitlab": (gitlab, gitlab["deploy"]["script"][0]),
    }
