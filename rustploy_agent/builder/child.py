"""Runs a buildpack's executable: argv list, given environment, output line by line, a deadline for it and its children.

posix_spawn instead of subprocess: the build program starts for every deployment, and subprocess takes 8 ms to import.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping

PIECE = 64 * 1024
LONGEST_LINE = 8 * 1024
#: What shows nothing on a terminal.
UNSEEN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\s")


class DeadlineExceeded(Exception):
    pass


def run(
    argv: list[str],
    environment: Mapping[str, str],
    deadline: float,
    on_line: Callable[[str], None],
    *,
    output: int | None = None,
) -> int:
    """The exit status (negative: the signal that ended it). `deadline` is in time.monotonic() seconds.

    Standard output and error go to `on_line`; with `output`, standard output goes to that descriptor instead.
    What the program started is killed when it ends, so that nothing of a build outlives it holding the pipe.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writing if output is None else output, 1),
        (os.POSIX_SPAWN_DUP2, writing, 2),
    ]
    try:
        pid = os.posix_spawn(
            argv[0], argv, environment, file_actions=actions, setpgroup=0, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    ended = os.pidfd_open(pid)
    try:
        for line in _lines(_pieces(reading, ended, deadline)):
            on_line(line)
    finally:
        _kill_group(pid)
        status = os.waitpid(pid, 0)[1]
        os.close(ended)
        os.close(reading)
    return os.waitstatus_to_exitcode(status)


def _pieces(reading: int, ended: int, deadline: float) -> Iterator[bytes]:
    """What the program writes until it ended and the pipe is empty (a background child may keep the pipe open)."""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        remaining = deadline - time.monotonic()
        ready = dict(poll.poll(max(remaining, 0) * 1000)) if remaining > 0 else {}
        if not ready:
            raise DeadlineExceeded
        if reading in ready:
            piece = os.read(reading, PIECE)
            if piece:
                yield piece
                continue
            poll.unregister(reading)
        elif ended in ready:
            return


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines without their end, at most LONGEST_LINE characters in memory; a carriage return redraws the line."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    kept = ""
    for piece in pieces:
        *whole, kept = (kept + decoder.decode(piece)).split("\n")
        for line in whole:
            yield from _cut(_last_redrawn(line))
        if len(kept) > LONGEST_LINE:
            kept = _without_redrawn(kept)
        while len(kept) > LONGEST_LINE:
            yield kept[:LONGEST_LINE]
            kept = kept[LONGEST_LINE:]
    kept += decoder.decode(b"", final=True)
    if kept:
        yield _last_redrawn(kept)


def _cut(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), LONGEST_LINE):
        yield line[start : start + LONGEST_LINE]


def _last_redrawn(line: str) -> str:
    """Return the last state of a line that shows anything; a progress bar often clears it at its end."""
    states = line.split("\r")
    return next((state for state in reversed(states) if UNSEEN.sub("", state)), states[0])


def _without_redrawn(line: str) -> str:
    """Return an unfinished line without the states that were followed by a carriage return and more text."""
    end = len(line.rstrip("\r"))
    return line[line.rfind("\r", 0, end) + 1 :]


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
