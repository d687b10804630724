"""Numbered changes of the database, applied in order, each in one transaction. Never edit one that was released.

To add one: a module m<next number>_<what>.py with SQL, listed in STEPS. `PRAGMA user_version` is the number applied.
"""

from __future__ import annotations

from peewee import SqliteDatabase

from rustploy_agent.errors import AgentError
from rustploy_agent.migrations import (
    m0001_initial,
    m0002_sessions,
    m0003_requests,
    m0004_identity,
    m0005_webhooks,
    m0006_environment,
    m0007_ingress,
    m0008_subject,
    m0009_health,
    m0010_scale,
    m0011_history,
    m0012_build_variables,
    m0013_build_root,
    m0014_pushed_commit,
    m0015_stack,
)

STEPS = (
    m0001_initial.SQL,
    m0002_sessions.SQL,
    m0003_requests.SQL,
    m0004_identity.SQL,
    m0005_webhooks.SQL,
    m0006_environment.SQL,
    m0007_ingress.SQL,
    m0008_subject.SQL,
    m0009_health.SQL,
    m0010_scale.SQL,
    m0011_history.SQL,
    m0012_build_variables.SQL,
    m0013_build_root.SQL,
    m0014_pushed_commit.SQL,
    m0015_stack.SQL,
)


def migrate(database: SqliteDatabase) -> None:
    applied = int(database.execute_sql("PRAGMA user_version").fetchone()[0])
    if applied > len(STEPS):
        raise AgentError(
            f"the database is of a newer version ({applied}) than this agent ({len(STEPS)}); install the newer package"
        )
    for number, sql in enumerate(STEPS[applied:], applied + 1):
        with database.atomic("IMMEDIATE"):
            for statement in filter(str.strip, sql.split(";")):
                database.execute_sql(statement)
            database.execute_sql(f"PRAGMA user_version = {number:d}")
