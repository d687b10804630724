"""The only GitPython: runs git with our argv and environment. Its object database and URL handling are not used."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rustploy_agent.builder.fetchfailure import GitFailed

PIECE = 256 * 1024
MOST_SAID = 64 * 1024


class Git:
    """git in one directory. Takes over os.environ, because GitPython passes all of it on."""

    def __init__(self, directory: str, environment: Mapping[str, str]) -> None:
        os.environ.clear()
        os.environ.update(environment)
        self._execute: Any = load()(directory).execute

    def run(self, command: str, arguments: list[str], **environment: str) -> bytes:
        """Standard output of a git command (small ones only); GitFailed when it does not end with 0."""
        with self.reading(command, arguments, environment=environment) as pieces:
            return b"".join(pieces)

    @contextlib.contextmanager
    def reading(
        self,
        command: str,
        arguments: list[str],
        *,
        istream: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Git's standard output, piece by piece. An exception in between kills git and all it started."""
        process = self._execute(
            ["git", command, *arguments],
            as_process=True,
            istream=istream,
            env=environment or {},
            start_new_session=True,
        )
        said: list[bytes] = []
        listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
        listener.start()
        try:
            yield iter(lambda: process.stdout.read1(PIECE), b"")
            status = process.proc.wait()
        finally:
            _kill_session(process.pid)
            process.proc.wait()
            listener.join()
        if status:
            raise GitFailed(command, status, b"".join(said).decode("utf-8", "replace"))


def load() -> Any:
    """git.cmd.Git without what git/__init__.py and gitdb/__init__.py load: an object model, unused here, in 30 ms."""
    for package in ("git", "gitdb"):
        found = importlib.util.find_spec(package)
        if found is not None and package not in sys.modules:
            sys.modules[package] = importlib.util.module_from_spec(found)
    from git.cmd import Git as Runner

    return Runner


def _listen(stderr: IO[bytes], said: list[bytes]) -> None:
    """Keeps the beginning of what git says and reads the rest too: a full pipe would stop git."""
    size = 0
    while piece := os.read(stderr.fileno(), PIECE):
        if size < MOST_SAID:
            said.append(piece)
        size += len(piece)


def _kill_session(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
