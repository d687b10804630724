"""Nothing that was released is taken back; and the judge of that sees what it has to see."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit import contract
from tests.unit.compatibility import taken_back

TREE = Path(__file__).parents[2]
RELEASED = TREE / "tests" / "contract" / "released"
Document = dict[str, Any]


def versions() -> list[str]:
    """Of the changelog, the one that is being made first."""
    changelog = (TREE / "packaging" / "debian" / "changelog").read_text(encoding="utf-8")
    return re.findall(r"^rustploy-agent \(([^)]+)\)", changelog, re.MULTILINE)


def test_every_release_has_left_its_document() -> None:
    """Else there is nothing to compare with, and the next release breaks clients without anybody noticing."""
    assert {path.stem for path in RELEASED.glob("*.yaml")} == set(versions()[1:])


def test_nothing_that_was_released_is_taken_back() -> None:
    for path in RELEASED.glob("*.yaml"):
        assert taken_back(yaml.safe_load(path.read_text(encoding="utf-8")), contract.document()) == [], path.name


def schema(document: Document, name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def operation(document: Document, path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][method]
    return found


BREAKING: dict[str, tuple[Callable[[Document], Any], str]] = {
    "an operation": (lambda d: d["paths"]["/tokens"].pop("get"), "GET /tokens: is gone"),
    "a path": (lambda d: d["paths"].pop("/apps/{app_id}/config"), "GET /apps/{app_id}/config: is gone"),
    "a name of an operation": (
        lambda d: operation(d, "/apps", "get").update(operationId="apps"),
        "operationId is apps",
    ),
    "a scope": (lambda d: operation(d, "/apps", "get").update({"x-scope": "deploy"}), "needs deploy"),
    "a field of an answer": (lambda d: schema(d, "App")["properties"].pop("name"), ".name: is gone"),
    "a promise that it is there": (lambda d: schema(d, "Token")["required"].remove("id"), ".id: need not be there"),
    "an answer's type": (lambda d: schema(d, "Time").update(type="string"), "type is string, was integer"),
    "an answer that may be null": (
        lambda d: schema(d, "Env")["properties"]["key"].update(type=["string", "null"]),
        "null",
    ),
    "an answer's new value": (
        lambda d: schema(d, "Deployment")["properties"]["kind"]["enum"].append("x"),
        "are others",
    ),
    "a narrower request": (
        lambda d: schema(d, "Login")["properties"]["password"].update(maxLength=8),
        "maxLength is 8",
    ),
    "a narrower type": (lambda d: schema(d, "Source")["properties"]["branch"].update(type="string"), "branch: type is"),
    "a scope that tokens had": (lambda d: schema(d, "Scope")["enum"].remove("deploy"), "its values are others"),
    "a new pattern": (lambda d: schema(d, "Login")["properties"]["email"].update(pattern="@"), "has to match @"),
    "a required field": (lambda d: schema(d, "NewApp").update(required=["name", "region"]), ".region: is required"),
    "a field of a request": (lambda d: schema(d, "NewApp")["properties"].pop("name"), ".name: is gone"),
    "a required body": (
        lambda d: operation(d, "/apps/{app_id}/rollback", "post")["requestBody"].update(required=True),
        "body is",
    ),
    "a status": (lambda d: operation(d, "/tokens", "post")["responses"].pop("201"), "status 201 is gone"),
    "a media type": (lambda d: d["components"]["responses"]["Error"]["content"].clear(), "application/json is gone"),
    "a header": (lambda d: operation(d, "/openapi.yaml", "get")["responses"]["200"]["headers"].clear(), "header ETag"),
    "a parameter": (lambda d: operation(d, "/apps/{app_id}/deployments", "get")["parameters"].clear(), "limit is gone"),
    "a parameter that is required": (
        lambda d: operation(d, "/apps", "get")["parameters"].append(
            {"name": "team", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "parameter team is required",
    ),
    "an error's status": (
        lambda d: operation(d, "/apps", "post")["x-error-codes"].update({"409": [], "400": ["app_exists"]}),
        "error code app_exists has another status",
    ),
}
HARMLESS: dict[str, Callable[[Document], Any]] = {
    "a new operation": lambda d: d["paths"].update({"/new": copy.deepcopy(d["paths"]["/health"])}),
    "a lower scope": lambda d: operation(d, "/apps", "post").update({"x-scope": "deploy"}),
    "a new field of an answer": lambda d: schema(d, "App")["properties"].update(region={"type": "string"}),
    "a new optional field of a request": lambda d: schema(d, "NewApp")["properties"].update(region={"type": "string"}),
    "a wider request": lambda d: schema(d, "Login")["properties"]["password"].update(maxLength=4096),
    "a wider type": lambda d: schema(d, "NewEnv")["properties"]["value"].update(type=["string", "null"]),
    "a field that is now always there": lambda d: schema(d, "Env")["required"].append("masked"),
    "a new error code": lambda d: operation(d, "/apps", "post")["x-error-codes"]["409"].append("too_many_apps"),
    "a new status": lambda d: operation(d, "/apps", "post")["responses"].update({"202": {"description": "Later."}}),
    "other words": lambda d: operation(d, "/apps", "get").update(summary="Apps.", description="All.", tags=["env"]),
    "a body that may be left out": lambda d: operation(d, "/apps", "post")["requestBody"].update(required=False),
    "a schema's other name": lambda d: _renamed(d, "App", "Application"),
}


def _renamed(document: Document, old: str, new: str) -> None:
    text = (
        yaml.safe_dump(document)
        .replace(f"schemas/{old}'", f"schemas/{new}'")
        .replace(f"schemas/{old}\n", f"schemas/{new}\n")
    )
    document |= yaml.safe_load(text)
    document["components"]["schemas"][new] = document["components"]["schemas"].pop(old)


@pytest.mark.parametrize("what", BREAKING)
def test_what_breaks_clients_is_seen(what: str) -> None:
    change, said = BREAKING[what]
    worse = copy.deepcopy(contract.document())
    change(worse)
    assert said in "\n".join(taken_back(contract.document(), worse))


@pytest.mark.parametrize("what", HARMLESS)
def test_what_clients_do_not_notice_is_let_through(what: str) -> None:
    better = copy.deepcopy(contract.document())
    HARMLESS[what](better)
    assert better != contract.document()
    assert taken_back(contract.document(), better) == []
