"""Redocly's and Spectral's recommended rules: what they warn of is what generators and readers stumble over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.contract.tools import DOCUMENT, HERE, TREE, run


def redocly(document: Path) -> list[str]:
    argv = ["redocly", "lint", f"--config={HERE / 'redocly.yaml'}", "--format=json", document]
    ended = run(*argv, cwd=TREE)
    found = json.loads(ended.stdout[ended.stdout.index("{") :])
    return [f"{one['ruleId']}: {one['message']} {one['location'][0].get('pointer')}" for one in found["problems"]]


def spectral(document: Path) -> list[str]:
    argv = ["spectral", "lint", f"--ruleset={HERE / 'spectral.yaml'}", "--format=json", "--quiet", document]
    ended = run(*argv, cwd=TREE)
    found = json.loads(ended.stdout[ended.stdout.index("[") :].partition("\nNo results")[0])
    return [f"{one['code']}: {one['message']} {'/'.join(map(str, one['path']))}" for one in found]


@pytest.mark.parametrize("linter", [redocly, spectral])
def test_the_document_passes_without_a_warning(linter: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert linter(DOCUMENT) == []
    worse = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    worse["paths"]["/apps"]["get"] |= {"tags": ["nobody"], "description": "", "operationId": "show_app"}
    del worse["info"]["license"]
    (tmp_path / "openapi.yaml").write_text(yaml.safe_dump(worse), encoding="utf-8")
    assert linter(tmp_path / "openapi.yaml") != [], "the linter finds nothing in a document that is wrong"
