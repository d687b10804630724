"""A JSON schema as words, and as a table of its fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from markup import escaped, inline, table

Schema = dict[str, Any]
#: Keyword -> how it reads before its value.
LIMITS = {
    "pattern": "matches",
    "format": "format",
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "items at least",
    "maxItems": "items at most",
    "minProperties": "keys at least",
    "maxProperties": "keys at most",
    "default": "default",
}


def kind(schema: Schema) -> str:
    """What a value may be, in a few words of HTML."""
    if "$ref" in schema:
        name = escaped(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for keyword, word in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " with ")):
        if keyword in schema:
            return word.join(kind(one) for one in schema[keyword])
    if "const" in schema:
        return f"<code>{escaped(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escaped(json.dumps(one))}</code>" for one in schema["enum"])
    types = schema.get("type", "any")
    return " or ".join(_named(one, schema) for one in (types if isinstance(types, list) else [types]))


def _named(type_: str, schema: Schema) -> str:
    if type_ == "array":
        return f"array of {kind(schema.get('items', {}))}"
    if type_ == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind(schema['additionalProperties'])}"
    return escaped(type_)


def limits(schema: Schema) -> str:
    found = [f"{word} <code>{escaped(schema[key])}</code>" for key, word in LIMITS.items() if key in schema]
    return ", ".join(found)


def about(schema: Schema) -> str:
    return " ".join(part for part in (inline(schema.get("description", "")), limits(schema)) if part)


def fields(schema: Schema, prefix: str = "") -> Iterator[list[str]]:
    """Rows of name, type and meaning; fields of nested objects carry their dotted path."""
    for part in schema.get("allOf", []):
        yield from fields(part, prefix)
    if schema.get("type") == "array":
        yield from fields(schema.get("items", {}), f"{prefix}[].")
    for name, one in schema.get("properties", {}).items():
        mark = "" if name in schema.get("required", []) else ' <small class="optional">optional</small>'
        yield [f"<code>{escaped(prefix + name)}</code>{mark}", kind(one), about(one)]
        yield from fields(one, f"{prefix}{name}[]." if one.get("type") == "array" else f"{prefix}{name}.")


def described(schema: Schema) -> str:
    rows = list(fields(schema))
    if rows:
        return table(["field", "type", "meaning"], rows)
    return f"<p>{kind(schema)} {limits(schema)}</p>"
