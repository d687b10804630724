"""openapi.yaml is the contract: nothing is served that is not in it, nothing is in it that is not served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from flask import Flask

from tests.unit import contract

Operation = tuple[str, str]


def served(api: Flask) -> dict[Operation, str]:
    """(method, path as openapi.yaml writes it) -> scope. Those without the prefix are told of in words."""
    return {
        (method, re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)): api.view_functions[rule.endpoint].scope  # type: ignore[attr-defined]
        for rule in api.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in contract.BARE
    }


def test_every_route_is_in_the_document_and_every_operation_is_served(api: Flask) -> None:
    assert set(served(api)) == set(contract.operations())


def test_the_scopes_are_those_of_the_code(api: Flask) -> None:
    assert served(api) == {key: operation["x-scope"] for key, operation in contract.operations().items()}


def test_operations_are_named_as_their_views(api: Flask) -> None:
    names = {
        (method, re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)): rule.endpoint.rpartition(".")[2]
        for rule in api.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in contract.BARE
    }
    assert names == {key: operation["operationId"] for key, operation in contract.operations().items()}


@pytest.mark.parametrize("key", sorted(contract.operations()))
def test_an_operation_says_who_may_call_it_and_how_it_can_fail(key: Operation) -> None:
    operation = contract.operations()[key]
    anybody, path = operation["x-scope"] == "anybody", key[1]
    signed = operation["x-scope"] == "signature"
    assert anybody == (operation.get("security") == [])
    assert operation["summary"].endswith(".")
    codes = operation["x-error-codes"]
    assert anybody or ("401" in codes and ("403" in codes or signed))
    assert ("requestBody" in operation) == ("415" in codes)
    assert ("{app_id}" in path) == ("app_not_found" in codes.get("404", []))


def test_what_minds_idempotency_keys_says_so(api: Flask) -> None:
    """A client that retries what does not mind them makes two of it."""
    key = {"$ref": "#/components/parameters/idempotency_key"}
    manners = {name.rpartition(".")[2]: view.manner for name, view in api.view_functions.items()}  # type: ignore[attr-defined]
    for operation in contract.operations().values():
        manner = manners[operation["operationId"]]
        assert (key in operation.get("parameters", [])) == manner.idempotent, operation["operationId"]
        codes = [code for listed in operation["x-error-codes"].values() for code in listed]
        assert ("idempotency_key_reused" in codes) == manner.idempotent
        assert ("idempotency_key_in_use" in codes) == (manner.idempotent and not manner.atomic)


@pytest.mark.parametrize("key", sorted(contract.operations()))
def test_an_operation_can_be_understood_and_tried_by_reading_it(key: Operation) -> None:
    """Else the reference page has holes, and generated clients have methods that nobody knows how to call."""
    operation = contract.operations()[key]
    assert operation["description"].strip() and len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in contract.document()["tags"]}
    for status in ("4XX", "5XX"):
        assert operation["responses"][status] == {"$ref": "#/components/responses/Error"}
    answers = [contract.resolved(answer) for answer in operation["responses"].values()]
    for said in [operation.get("requestBody", {}), *answers]:
        for content in said.get("content", {}).values():
            assert "schema" in content and ("example" in content or "examples" in content)


@pytest.mark.parametrize("key", sorted(key for key in contract.operations() if key[0] == "GET"))
def test_what_can_be_read_need_not_be_read_twice(key: Operation) -> None:
    responses = contract.operations()[key]["responses"]
    momentary = "Cache-Control" in responses["200"].get("headers", {})
    if "application/json" in responses["200"]["content"] and not momentary:
        assert responses["200"]["headers"]["ETag"] == {"$ref": "#/components/headers/ETag"}
        assert responses["304"] == {"$ref": "#/components/responses/NotModified"}


@pytest.mark.parametrize("key", sorted(key for key in contract.operations() if key[0] == "GET"))
def test_every_list_has_pages(key: Operation) -> None:
    """Else one that grows is one day too long for the agent's memory or the client's patience."""
    operation = contract.operations()[key]
    schema = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
    found = contract.document()["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
    if "items" in found.get("properties", {}):
        assert found["properties"]["next_cursor"] == {"$ref": "#/components/schemas/NextCursor"}
        assert {"$ref": "#/components/parameters/cursor"} in operation["parameters"]


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """(operation, JSON schema) of every body that is taken."""
    taken = [
        (one["operationId"], one["requestBody"]["content"])
        for one in contract.operations().values()
        if "requestBody" in one
    ]
    return [(name, content["application/json"]["schema"]) for name, content in taken if "application/json" in content]


def optional_fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of an object that a client sends, with those of the objects in it."""
    if "$ref" in schema:
        schema = contract.document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in [*schema.get("allOf", []), *schema.get("oneOf", [])]:
        yield from optional_fields(part)
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", []):
            yield name, field
        yield from optional_fields(field)


@pytest.mark.parametrize(("operation", "schema"), bodies())
def test_what_may_be_left_out_may_be_null_as_the_parsers_have_it(operation: str, schema: dict[str, Any]) -> None:
    """Else clients that write null for what they have not set, as many generated ones do, break the contract."""
    for name, field in optional_fields(schema):
        try:
            contract.check_schema(field, None)
        except jsonschema.ValidationError:
            pytest.fail(f"{operation}: {name}")


def examples(node: Any) -> list[tuple[Any, Any]]:
    """(schema, example) pairs of everything below `node`."""
    if isinstance(node, list):
        return [pair for item in node for pair in examples(item)]
    if not isinstance(node, dict):
        return []
    own = [(node["schema"], node["example"])] if "schema" in node and "example" in node else []
    if "schema" in node:
        own += [(node["schema"], named["value"]) for named in node.get("examples", {}).values()]
    return own + [pair for value in node.values() for pair in examples(value)]


def test_every_example_is_valid() -> None:
    found = examples(contract.document())
    assert len(found) > 10
    for schema, example in found:
        contract.check_schema(schema, example)


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for item in node for found in references(item)}
    if not isinstance(node, dict):
        return set()
    return {str(node["$ref"])} if "$ref" in node else {found for value in node.values() for found in references(value)}


def test_references_lead_somewhere_and_no_component_is_left_over() -> None:
    document = contract.document()
    there = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert references(document) == there


@pytest.mark.parametrize("name", sorted(contract.document()["components"]["schemas"]))
def test_every_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(contract.document()["components"]["schemas"][name])
