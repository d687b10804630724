"""Text of the document as HTML. Everything is escaped; of Markdown, paragraphs, lists and `code` are understood."""

from __future__ import annotations

import html
import json
import re


def escaped(text: object) -> str:
    return html.escape(str(text), quote=True)


def inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped(text))


def prose(text: str) -> str:
    """Paragraphs and lists."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("- "):
            items = "".join(f"<li>{inline(item)}</li>" for item in re.split(r"^- ", block, flags=re.MULTILINE)[1:])
            blocks.append(f"<ul>{items}</ul>")
        elif block:
            blocks.append(f"<p>{inline(block)}</p>")
    return "\n".join(blocks)


def code(value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre><code>{escaped(shown)}</code></pre>"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """`rows` hold HTML."""
    if not rows:
        return ""
    head = "".join(f"<th>{escaped(one)}</th>" for one in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>'
