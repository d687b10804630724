"""The only door to the journal: writes the agent's lines about a deployment, reads a deployment's lines back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rustploy_agent import loglines, units

#: One answer holds no more than so many characters, whatever number of lines was asked for.
LONGEST_ANSWER = 4 * 1024 * 1024
#: journald links an entry into its file piece by piece. Until the last piece is linked, libsystemd finds the entry but
#: not its message. After so many seconds an entry without a message has none.
LINKED_AFTER_SECONDS = 1
#: journald's own message that a service wrote faster than its limit allows (SD_MESSAGE_JOURNAL_DROPPED).
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
#: As many as libsystemd steps over at once.
MOST_ENTRIES = 2**31 - 1
LEFT_OUT = "[older lines are left out here; journalctl RUSTPLOY_DEPLOYMENT=<id> has them all]"


class CursorGone(Exception):
    """The journal has no such entry any more, so lines after it may be missing too."""


def write(message: str, *, app: str, deployment_id: str, step: str | None = None, priority: int = 6) -> None:
    from systemd import journal

    fields = {"RUSTPLOY_APP": app, "RUSTPLOY_DEPLOYMENT": deployment_id, "SYSLOG_IDENTIFIER": "rustploy-agent"}
    if step:
        fields["RUSTPLOY_STEP"] = step
    for line in message.splitlines():
        journal.send(line, PRIORITY=str(priority), **fields)


def record(message: str, **fields: object) -> None:
    """One line of the agent's with these fields; those that are None are left out."""
    from systemd import journal

    given = {name: str(value) for name, value in fields.items() if value is not None}
    journal.send(message, PRIORITY="6", SYSLOG_IDENTIFIER="rustploy-agent", **given)


def deployment_lines(app: str, deployment_id: str, instances: list[tuple[str, int]], newest: int) -> list[str]:
    """The newest lines of one deployment, oldest first: the agent's own, fetch, build, release phase and the app's."""
    chosen = Selection(deployment_id, tuple(units.of_deployment(app, instances)))
    with Log() as log:
        return log.newest(chosen, newest, LONGEST_ANSWER).lines


def unit_lines(unit: str, deployment_id: str, newest: int) -> list[str]:
    """The newest lines that one unit wrote for one deployment, oldest first."""
    with Log() as log:
        return log.newest(Selection(deployment_id, (unit,)), newest, LONGEST_ANSWER).lines


@dataclass(frozen=True)
class Selection:
    """Lines of these units for one deployment, and journald's word on lines of theirs that it dropped.

    By `_SYSTEMD_UNIT`, which no process can forge; RUSTPLOY_DEPLOYMENT only narrows within those units.
    """

    deployment_id: str
    units: tuple[str, ...]

    def match(self, reader: Any) -> None:
        """Different fields must all match, equal fields are alternatives (sd_journal_add_match)."""
        reader.flush_matches()
        for unit in self.units:
            reader.add_match(f"_SYSTEMD_UNIT={unit}")
        reader.add_match(f"RUSTPLOY_DEPLOYMENT={self.deployment_id}")
        reader.add_disjunction()
        for unit in self.units:
            reader.add_match(f"OBJECT_SYSTEMD_UNIT={unit}")
        for own in ("_TRANSPORT=driver", f"MESSAGE_ID={DROPPED}"):
            reader.add_match(own)


@dataclass(frozen=True)
class Piece:
    """Lines, and the place after the last of them; None when there were none. `more`: it was cut short."""

    lines: list[str]
    cursor: str | None
    more: bool = False


@dataclass(frozen=True)
class _Entry:
    """`dropped_by`: the unit that this entry says lines of were dropped."""

    text: str
    unit: str
    dropped_by: str | None
    cursor: str


class Log:
    """Reads lines of deployments. Not for two threads at once."""

    def __init__(self) -> None:
        self._reader = _open()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()

    def newest(self, selection: Selection, count: int, characters: int) -> Piece:
        self._reader.process()
        selection.match(self._reader)
        self._reader.seek_tail()
        found: list[_Entry] = []
        left, cut = characters, False
        while len(found) < count and self._reader._previous():
            entry = _entry(self._reader)
            left -= len(entry.text)
            if left < 0:
                cut = True
                break
            found.append(entry)
        piece = _piece(found[::-1])
        return Piece([LEFT_OUT, *piece.lines], piece.cursor) if cut else piece

    def after(self, selection: Selection, cursor: str | None, count: int, characters: int) -> Piece:
        """Return what came after that line (None: from the beginning), as much of it as fits."""
        self._reader.process()
        selection.match(self._reader)
        found: list[_Entry] = []
        left, more = characters, False
        for _ in _written(self._reader, lambda: self._seek(cursor), count + 1):
            if len(found) >= count or left <= 0:
                more = True
                break
            found.append(_entry(self._reader))
            left -= len(found[-1].text)
        piece = _piece(found)
        return Piece(piece.lines, piece.cursor or cursor, more and bool(piece.lines))

    def _seek(self, cursor: str | None) -> None:
        if cursor is None:
            self._reader.seek_head()
            return
        try:
            self._reader.seek_cursor(cursor)
            found = self._reader._next() and self._reader.test_cursor(cursor)
        except (OSError, ValueError):  # no cursor at all; python-systemd says EINVAL as ValueError
            found = False
        if not found:
            raise CursorGone


