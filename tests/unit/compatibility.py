"""What a new openapi.yaml takes back of an old one: docs/api/compatibility.md as a program.

A request may only be allowed more, an answer may only promise more. What is not understood counts as taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]
METHODS = ("get", "put", "post", "patch", "delete")
SCOPES = ("anybody", "read", "deploy", "admin")
#: Keyword -> whether a request is narrowed when its number grows.
BOUNDS = {"minimum": True, "minLength": True, "minItems": True, "maximum": False, "maxLength": False, "maxItems": False}
MAY_GROW = "may grow"


def taken_back(old: Node, new: Node) -> list[str]:
    return list(Comparison(old, new).document())


class Comparison:
    """Of two documents; `request` says that a schema is of what clients send."""

    def __init__(self, old: Node, new: Node) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, bool]] = set()

    def document(self) -> Iterator[str]:
        for path, item in self._old["paths"].items():
            for method in METHODS:
                if method in item:
                    where, now = f"{method.upper()} {path}", self._new["paths"].get(path, {})
                    if method not in now:
                        yield f"{where}: is gone"
                        continue
                    yield from self._operation(where, _whole(item, method), _whole(now, method))

    def _operation(self, where: str, old: Node, new: Node) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{where}: operationId is {new['operationId']}"
        if old["x-scope"] != new["x-scope"] and not _lower(new["x-scope"], old["x-scope"]):
            yield f"{where}: needs {new['x-scope']}"
        yield from self._parameters(where, old, new)
        yield from self._body(where, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if status not in new["responses"]:
                yield f"{where}: status {status} is gone"
                continue
            yield from self._answer(f"{where} {status}", self._old_one(answer), self._new_one(new["responses"][status]))
        moved = _statuses(new)
        for code, statuses in _statuses(old).items():
            if code in moved and not statuses <= moved[code]:
                yield f"{where}: error code {code} has another status"

    def _parameters(self, where: str, old: Node, new: Node) -> Iterator[str]:
        before = {(one["in"], one["name"]): one for one in map(self._old_one, old["parameters"])}
        now = {(one["in"], one["name"]): one for one in map(self._new_one, new["parameters"])}
        for key, one in now.items():
            if one.get("required") and not before.get(key, {}).get("required"):
                yield f"{where}: parameter {key[1]} is required"
        for key, one in before.items():
            if key not in now:
                yield f"{where}: parameter {key[1]} is gone"
                continue
            yield from self._schema(f"{where} parameter {key[1]}", one["schema"], now[key]["schema"], request=True)

    def _body(self, where: str, old: Node | None, new: Node | None) -> Iterator[str]:
        before, now = self._old_one(old or {}), self._new_one(new or {})
        if now.get("required") and not before.get("required"):
            yield f"{where}: a body is required"
        yield from self._content(f"{where} body", before, now, request=True)

    def _answer(self, where: str, old: Node, new: Node) -> Iterator[str]:
        for name in old.get("headers", {}):
            if name not in new.get("headers", {}):
                yield f"{where}: header {name} is gone"
        yield from self._content(where, old, new, request=False)

    def _content(self, where: str, old: Node, new: Node, *, request: bool) -> Iterator[str]:
        for media, one in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{where}: {media} is gone"
                continue
            yield from self._schema(
                where, one.get("schema", {}), new["content"][media].get("schema", {}), request=request
            )

    def _schema(self, where: str, old: Node, new: Node, *, request: bool) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"], request)
            if pair in self._seen:
                return
            self._seen.add(pair)
        before, now = self.flat(self._old, old), self.flat(self._new, new)
        wide, narrow = (now, before) if request else (before, now)
        if wide["types"] and not (narrow["types"] and narrow["types"] <= wide["types"]):
            yield f"{where}: type is {_words(now['types'])}, was {_words(before['types'])}"
        grows = not request and MAY_GROW in before["description"]
        if wide["values"] is not None and not grows and not (narrow["values"] or {object()}) <= wide["values"]:
            yield f"{where}: its values are others"
        if request:
            yield from _bounds(where, before, now)
        yield from self._fields(where, before, now, request=request)

    def _fields(self, where: str, before: Node, now: Node, *, request: bool) -> Iterator[str]:
        if request:
            for name in sorted(now["required"] - before["required"]):
                yield f"{where}.{name}: is required"
        else:
            for name in sorted(before["required"] - now["required"]):
                yield f"{where}.{name}: need not be there any more"
        for name, field in before["properties"].items():
            if name in now["properties"]:
                yield from self._schema(f"{where}.{name}", field, now["properties"][name], request=request)
            else:
                yield f"{where}.{name}: is gone"
        for part in ("items", "additionalProperties"):
            if isinstance(before[part], dict):
                now_part = now[part] if isinstance(now[part], dict) else {}
                yield from self._schema(f"{where}[]", before[part], now_part, request=request)

    def flat(self, document: Node, schema: Node) -> Node:
        """The schema with its references and alternatives put into one: what types, values and fields it may have."""
        schema = _resolved(document, schema)
        flat: Node = {key: schema.get(key) for key in ("pattern", "items", "additionalProperties", *BOUNDS)}
        flat["types"], flat["values"] = _types(schema), _values(schema)
        flat["properties"], flat["required"] = dict(schema.get("properties", {})), set(schema.get("required", []))
        flat["description"] = schema.get("description", "")
        for one in schema.get("allOf", []):
            part = self.flat(document, one)
            flat["properties"] |= part["properties"]
            flat["required"] |= part["required"]
            flat["types"] |= part["types"]
        parts = [self.flat(document, one) for one in [*schema.get("oneOf", []), *schema.get("anyOf", [])]]
        for part in parts:
            flat["types"] |= part["types"]
            flat["properties"] |= part["properties"]
            if part["types"] != {"null"}:
                flat |= {key: flat[key] or part[key] for key in ("pattern", "items", "additionalProperties", "values")}
                flat["required"] |= part["required"]
        return flat

    def _old_one(self, node: Node) -> Node:
        return _resolved(self._old, node)

    def _new_one(self, node: Node) -> Node:
        return _resolved(self._new, node)


def _whole(item: Node, method: str) -> Node:
    """An operation with the parameters of its path."""
    operation: Node = item[method]
    return operation | {"parameters": [*item.get("parameters", []), *operation.get("parameters", [])]}


def _resolved(document: Node, node: Node) -> Node:
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _lower(scope: str, than: str) -> bool:
    return scope in SCOPES and than in SCOPES and SCOPES.index(scope) < SCOPES.index(than)


def _statuses(operation: Node) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for status, codes in operation.get("x-error-codes", {}).items():
        for code in codes:
            found.setdefault(code, set()).add(status)
    return found


def _types(schema: Node) -> set[str]:
    """Names of JSON types; empty where any may come."""
    named = schema.get("type", [])
    types = {named} if isinstance(named, str) else set(named)
    values = _values(schema)
    return types or {_type_of(value) for value in values or ()}


def _values(schema: Node) -> set[Any] | None:
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def _type_of(value: object) -> str:
    names = {bool: "boolean", str: "string", int: "integer", float: "number", type(None): "null"}
    return names.get(type(value), "object")


def _bounds(where: str, before: Node, now: Node) -> Iterator[str]:
    if now["pattern"] is not None and now["pattern"] != before["pattern"]:
        yield f"{where}: has to match {now['pattern']}"
    for keyword, narrows_by_growing in BOUNDS.items():
        bound, former = now[keyword], before[keyword]
        if bound is None or bound == former:
            continue
        if former is None or (bound > former) == narrows_by_growing:
            yield f"{where}: {keyword} is {bound}"


def _words(types: set[str]) -> str:
    return " or ".join(sorted(types)) or "anything"
