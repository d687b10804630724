"""Documentation that is wrong is worse than none: links lead somewhere, commands and paths it names are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustploy_agent.__main__ import _parser
from rustploy_agent.config import Paths
from tests.contract import runnable
from tests.unit import contract

TREE = Path(__file__).parents[2]
PAGES = sorted([*TREE.glob("*.md"), *(TREE / "docs").rglob("*.md")])
COMMAND = re.compile(r"rustploy-agent ((?:token|admin|key|doctor)[ a-z-]*)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_fit_a_screen(page: Path) -> None:
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= 135 or line.startswith("|"), f"{page.name}:{number}"


def requests(page: Path) -> Iterator[tuple[str, str, str]]:
    """(line, method, path) of each curl that names the API."""
    for line in re.findall(r"curl .*", page.read_text(encoding="utf-8")):
        path = re.search(r"\$API(/[^\s\"]+)", line)
        if path is not None:
            method = re.search(r"--request (\S+)", line)
            yield line, method[1] if method else "POST" if "--json" in line else "GET", contract.PREFIX + path[1]


def test_every_request_that_is_shown_is_served() -> None:
    for page in PAGES:
        for line, method, path in requests(page):
            assert contract.operation_of(method, path), f"{page.name}: {line}"


def test_every_operation_has_a_command_that_is_tried() -> None:
    """On the pages that docs/api/README.md lists to be tried in order, which tests/contract/test_docs_api.py does."""
    shown = [contract.operation_of(*request[1:]) for page in runnable.pages() for request in requests(page)]
    known = {operation["operationId"] for operation in shown if operation}
    missing = {one["operationId"] for one in contract.operations().values()} - known
    assert missing == set(), "give each a curl on a page of docs/api"


def test_every_command_that_is_shown_is_understood() -> None:
    shown = [(page, words) for page in PAGES for words in COMMAND.findall(page.read_text(encoding="utf-8"))]
    assert len(shown) > 5
    needs = {"token create": ["--name", "x", "--scope", "read"], "token revoke": ["x"], "admin set-email": ["a@b"]}
    for page, words in shown:
        command = " ".join(words.split()[: 1 if words.startswith("doctor") else 2])
        try:
            _parser().parse_args([*command.split(), *needs.get(command, [])])
        except SystemExit:
            pytest.fail(f"{page.name} shows rustploy-agent {command}")


def test_the_man_page_has_every_command() -> None:
    page = (TREE / "packaging" / "rustploy-agent.8").read_text(encoding="utf-8")
    for command in (
        "serve",
        "listen",
        "token create",
        "token list",
        "token revoke",
        "admin init",
        "admin reset-password",
        "admin set-email",
        "key init",
        "key check",
        "key replace",
        "doctor",
    ):
        assert re.search(rf"^\.B {re.escape(command)}$", page, re.MULTILINE), command


def test_paths_of_the_readme_are_those_of_the_code() -> None:
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    paths = Paths()
    assert str(paths.database) in readme
    assert f"{paths.app('<app>')}/data/" in readme
    assert f"{paths.buildpacks}/" in readme


def test_every_buildpack_is_named_in_the_readme() -> None:
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    for detect in (TREE / "buildpacks").glob("*/bin/detect"):
        assert f"`{detect.parents[1].name}`" in readme


def test_every_deployment_code_of_the_engine_is_in_the_contract() -> None:
    """Scripts switch on them."""
    described = str(contract.document()["components"]["schemas"]["Deployment"]["properties"]["error_code"])
    described += str(contract.document()["paths"]["/apps/import"]["post"]["x-error-codes"])
    for path in sorted((TREE / "rustploy_agent").glob("*.py")):
        for code in re.findall(r'(?:DeploymentFailed|Refused)\(\s*"([a-z_]+)"', path.read_text(encoding="utf-8")):
            assert code in described, f"{path.name}: {code}"