def newest_of(unit: str, count: int) -> list[str]:
    """The newest lines of a unit of the platform's own, newest first."""
    reader = _open()
    try:
        reader.add_match(f"_SYSTEMD_UNIT={unit}")
        reader.seek_tail()
        lines: list[str] = []
        while len(lines) < count and reader._previous():
            lines.append(loglines.shown(_message(reader)))
        return lines
    finally:
        reader.close()


class Watch:
    """Tells which units have written something. The lines themselves are read by a Log."""

    def __init__(self) -> None:
        self._reader = _open()
        self._place: str | None = None

    def fileno(self) -> int:
        found: int = self._reader.fileno()
        return found

    def close(self) -> None:
        self._reader.close()

    def select(self, names: Iterable[str]) -> None:
        """From now on. By way of a cursor: from a tail without matching entries libsystemd never gets any further."""
        reader = self._reader
        reader.process()
        reader.flush_matches()
        reader.seek_tail()
        self._place = reader._get_cursor() if reader._previous() else None
        for unit in names:
            reader.add_match(f"_SYSTEMD_UNIT={unit}")

    def news(self) -> set[tuple[str, str]]:
        """Return (unit, RUSTPLOY_APP as it says) of each entry since the last call."""
        self._reader.process()
        found = set()
        for cursor in _written(self._reader, self._seek, MOST_ENTRIES):
            self._place = cursor
            found.add((_field(self._reader, "_SYSTEMD_UNIT"), _field(self._reader, "RUSTPLOY_APP")))
        return found

    def _seek(self) -> None:
        if self._place is None:
            self._reader.seek_head()
            return
        self._reader.seek_cursor(self._place)
        if self._reader._next() and not self._reader.test_cursor(self._place):
            self._reader.seek_cursor(self._place)  # the place is an entry of another unit: the next one is news


def _written(reader: Any, seek: Callable[[], None], most: int) -> Iterator[str]:
    """Step through the entries after a place, at most so many; the values are their cursors.

    journald writes while libsystemd looks for the next entry of several units. libsystemd may find nothing of the first
    unit, then find an entry of the second one, and never show what the first one wrote between the two. So this walks
    as far as it gets, and then steps through all that was there before the walk ended.
    """
    seek()
    if not reader._next(most):
        return
    end = reader._get_cursor()
    seek()
    while reader._next():
        cursor: str = reader._get_cursor()
        yield cursor
        if cursor == end:
            return


def _open() -> Any:
    """Services write to the system's journal, so users' own journals need not be open."""
    from systemd import journal

    reader = journal.Reader(flags=journal.LOCAL_ONLY | journal.SYSTEM_ONLY)
    reader.data_threshold = loglines.LONGEST_LINE + 1024  # so much, at least, of what is compressed is unpacked
    reader.fileno()  # from here on it notices files that are rotated, added or removed
    return reader


def _entry(reader: Any) -> _Entry:
    unit, cursor = _field(reader, "_SYSTEMD_UNIT"), reader._get_cursor()
    notice = _field(reader, "_TRANSPORT") == "driver" and _field(reader, "MESSAGE_ID") == DROPPED
    text, dropped_by = loglines.shown(_message(reader)), _field(reader, "OBJECT_SYSTEMD_UNIT") if notice else None
    return _Entry(text, unit, dropped_by, cursor)


def _message(reader: Any) -> bytes:
    """Return the message of the entry, and wait for it while journald may still be linking the entry into its file."""
    while True:
        try:
            return bytes(reader._get("MESSAGE"))
        except KeyError:
            if abs(time.time() - reader._get_realtime() / 1e6) >= LINKED_AFTER_SECONDS:
                return b""
            time.sleep(0.002)


def _field(reader: Any, name: str) -> str:
    return _bytes(reader, name)[: loglines.LONGEST_LINE].decode("utf-8", "replace")


def _bytes(reader: Any, name: str) -> bytes:
    try:
        return bytes(reader._get(name))
    except KeyError:
        return b""


def _piece(entries: list[_Entry]) -> Piece:
    lines = list(_with_notices(entries))
    cursor = next((entry.cursor for entry in reversed(entries) if entry.dropped_by is None), None)
    return Piece(lines, cursor)


def _with_notices(entries: list[_Entry]) -> Iterator[str]:
    """journald tells of dropped lines right before the next line of the same unit: so it is known whose they were."""
    waiting: dict[str, str] = {}
    for entry in entries:
        if entry.dropped_by is not None:
            waiting[entry.dropped_by] = entry.text
            continue
        if entry.unit in waiting:
            yield f"[journald: {waiting.pop(entry.unit)}]"
        yield entry.text
