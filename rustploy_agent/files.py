"""Files that other users write or read: replaced as a whole, read without following links."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

LARGEST_MESSAGE = 1024 * 1024
TEMPORARY = re.compile(r"\..+\.[0-9]+\.[0-9a-f]{8}")


class UntrustedFile(ValueError):
    """A file is not what it should be; the message says why."""


def replace(path: Path, content: bytes, *, mode: int = 0o640, durable: bool = True) -> None:
    """Writes beside and renames, so that a reader or a crash sees the old or the new content, nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is, the reader must be able to read
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def make_durable(path: Path) -> None:
    """What `replace` wrote, once there is time for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def remove_temporaries(directory: Path) -> None:
    """What `replace` leaves when the agent is killed half way; for its start, when nobody else writes there."""
    for path in directory.glob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_untrusted(path: Path, *, owner: int, largest: int = LARGEST_MESSAGE) -> bytes:
    """Content of a regular file that `owner` (uid) wrote; anything else, also an oversized file, is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UntrustedFile(f"{path.name} cannot be opened: {error.strerror}") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_uid != owner:
        os.close(descriptor)
        raise UntrustedFile(f"{path.name} is not a regular file of the expected owner")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UntrustedFile(f"{path.name} is larger than {largest} bytes")
    return content


def read_untrusted_json(path: Path, *, owner: int) -> dict[str, object]:
    try:
        value = json.loads(read_untrusted(path, owner=owner))
    except (ValueError, RecursionError) as error:
        raise UntrustedFile(f"{path.name} is not valid: {error}") from None
    if not isinstance(value, dict):
        raise UntrustedFile(f"{path.name} is not a JSON object")
    return value
