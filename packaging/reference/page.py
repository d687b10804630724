"""The whole page: one file that asks nothing of the network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import operation
from markup import escaped, inline, prose
from schema import about, described

Node = dict[str, Any]
METHODS = ("get", "put", "post", "patch", "delete")
STYLE = Path(__file__).with_name("style.css")


def whole(document: Node) -> str:
    info = document["info"]
    title = f"{info['title']}: reference of the API"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<nav>
{_contents(document)}
</nav>
<main>
<h1>{escaped(title)}</h1>
<p>{inline(info["summary"])} The same as <a href="openapi.yaml">openapi.yaml</a> and
<a href="openapi.json">openapi.json</a>; paths begin with
<code>{escaped(document["servers"][0]["url"])}</code> unless they say otherwise.</p>
{prose(info["description"])}
{_credentials(document)}
{"".join(_tag(document, tag) for tag in document["tags"])}
<h2 id="schemas">Schemas</h2>
{"".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())}
</main>
</body>
</html>
"""


def _operations(document: Node, tag: str) -> Iterator[tuple[str, str, list[Node], Node]]:
    for path, item in document["paths"].items():
        root = item.get("servers", [{"url": ""}])[0]["url"].rstrip("/")
        for method in METHODS:
            if tag in item.get(method, {}).get("tags", []):
                yield root + path, method, item.get("parameters", []), item[method]


def _contents(document: Node) -> str:
    lines = []
    for tag in document["tags"]:
        lines.append(f'<a class="tag" href="#tag-{escaped(tag["name"])}">{escaped(tag["name"])}</a>')
        for path, method, _, one in _operations(document, tag["name"]):
            about = escaped(f"{method.upper()} {path}")
            lines.append(f'<a href="#{escaped(one["operationId"])}">{about}</a>')
    return "\n".join([*lines, '<a class="tag" href="#schemas">Schemas</a>'])


def _credentials(document: Node) -> str:
    schemes = document["components"]["securitySchemes"].items()
    items = "".join(f"<li><code>{escaped(name)}</code>: {_scheme(one)}</li>" for name, one in schemes)
    return f'<h2 id="credentials">Credentials</h2><ul>{items}</ul>'


def _scheme(scheme: Node) -> str:
    where = (
        f"header <code>Authorization: {escaped(scheme['scheme'].title())} …</code>"
        if scheme["type"] == "http"
        else f"{escaped(scheme['in'])} <code>{escaped(scheme['name'])}</code>"
    )
    return f"{where}. {inline(scheme.get('description', ''))}"


def _tag(document: Node, tag: Node) -> str:
    sections = "\n".join(
        operation.section(document, path, method, shared, one)
        for path, method, shared, one in _operations(document, tag["name"])
    )
    name = escaped(tag["name"])
    return f'<h2 id="tag-{name}">{name}</h2>{prose(tag.get("description", ""))}\n{sections}\n'


def _schema(name: str, schema: Node) -> str:
    body = described(schema)
    known = f"<p>{about(schema)}</p>" if "description" in schema else ""
    return f'<section class="schema" id="schema-{escaped(name)}"><h3>{escaped(name)}</h3>{known}{body}</section>\n'
