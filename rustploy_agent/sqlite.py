"""The database: connections that are used again, writers that take turns, and what waits until a commit is on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import peewee

log = logging.getLogger(__name__)


#: Connections kept for whoever comes next. Each takes up to half a megabyte, opening one as long as a small request.
MOST_IDLE = 4
#: How long a writer waits for its turn; as long as it would wait for another process.
TURN_SECONDS = 10


def is_busy(error: Exception) -> bool:
    """Whether somebody else held the database for longer than this thread waits for its turn."""
    return isinstance(error, peewee.OperationalError) and "locked" in str(error)


class Database(peewee.SqliteDatabase):  # type: ignore[misc]
    """A thread has a connection from its first query until `close`, which leaves it to the next thread.

    Transactions of this process that write wait for each other here: SQLite would have them try again after pauses,
    and the unlucky wait many times as long as their turn takes.
    """

    def __init__(self) -> None:
        self._asked = threading.local()
        self._idle: deque[Any] = deque()
        self._writing = threading.Lock()
        self._looking, self._looked = threading.Lock(), 0
        self._looker: Any = None
        super().__init__(None, autoconnect=True)

    def init(self, database: Any, **settings: Any) -> None:
        self.forget_idle()
        self._read_at = 0.0
        super().init(database, check_same_thread=False, **settings)

    def forget_idle(self) -> None:
        """Gives back the memory of connections that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                super()._close(self._idle.pop())
        with self._looking:
            if self._looker is not None:
                super()._close(self._looker)
                self._looker = None

    def version(self) -> tuple[int, int]:
        """Another one after each commit, whoever's it was: what was read since it was seen last is still so.

        SQLite tells a connection of the commits of all others, so this takes one that never writes.
        """
        with self._looking, peewee.__exception_wrapper__:
            if self._looker is None:
                self._looker = super()._connect()
                self._looked += 1
            (number,) = self._looker.execute("PRAGMA data_version").fetchone()
            self._read_at = time.monotonic()
            return self._looked, number

    def check(self, within_seconds: float = 0) -> None:
        """Raises unless the database can be read, or could be within these seconds."""
        if time.monotonic() - self._read_at >= within_seconds:
            self.version()

    def _connect(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:  # not looked at before: another thread may take or forget the last one meanwhile
            return super()._connect()

    def _close(self, connection: Any) -> None:
        if len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            super()._close(connection)

    def after_commit(self, do: Callable[[], object]) -> None:
        """Now, outside a transaction; after the end of the outermost one else, and not at all when it is rolled back.

        So it neither acts on what may not be there tomorrow nor waits for a thread that waits for this transaction.
        """
        if self.in_transaction():
            self._asked.list = [*getattr(self._asked, "list", ()), do]
        else:
            do()

    def begin(self, lock_type: str | None = None) -> Any:
        if lock_type is None:
            return super().begin()
        if not self._writing.acquire(timeout=TURN_SECONDS):
            raise peewee.OperationalError("database is locked by another thread")
        try:
            result = super().begin(lock_type)
        except BaseException:
            self._writing.release()
            raise
        self._asked.my_turn = True
        return result

    def rollback(self) -> Any:
        self._asked.list = []
        return super().rollback()

    def pop_transaction(self) -> Any:
        ended = super().pop_transaction()
        if not self.in_transaction():
            if getattr(self._asked, "my_turn", False):
                self._asked.my_turn = False
                self._writing.release()
            asked, self._asked.list = getattr(self._asked, "list", ()), []
            for do in asked:
                _safely(do)
        return ended


def _safely(do: Callable[[], object]) -> None:
    """What was committed is not to look as if it had failed."""
    try:
        do()
    except Exception:
        log.exception("after a commit")
