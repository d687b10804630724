"""The database connection, with what is to happen only once a transaction is on disk: waking, telling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import peewee

log = logging.getLogger(__name__)


class Database(peewee.SqliteDatabase):  # type: ignore[misc]
    """Remembers per thread what is to happen once its transaction is on disk."""

    def __init__(self) -> None:
        super().__init__(None, autoconnect=True)
        self._asked = threading.local()

    def after_commit(self, do: Callable[[], object]) -> None:
        """Now, outside a transaction; after the end of the outermost one else, and not at all when it is rolled back.

        So it neither acts on what may not be there tomorrow nor waits for a thread that waits for this transaction.
        """
        if self.in_transaction():
            self._asked.list = [*getattr(self._asked, "list", ()), do]
        else:
            do()

    def rollback(self) -> Any:
        self._asked.list = []
        return super().rollback()

    def pop_transaction(self) -> Any:
        ended = super().pop_transaction()
        if not self.in_transaction():
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
