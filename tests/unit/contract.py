"""openapi.yaml as a judge: every answer that a test gets from the API is held against it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import yaml

PREFIX = "/api/v1"
#: Also served without the prefix.
BARE = ("/health", "/metrics")
#: What any request may end with: no such route, or a defect.
ALWAYS = {
    "400": ["malformed_request"],
    "404": ["not_found"],
    "405": ["method_not_allowed"],
    "408": ["request_timeout"],
    "413": ["body_too_large"],
    "414": ["uri_too_long"],
    "429": ["too_many_connections"],
    "431": ["headers_too_large"],
    "500": ["internal_error"],
    "501": ["unsupported_transfer_encoding"],
    "503": ["too_many_connections", "database_busy"],
}


@functools.cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text(encoding="utf-8"))
    return found


@functools.cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """(method, path with its prefix) -> operation."""
    return {
        (method.upper(), item.get("servers", [{"url": PREFIX}])[0]["url"].rstrip("/") + path): operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "patch", "delete")
    }


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    """Literal paths come before those with parameters."""
    known = sorted(operations().items(), key=lambda item: item[0][1].count("{"))
    return [
        (method, re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(template))), operation)
        for (method, template), operation in known
    ]


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """The operation that a request meets."""
    wanted = path.partition("?")[0]
    if wanted in BARE:
        wanted = PREFIX + wanted
    for its_method, pattern, operation in _patterns():
        if its_method == method and pattern.fullmatch(wanted):
            return operation
    return None


def check_schema(schema: dict[str, Any], value: object) -> None:
    _validator(json.dumps(schema)).validate(value)


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    """By its text: making one for each of thousands of answers would take longer than the tests."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document()["components"]}
    return jsonschema.Draft202012Validator(whole | json.loads(schema))


def check(method: str, path: str, status: int, headers: Any, body: bytes, value: object) -> None:
    """Fails when the answer is not one that the document promises for this request."""
    assert re.fullmatch("[0-9a-f]{16}", headers["X-Request-Id"]), "an answer without an id cannot be asked about"
    operation = operation_of(method, path)
    if status >= 400:
        _check_error(operation, status, headers, value)
        return
    assert operation is not None, f"{method} {path} answered {status} but is not in openapi.yaml"
    assert str(status) in operation["responses"], f"{method} {path} answered {status}, which openapi.yaml does not list"
    response = resolved(operation["responses"][str(status)])
    if "content" not in response:
        assert body == b"", f"{method} {path} has a body, openapi.yaml has none"
        assert "Content-Type" not in headers or status != 304
        return
    said = headers["Content-Type"]
    assert said in response["content"], f"{method} {path} answered with {said}, which openapi.yaml does not list"
    check_schema(response["content"][said]["schema"], _read(said, body, value))


def _read(content_type: str, body: bytes, value: object) -> object:
    """As a schema sees it."""
    if content_type == "application/json":
        return value
    return yaml.safe_load(body) if content_type == "application/yaml" else body.decode()


def _check_error(operation: dict[str, Any] | None, status: int, headers: Any, value: Any) -> None:
    assert headers["Content-Type"] == "application/json", "an error is not JSON"
    check_schema({"$ref": "#/components/schemas/Error"}, value)
    listed = dict(ALWAYS) if operation is None else operation["x-error-codes"]
    codes = [*listed.get(str(status), []), *ALWAYS.get(str(status), [])]
    assert value["error"]["code"] in codes, f"{status} {value['error']['code']} is not in x-error-codes"
    assert status != 401 or headers["WWW-Authenticate"] == "Bearer"
    assert status not in (429, 503) or int(headers["Retry-After"]) > 0


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A response or a link, be it written here or among the components."""
    reference = part.get("$ref")
    if reference is None:
        return part
    kind, name = reference.split("/")[2:]
    found: dict[str, Any] = document()["components"][kind][name]
    return found
