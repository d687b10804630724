"""A damaged database: found at the start, put aside, and told of until somebody has looked after it.

What runs goes on; docs/operations.md, A damaged database, says what to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

from rustploy_agent import files
from rustploy_agent.config import Paths
from rustploy_agent.errors import AgentError

log = logging.getLogger(__name__)
MANUAL = "operations.md, A damaged database"
#: Beside a database that is open, or that nobody has closed.
PARTS = ("", "-wal", "-shm")
#: What SQLite says of a file that no try will read (SQLITE_CORRUPT, SQLITE_NOTADB).
WORDS = ("disk image is malformed", "file is not a database")


def is_damage(error: Exception) -> bool:
    return any(word in str(error) for word in WORDS)


def end_if_damaged(error: Exception) -> None:
    """Ends the agent: the next one finds the damage before it does anything, and puts the file aside."""
    if is_damage(error):
        log.critical("the database is damaged; the agent ends, and its next start puts the file aside", exc_info=error)
        os._exit(os.EX_IOERR)


def found(path: Path) -> str | None:
    """What SQLite finds wrong in the file; None when nothing is, or when there is no file."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):  # locked, or a disk that does not read: moving the file would mend nothing
            raise
        return str(error)
    return None if said == ["ok"] else "; ".join(said)


def check(paths: Paths) -> None:
    """Raise AgentError when the database is damaged."""
    problem = found(paths.database)
    if problem is not None:
        raise AgentError(
            f"the database is damaged ({problem}); the agent puts it aside at its next start; see {MANUAL}"
        )


def put_aside(paths: Paths) -> None:
    """Move a damaged database out of the way, with its log, so that the agent starts with an empty one.

    A log without its database, as a crash right here leaves it, goes too: SQLite would write it into the new one.
    """
    database = paths.database
    problem = found(database)
    log_alone = not database.exists() and database.with_name(f"{database.name}-wal").exists()
    if problem is None and not log_alone:
        return
    aside = database.with_name(time.strftime(f"{database.name}.damaged-%Y%m%dT%H%M%SZ", time.gmtime()))
    for part in PARTS:
        one = database.with_name(database.name + part)
        if one.exists():
            one.rename(aside.with_name(aside.name + part))
            files.sync_directory(database.parent)
    log.critical(
        "the database was damaged (%s) and is now %s; the agent goes on with an empty one. What runs goes on. See %s",
        problem or "its log was left alone",
        aside,
        MANUAL,
    )


def aside(paths: Paths) -> list[Path]:
    """The databases that were put aside and that nobody has removed yet."""
    there = sorted(paths.database.parent.glob(f"{paths.database.name}.damaged-*"))
    return [path for path in there if not path.name.endswith(PARTS[1:])]
