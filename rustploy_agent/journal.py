"""The only door to the journal: writes the agent's lines about a deployment, reads a deployment's lines back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rustploy_agent import units

#: Terminal control sequences of build tools say nothing in a log.
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


def _backwards(reader: object, count: int) -> Iterator[str]:
    for _ in range(count):
        entry = reader.get_previous()  # type: ignore[attr-defined]
        if not entry:
            return
        message = entry.get("MESSAGE", "")
        yield message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
