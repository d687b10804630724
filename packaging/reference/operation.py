"""One operation of the document as a section of the page."""

from __future__ import annotations

from typing import Any

from markup import code, escaped, inline, prose, table
from schema import about, described, kind

Node = dict[str, Any]
SCOPES = {"anybody": "no credentials", "session": "a session"}


def resolved(document: Node, node: Node) -> Node:
    """What a reference to a component stands for."""
    if "$ref" not in node:
        return node
    found: Node = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def section(document: Node, path: str, method: str, shared: list[Node], operation: Node) -> str:
    name, scope = operation["operationId"], operation["x-scope"]
    parts = [
        f'<section class="operation" id="{escaped(name)}">',
        f'<h3><span class="method {method}">{method.upper()}</span> <code>{escaped(path)}</code></h3>',
        f"<p><strong>{inline(operation['summary'])}</strong></p>",
        f'<p class="scope">Needs {SCOPES.get(scope, f"the scope <code>{escaped(scope)}</code>")}. '
        f"Operation <code>{escaped(name)}</code>.</p>",
        prose(operation.get("description", "")),
        _parameters(document, [*shared, *operation.get("parameters", [])]),
        _request(document, operation.get("requestBody")),
        *(_answer(document, status, resolved(document, one)) for status, one in _successes(operation)),
        _errors(operation.get("x-error-codes", {})),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _parameters(document: Node, parameters: list[Node]) -> str:
    rows = []
    for one in (resolved(document, parameter) for parameter in parameters):
        mark = "" if one.get("required") else ' <small class="optional">optional</small>'
        meaning = " ".join((inline(one.get("description", "")), about(one["schema"])))
        rows.append([f"<code>{escaped(one['name'])}</code>{mark}", escaped(one["in"]), kind(one["schema"]), meaning])
    return "<h4>Parameters</h4>" + table(["name", "in", "type", "meaning"], rows) if rows else ""


def _request(document: Node, body: Node | None) -> str:
    if body is None:
        return ""
    body = resolved(document, body)
    mark = "" if body.get("required") else " <small>(may be left out)</small>"
    return f"<h4>Body{mark}</h4>" + prose(body.get("description", "")) + _content(body["content"])


def _successes(operation: Node) -> list[tuple[str, Node]]:
    """Errors have one shape, told once; here stand what is promised besides them."""
    return [(str(status), answer) for status, answer in operation["responses"].items() if str(status)[0] in "123"]


def _answer(document: Node, status: str, answer: Node) -> str:
    headers = [(name, resolved(document, header)) for name, header in answer.get("headers", {}).items()]
    rows = [
        [f"<code>{escaped(name)}</code>", kind(header.get("schema", {})), inline(header.get("description", ""))]
        for name, header in headers
    ]
    links = [resolved(document, link)["operationId"] for link in answer.get("links", {}).values()]
    then = ", ".join(f'<a href="#{escaped(one)}">{escaped(one)}</a>' for one in links)
    parts = [
        f"<h4>{escaped(status)} <small>{inline(answer['description'])}</small></h4>",
        table(["header", "type", "meaning"], rows),
        _content(answer.get("content", {})),
        f"<p>What it gives goes on to: {then}</p>" if then else "",
    ]
    return "\n".join(part for part in parts if part)


def _content(content: Node) -> str:
    parts = []
    for media, one in content.items():
        schema = one.get("schema", {})
        shape = f"<p>{kind(schema)}</p>" if "$ref" in schema else described(schema)
        examples = [named["value"] for named in one.get("examples", {}).values()]
        examples += [one["example"]] if "example" in one else []
        parts.append(f"<p><code>{escaped(media)}</code></p>{shape}" + "".join(code(example) for example in examples))
    return "\n".join(parts)


def _errors(codes: Node) -> str:
    rows = [
        [escaped(status), ", ".join(f"<code>{escaped(one)}</code>" for one in named)] for status, named in codes.items()
    ]
    return "<h4>Errors</h4>" + table(["status", "code"], rows) if rows else ""
