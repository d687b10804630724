"""What the agent asks of the fetch and build programs, and what they answer: reading, validating, writing.

Pure except for `await_regular`, `read_regular`, `read_optional` and `write_atomically`. Imports little: short-lived
programs use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from typing import Any, NamedTuple

MESSAGE_LIMIT = 1024 * 1024
TEXT_LIMIT = 64 * 1024
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COMMIT = re.compile(r"[0-9a-f]{40}")
BUILDPACK = re.compile(r"[a-z][a-z0-9]{0,31}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
APP_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,25}[a-z0-9])?")


class Refused(Exception):
    """An expected end: it becomes a result with a stable code, never a failed unit."""

    def __init__(self, code: str, message: str, *, retryable: bool = False, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.exit_status = exit_status


class Job(NamedTuple):
    deployment_id: str
    app: str
    slug_id: str


class Fetch(NamedTuple):
    url: str
    ref: str | None
    commit: str | None
    schemes: tuple[str, ...]
    hosts: tuple[str, ...]
    file_root: str | None
    max_bytes: int
    timeout_seconds: int
    known_commits: tuple[str, ...]
    build_mode: str
    inspect_only: bool
    root: str | None
    pushed: str | None


class Build(NamedTuple):
    buildpack: str | None
    root: str
    timeout_seconds: int
    kept_slugs: tuple[str, ...]
    empty_cache: bool
    #: The app's variables that builds see, and the names of those whose values the log must not show.
    environment: dict[str, str]
    hidden: tuple[str, ...]


def parse(document: bytes, app: str) -> tuple[Job, dict[str, Any]]:
    """The job's head, and the whole object for `fetch_of` or `build_of`; ValueError names the wrong field."""
    message = _object(document, "job")
    if message.get("version") != 1:
        raise ValueError("version: must be 1")
    if message.get("app") != app or not APP_NAME.fullmatch(app) or "--" in app:
        raise ValueError(f"app: must be the app of this unit, {app[:40]!r}")
    return Job(_uuid(message, "deployment_id"), app, _uuid(message, "slug_id")), message


def fetch_of(message: dict[str, Any]) -> Fetch:
    part = _part(message, "fetch")
    return Fetch(
        url=_text(part, "url"),
        ref=_text(part, "ref") if part.get("ref") is not None else None,
        commit=_match(part, "commit", COMMIT) if part.get("commit") is not None else None,
        schemes=_texts(part, "schemes"),
        hosts=_texts(part, "hosts") if "hosts" in part else (),
        file_root=_text(part, "file_root") if part.get("file_root") is not None else None,
        max_bytes=_positive(part, "max_bytes"),
        timeout_seconds=_positive(part, "timeout_seconds"),
        known_commits=_texts(part, "known_commits"),
        build_mode=_match(part, "build_mode", BUILDPACK),
        inspect_only=_flag(part, "inspect_only"),
        root=_root(part),
        pushed=_match(part, "pushed", COMMIT) if part.get("pushed") is not None else None,
    )


def build_of(message: dict[str, Any]) -> Build:
    part = _part(message, "build")
    named = part.get("buildpack") is not None
    kept = _texts(part, "kept_slugs") if "kept_slugs" in part else ()
    if not all(UUID.fullmatch(slug) for slug in kept):
        raise ValueError("kept_slugs: must be ids of slugs")
    buildpack = _match(part, "buildpack", BUILDPACK) if named else None
    environment = _variables(part, "environment") if "environment" in part else {}
    hidden = _texts(part, "hidden") if "hidden" in part else ()
    seconds = _positive(part, "timeout_seconds")
    return Build(buildpack, _root(part) or "", seconds, kept, _flag(part, "empty_cache"), environment, hidden)


def success(asked: Job, found: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "deployment_id": asked.deployment_id, "slug_id": asked.slug_id, "ok": True} | found


def refusal(asked: Job, refused: Refused) -> dict[str, Any]:
    answer = {
        "version": 1,
        "deployment_id": asked.deployment_id,
        "slug_id": asked.slug_id,
        "ok": False,
        "code": refused.code,
        "message": refused.message[:4000],
        "retryable": refused.retryable,
    }
    if refused.exit_status is not None:
        answer["exit_status"] = refused.exit_status
    return answer


