"""Upgrades of the database: what an earlier agent has written must be there afterwards."""

from __future__ import annotations

import pytest

from rustploy_agent import desired
from rustploy_agent.config import Settings
from rustploy_agent.migrations import STEPS, migrate
from rustploy_agent.models import App, Process, connect, database

BEFORE_SCALE = 7


@pytest.fixture
def earlier(settings: Settings) -> None:
    """As an agent before migration 8 left it."""
    connect(settings.paths.database)
    for sql in STEPS[:BEFORE_SCALE]:
        for statement in filter(str.strip, sql.split(";")):
            database.execute_sql(statement)
    database.execute_sql(f"PRAGMA user_version = {BEFORE_SCALE}")
    database.execute_sql("INSERT INTO app (id, name, created_at_unix_ms, updated_at_unix_ms) VALUES ('i', 'b', 1, 1)")
    for row in (("web", 20000, 20001), ("worker", None, None)):
        database.execute_sql("INSERT INTO process (app_id, type, port_a, port_b) VALUES ('i', ?, ?, ?)", row)


@pytest.mark.usefixtures("earlier")
def test_processes_keep_their_ports_and_are_one_of_each(settings: Settings) -> None:
    """Else the first deployment after an upgrade sends visitors to ports where nobody listens."""
    try:
        migrate(database)
        rows = [(row.app_id, row.type, row.number, row.port_a, row.port_b) for row in Process.select()]
        assert rows == [("i", "web", 1, 20000, 20001), ("i", "worker", 1, None, None)]
        assert App.get().scale == {}
        assert b'"more"' not in desired.render(settings), "an upgrade renders nothing anew"
        App.get().delete_instance()
        assert Process.select().count() == 0
    finally:
        database.close()
