"""Reading files of a repository: regular files inside of it, in the encodings that pip understands."""

from __future__ import annotations

import codecs
import os
import re
import stat
from typing import Any

from pyplan.wrong import Wrong

LIMIT = 16 * 1024 * 1024
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Where fetch puts a repository (docs/architecture.md, On disk).
CHECKOUT = re.compile(r".*/slugs/[0-9a-f-]{36}/app(?=/|$)")
CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


def decode(content: bytes) -> str:
    """The text without its byte order mark, with plain line ends; what is no UTF-8 is read as Latin-1."""
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return _plain(content[len(mark) :].decode(encoding, "replace"))
    for line in content.split(b"\n", 2)[:2]:
        named = CODING.match(line)
        if named:
            try:
                return _plain(content.decode(named[1].decode()))
            except (LookupError, ValueError):
                break
    try:
        return _plain(content.decode("utf-8"))
    except ValueError:
        return _plain(content.decode("latin-1"))


def read(root: str, name: str) -> str | None:
    """The text of a regular file below `root`, None when there is none."""
    content = read_bytes(root, name)
    return None if content is None else decode(content)


def read_bytes(root: str, name: str) -> bytes | None:
    """The content of a regular file below `root`. A link is followed if it stays inside."""
    path = os.path.realpath(f"{root}/{name}")
    if not inside(root, path):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise Wrong(f"{name}: must be at most {LIMIT // 2**20} MiB")
    return content


def inside(root: str, path: str) -> bool:
    """Whether a resolved path lies in the repository, of which `root` may be one directory."""
    checkout = CHECKOUT.match(os.path.realpath(root))
    top = checkout[0] if checkout else os.path.realpath(root)
    return path == top or path.startswith(f"{top}/")


def toml(root: str, name: str) -> dict[str, Any]:
    """The document, empty when there is no such file; Wrong when it is not TOML."""
    text = read(root, name)
    if text is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Wrong(f"{name} is not valid TOML: {error}") from None


def table(document: Any, *keys: str) -> dict[str, Any]:
    """The table at this place of a document, empty when there is something else or nothing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
