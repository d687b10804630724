"""Reading package.json as people save it: with a byte order mark, in UTF-16, in UTF-8."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from typing import Any

MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Wrong(Exception):
    """Something in the repository cannot be used; the message says what would be right."""


def read_bytes(path: str) -> bytes:
    """Return the file's bytes, none when there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b""


def text_of(content: bytes, name: str) -> str:
    """Return the text in the encoding that its byte order mark names, else in UTF-8."""
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise Wrong(f"{name} must be UTF-8") from None


def load(build_dir: str, *, mend: bool = True) -> dict[str, Any]:
    """Return package.json.

    `mend`: one with a byte order mark is written again without it, because npm and node read plain UTF-8 only.
    """
    path = f"{build_dir}/package.json"
    content = read_bytes(path)
    text = text_of(content, "package.json")
    package = parse(text, "package.json")
    if mend and text.encode() != content:
        with open(path, "wb") as file:
            file.write(text.encode())
    return package


def parse(text: str, name: str) -> dict[str, Any]:
    """Return the JSON object of a file."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"{name} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise Wrong(f"{name} must be an object")
    return found


def strings(value: object) -> dict[str, str]:
    """Return the entries of an object whose values are texts."""
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
