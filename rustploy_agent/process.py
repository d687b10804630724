"""The only door to other programs: argv lists, a clean environment, always a deadline."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from rustploy_agent.errors import AgentError

_C = ctypes.CDLL(None, use_errno=True)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class ProcessFailed(AgentError):
    code = "process_failed"


def run(argv: list[str], *, seconds: float, given: str = "") -> str:
    """Standard output of a program that was given this text on its standard input and ended with 0 in time."""
    try:
        done = subprocess.run(
            argv,
            env=ENVIRONMENT,
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"{argv[0]} did not end within {seconds:g} s") from None
    except OSError as error:
        raise ProcessFailed(f"{argv[0]} did not start: {error.strerror}") from None
    if done.returncode:
        raise ProcessFailed(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def sync_filesystem(path: Path) -> None:
    """Everything on the file system that holds `path` is on disk when this returns (syncfs)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _C.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "what was built cannot be written to disk")
    finally:
        os.close(descriptor)
