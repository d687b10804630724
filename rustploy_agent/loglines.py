"""Turns what a program wrote as one line into the text that a log shows. Pure."""

from __future__ import annotations

import re

#: Bytes of a line, the rest is left out; what writes to journald's socket may make one of a hundred MiB.
LONGEST_LINE = 64 * 1024
CUT = "[the rest of this line is left out here; journalctl has it]"
#: Terminal control sequences of build tools say nothing in a log.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def shown(written: bytes) -> str:
    """Return the last state of a line, without control characters, and not more of it than LONGEST_LINE."""
    lines = (
        written[:LONGEST_LINE].decode("utf-8", "replace").split("\n")
    )  # what uses journald's socket may send several
    text = "\n".join(map(_last_state, lines))
    return f"{text} {CUT}" if len(written) > LONGEST_LINE else text


def _last_state(line: str) -> str:
    """Return what a terminal shows in the end: each carriage return begins the line anew, as progress bars do.

    A state that shows nothing, such as the one after the last carriage return, does not count.
    """
    states = [CONTROL.sub("", state) for state in line.split("\r")]
    return next(filter(str.strip, reversed(states)), states[0])
