"""The database under several threads and processes: nobody waits longer than need be, and nobody reads what was."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest

from rustploy_agent import sqlite
from rustploy_agent.config import Settings
from rustploy_agent.models import Meta, database, rest
from rustploy_agent.remembered import Remembered

pytestmark = pytest.mark.usefixtures("opened")


def other_process(settings: Settings) -> sqlite3.Connection:
    """What root's command line is to the agent."""
    return sqlite3.connect(settings.paths.database, isolation_level=None)


def beside(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_connection_is_used_again_by_whoever_comes_next() -> None:
    """Opening one for each request takes longer than the request."""
    database.execute_sql("SELECT 1")
    first = database.connection()
    rest()
    seen: list[object] = []
    beside(lambda: seen.append(database.connection())).join()
    assert seen == [first]


def test_no_more_connections_are_kept_than_a_quiet_agent_needs() -> None:
    """Each of many threads that once served a crowd would keep half a megabyte for ever."""
    inside, leave, one_at_a_time = threading.Barrier(9), threading.Event(), threading.Lock()

    def serve() -> None:
        database.connection()
        inside.wait(10)
        leave.wait(10)
        with one_at_a_time:
            rest()

    threads = [beside(serve) for _ in range(8)]
    inside.wait(10)
    leave.set()
    for thread in threads:
        thread.join()
    assert len(database._idle) == sqlite.MOST_IDLE


def test_writers_take_turns() -> None:
    """SQLite would let the second try again after pauses of up to 100 ms, many of them under load, and then refuse."""
    order: list[str] = []

    def write() -> None:
        database.execute_sql("PRAGMA busy_timeout = 0")  # to wait for no lock of SQLite's
        with database.atomic("IMMEDIATE"):
            order.append("second")

    with database.atomic("IMMEDIATE"):
        thread = beside(write)
        time.sleep(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_turn_ends_with_its_transaction_whatever_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that is not given back stops every writer of the agent."""
    monkeypatch.setattr(sqlite, "TURN_SECONDS", 0.1)
    with pytest.raises(ZeroDivisionError), database.atomic("IMMEDIATE"):
        raise ZeroDivisionError
    with database.atomic("IMMEDIATE"), database.atomic("IMMEDIATE"):
        Meta.create(key="nested", value="yes")
    refused: list[BaseException] = []

    def write() -> None:
        try:
            with database.atomic("IMMEDIATE"):
                Meta.create(key="beside", value="yes")
        except peewee.OperationalError as error:
            refused.append(error)
        rest()

    beside(write).join()
    assert refused == [] and Meta.get_by_id("beside").value == "yes"
    with database.atomic("IMMEDIATE"):
        beside(write).join()
    assert len(refused) == 1


def test_a_turn_that_another_process_keeps_from_beginning_is_given_back(settings: Settings) -> None:
    other = other_process(settings)
    other.execute("BEGIN IMMEDIATE")
    database.execute_sql("PRAGMA busy_timeout = 50")
    with pytest.raises(peewee.OperationalError), database.atomic("IMMEDIATE"):
        raise AssertionError("the other process writes")
    other.execute("COMMIT")
    done: list[bool] = []

    def write() -> None:
        with database.atomic("IMMEDIATE"):
            done.append(True)
        rest()

    beside(write).join(5)
    assert done == [True]


@pytest.fixture
def reads() -> list[str]:
    return []


def test_what_was_read_is_remembered_until_anybody_writes(settings: Settings, reads: list[str]) -> None:
    """A token that root revoked on the command line must be refused with the very next request."""
    remembered: Remembered[str | None] = Remembered(8)
    Meta.create(key="k", value="1")

    def ask() -> str | None:
        def read() -> str | None:
            reads.append("read")
            row = Meta.get_or_none(Meta.key == "k")
            return row and row.value

        return remembered.get("k", read)

    assert [ask(), ask(), ask()] == ["1", "1", "1"] and len(reads) == 1
    Meta.update(value="2").where(Meta.key == "k").execute()
    assert [ask(), ask()] == ["2", "2"] and len(reads) == 2
    other_process(settings).execute("UPDATE meta SET value = '3' WHERE key = 'k'")
    assert ask() == "3"

    def write() -> None:
        Meta.delete().where(Meta.key == "k").execute()
        rest()

    beside(write).join()
    assert ask() is None


def test_what_was_never_committed_is_not_remembered(reads: list[str]) -> None:
    remembered: Remembered[bool] = Remembered(8)

    def there() -> bool:
        return remembered.get("there", lambda: Meta.get_or_none(Meta.key == "k") is not None)

    assert not there()
    with database.atomic("IMMEDIATE") as transaction:
        Meta.create(key="k", value="1")
        assert there()
        transaction.rollback(begin=False)
    assert not there()


def test_only_so_much_is_remembered_and_only_what_is_to_be(reads: list[str]) -> None:
    """Whoever sends a million wrong tokens must not fill the memory."""
    remembered: Remembered[int | None] = Remembered(2)
    for key in range(100):
        remembered.get(key, lambda: None, lambda value: value is not None)
        remembered.get(key, lambda: 1)
    _, kept = remembered._state
    assert kept == {0: 1, 1: 1}


def test_another_database_of_the_same_process_has_other_versions(tmp_path: Path) -> None:
    before = database.version()
    database.close()
    database.init(str(tmp_path / "other.db"), pragmas={"journal_mode": "wal"})
    assert database.version() != before
    database.close()


def test_a_database_that_cannot_be_read_is_told_at_the_latest_after_the_given_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A health check that only says what it said before keeps a broken agent running."""

    def broken() -> tuple[int, int]:
        raise peewee.OperationalError("disk I/O error")

    database.check()
    monkeypatch.setattr(database, "version", broken)
    database.check(60)
    with pytest.raises(peewee.OperationalError):
        database.check()


def test_connections_are_forgotten_while_others_take_them() -> None:
    """A deployment that ends gives memory back; a request in that moment must not end in an internal error."""
    over, failed = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            try:
                database.execute_sql("SELECT 1")
                rest()
            except Exception as error:
                failed.append(error)

    threads = [beside(ask) for _ in range(4)]
    for _ in range(300):
        database.forget_idle()
    over.set()
    for thread in threads:
        thread.join()
    assert failed == []
