"""The only door to the journal: writes the agent's lines about a deployment, reads a deployment's lines back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rustploy_agent import units

#: Terminal control sequences of build tools say nothing in a log.
#: One answer holds no more than so many characters, whatever number of lines was asked for.
LONGEST_ANSWER = 4 * 1024 * 1024
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def write(message: str, *, app: str, deployment_id: str, step: str | None = None, priority: int = 6) -> None:
    from systemd import journal

    fields = {"RUSTPLOY_APP": app, "RUSTPLOY_DEPLOYMENT": deployment_id, "SYSLOG_IDENTIFIER": "rustploy-agent"}
    if step:
        fields["RUSTPLOY_STEP"] = step
    for line in message.splitlines():
        journal.send(line, PRIORITY=str(priority), **fields)


def deployment_lines(app: str, deployment_id: str, process_types: list[str], newest: int) -> list[str]:
    """The newest lines of one deployment, oldest first: the agent's own, fetch, build, release phase and the app's.

    Selected by `_SYSTEMD_UNIT`, which no process can forge; RUSTPLOY_DEPLOYMENT only narrows within those units.
    """
    matches = [f"_SYSTEMD_UNIT={unit}" for unit in units.of_deployment(app, process_types)]
    lines = _newest([*matches, f"RUSTPLOY_DEPLOYMENT={deployment_id}"], newest)
    return [CONTROL.sub("", line) for line in lines]


def unit_lines(unit: str, deployment_id: str, newest: int) -> list[str]:
    """The newest lines that one unit wrote for one deployment, oldest first."""
    matches = [f"_SYSTEMD_UNIT={unit}", f"RUSTPLOY_DEPLOYMENT={deployment_id}"]
    return [CONTROL.sub("", line) for line in _newest(matches, newest)]


def _newest(matches: list[str], count: int) -> list[str]:
    """Different fields must all match, equal fields are alternatives (sd_journal_add_match)."""
    from systemd import journal

    with journal.Reader() as reader:
        for match in matches:
            reader.add_match(match)
        reader.seek_tail()
        found = list(_backwards(reader, count))
    return found[::-1]


def _backwards(reader: Any, count: int) -> Iterator[str]:
    left = LONGEST_ANSWER
    for _ in range(count):
        entry = reader.get_previous()
        if not entry:
            return
        message = entry.get("MESSAGE", "")
        line = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        left -= len(line)
        if left < 0:
            yield "[older lines are left out here; journalctl RUSTPLOY_DEPLOYMENT=<id> has them all]"
            return
        yield line