def await_regular(path: str) -> bytes:
    """`read_regular` once there is no pipe any more in the place of the file (rustploy_agent/standby.py)."""
    with contextlib.suppress(FileNotFoundError):
        while stat.S_ISFIFO(os.lstat(path).st_mode):
            with open(path, "rb") as pipe:
                pipe.read()  # nothing ever comes; it ends when the file is there
    return read_regular(path)


def read_regular(path: str, limit: int = MESSAGE_LIMIT) -> bytes:
    """The bytes of a regular file; a link, a directory, a pipe or more than `limit` bytes is a ValueError."""
    name = os.path.basename(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:
        raise ValueError(f"{name}: must be a regular file that can be read, not a link") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{name}: must be a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"{name}: must be at most {limit // 1024} KiB")
    return content


def read_optional(path: str, limit: int = TEXT_LIMIT) -> str | None:
    """The text of a regular file, None when there is none; ValueError as `read_regular`.

    It is UTF-8, with or without a mark at its beginning, or UTF-16 with one, as Windows writes it.
    """
    try:
        content = read_regular(path, limit)
        return content.decode("utf-16" if content[:2] in UTF_16_MARKS else "utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ValueError(f"{os.path.basename(path)}: must be UTF-8") from None


def write_atomically(path: str, message: dict[str, Any]) -> None:
    """Readers, the agent's group among them, see the old file or the whole new one.

    Not fsynced: after a power cut the deployment that would read it is settled as failed anyway.
    """
    temporary = f"{path}.tmp"
    _remove(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with open(descriptor, "wb") as file:
        file.write(json.dumps(message).encode("utf-8"))
    try:
        os.rename(temporary, path)
    except IsADirectoryError:
        _remove(path)
        os.rename(temporary, path)


def _remove(path: str) -> None:
    """What a killed run left there, or a build has planted: it may write to this directory, too."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):  # made so that its own maker cannot empty it; aside it is in nobody's way
            os.rename(path, f"{path}.{os.urandom(8).hex()}")
    elif os.path.lexists(path):
        os.unlink(path)


def _object(document: bytes, name: str) -> dict[str, Any]:
    try:
        message = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError(f"{name}: must be JSON") from None
    if not isinstance(message, dict):
        raise ValueError(f"{name}: must be a JSON object")
    return message


def _part(message: dict[str, Any], key: str) -> dict[str, Any]:
    part = message.get(key)
    if not isinstance(part, dict):
        raise ValueError(f"{key}: must be an object")
    return part


def _text(part: dict[str, Any], key: str) -> str:
    value = part.get(key)
    if not isinstance(value, str) or not value or len(value) > 4096 or "\0" in value:
        raise ValueError(f"{key}: must be a text of 1 to 4096 characters")
    return value


def _texts(part: dict[str, Any], key: str) -> tuple[str, ...]:
    value = part.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key}: must be a list of texts")
    return tuple(value)


def _variables(part: dict[str, Any], key: str) -> dict[str, str]:
    value = part.get(key)
    if not isinstance(value, dict) or not all(
        VARIABLE.fullmatch(name) and isinstance(text, str) and "\0" not in text for name, text in value.items()
    ):
        raise ValueError(f"{key}: must be an object of variables' names and texts")
    return value


def _match(part: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = part.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key}: must match {pattern.pattern}")
    return value


def _root(part: dict[str, Any]) -> str | None:
    """The directory of the repository that is looked at; None when nobody says, empty for its top."""
    value = part.get("root")
    if value is not None and not (isinstance(value, str) and len(value) <= 255):
        raise ValueError("root: must be a text of at most 255 characters")
    return value


def _flag(part: dict[str, Any], key: str) -> bool:
    """False when it is absent."""
    value = part.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key}: must be true or false")
    return value


def _uuid(message: dict[str, Any], key: str) -> str:
    return _match(message, key, UUID)


def _positive(part: dict[str, Any], key: str) -> int:
    value = part.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key}: must be a positive integer")
    return value
