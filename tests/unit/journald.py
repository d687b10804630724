"""journald's journal and libsystemd's reader of it, as far as the agent uses them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field


@dataclass
class Journal:
    entries: list[dict[str, bytes]] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    removed: int = 0
    #: Entries that the first reader to come by overlooks once, and those whose message is not linked yet.
    overlooked: set[int] = field(default_factory=set)
    unlinked: dict[int, int] = field(default_factory=dict)

    def say(self, message: str | bytes, unit: str, deployment: str = "", **more: str) -> None:
        fields = {"_SYSTEMD_UNIT": unit, "RUSTPLOY_DEPLOYMENT": deployment, **more}
        entry = {name: value.encode() for name, value in fields.items() if value}
        self.entries.append(entry | {"MESSAGE": message.encode() if isinstance(message, str) else message})
        self.wake()

    def wake(self) -> None:
        for reader in self.readers:
            os.eventfd_write(reader.fileno(), 1)

    def race(self, overlooked: tuple[str, str, str], seen: tuple[str, str, str]) -> None:
        """Both (message, unit, deployment) are written while a reader looks for the next entry of several units.

        It had found nothing of the first one's unit already, and finds what the second one's unit wrote.
        """
        self.overlooked.add(len(self.entries))
        message, unit, deployment = overlooked
        fields = {"_SYSTEMD_UNIT": unit, "RUSTPLOY_DEPLOYMENT": deployment, "MESSAGE": message}
        self.entries.append({name: value.encode() for name, value in fields.items()})
        self.say(*seen)

    def say_piecemeal(self, message: str, unit: str, deployment: str, reads: int) -> None:
        """The message is linked into the file only after a reader has looked for it so often."""
        self.unlinked[len(self.entries)] = reads
        self.say(message, unit, deployment)

    def drop(self, count: int, unit: str) -> None:
        told = {"_TRANSPORT": "driver", "MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e", "OBJECT_SYSTEMD_UNIT": unit}
        self.say(f"Suppressed {count} messages from {unit}", "systemd-journald.service", **told)

    def vacuum(self, keep: int) -> None:
        """Only the newest entries are left."""
        self.removed = len(self.entries) - keep

    def open(self, flags: int) -> Reader:
        reader = Reader(self)
        self.readers.append(reader)
        return reader


class Reader:
    """Terms are alternatives of fields that must all match; of one field any value may."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._event = journal, os.eventfd(0, os.EFD_NONBLOCK)
        self._terms: list[dict[str, set[bytes]]] = [{}]
        self._at = -1

    def fileno(self) -> int:
        return self._event

    def close(self) -> None:
        self._journal.readers.remove(self)
        os.close(self._event)

    def process(self) -> int:
        try:
            return os.eventfd_read(self._event)
        except BlockingIOError:
            return 0

    def flush_matches(self) -> None:
        self._terms = [{}]

    def add_match(self, match: str) -> None:
        name, _, value = match.partition("=")
        self._terms[-1].setdefault(name, set()).add(value.encode())

    def add_disjunction(self) -> None:
        self._terms.append({})

    def seek_head(self) -> None:
        self._at = self._journal.removed - 1

    def seek_tail(self) -> None:
        self._at = len(self._journal.entries)

    def seek_cursor(self, cursor: str) -> None:
        if not cursor.startswith("i="):
            raise ValueError("Invalid cursor")
        self._at = max(int(cursor[2:], 16), self._journal.removed) - 1

    def test_cursor(self, cursor: str) -> bool:
        return self._get_cursor() == cursor

    def _next(self, skip: int = 1) -> bool:
        assert skip <= 2**31 - 1  # else libsystemd says ERANGE
        moved = False
        while skip > 0 and self._move(range(self._at + 1, len(self._journal.entries))):
            moved, skip = True, skip - 1
        return moved

    def _previous(self) -> bool:
        return self._move(range(self._at - 1, self._journal.removed - 1, -1))

    def _move(self, candidates: range) -> bool:
        found = next(filter(self._matches, candidates), None)
        self._at = self._at if found is None else found
        return found is not None

    def _matches(self, index: int) -> bool:
        entry = self._journal.entries[index]
        if index in self._journal.overlooked:
            self._journal.overlooked.discard(index)
            return False
        return any(all(entry.get(name) in values for name, values in term.items()) for term in self._terms)

    def _get_realtime(self) -> int:
        return int(time.time() * 1e6)

    def _get(self, name: str) -> bytes:
        if name == "MESSAGE" and self._journal.unlinked.get(self._at):
            self._journal.unlinked[self._at] -= 1
            raise KeyError(name)
        return self._journal.entries[self._at][name]

    def _get_cursor(self) -> str:
        return f"i={self._at:x}"
