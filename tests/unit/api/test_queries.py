"""Every query that the agent's work makes, as SQLite would carry it out: none reads a table that only grows.

peewee logs each statement with its parameters apart. They are explained as they are, because SQLite takes a partial
index only for values that stand in the text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from rustploy_agent.clock import new_id
from rustploy_agent.core import Core
from rustploy_agent.models import Deployment, database
from rustploy_agent.settle import settle
from tests.githost import SECRET, GitHost
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.waiting import ended

pytestmark = pytest.mark.processes
#: Tables with a row for each thing that ever happened.
GROWING = ("deployment", "release", "slug", "audit", "answer", "delivery", "deliverytarget", "envvar")

#: The newest rows of the whole trail: the scan follows the table's own order and ends after a page.
PAGE = 'ORDER BY "t1"."id" DESC LIMIT ?'


class Statements(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[object, ...]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        sql, parameters = record.msg
        self.seen.setdefault(sql, tuple(parameters or ()))


@pytest.fixture
def statements() -> Iterator[Statements]:
    handler, logger = Statements(), logging.getLogger("peewee")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


def explained(sql: str, parameters: tuple[object, ...]) -> list[str]:
    nothing_matches = "(0 = 1)" in sql  # peewee's "in an empty list", at which SQLite reads no row
    if nothing_matches or not sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
        return []
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]


def reads_all_of(sql: str, detail: str) -> str | None:
    """The growing table that this step of a plan reads from end to end; SQLite calls it by its alias, if it has one."""
    found = re.match(r"SCAN (?:TABLE )?(\w+)", detail)
    if found is None:
        return None
    named = re.search(rf'"(\w+)" AS "{found[1]}"', sql)
    table = named[1] if named else found[1]
    is_page = table == "audit" and sql.endswith(PAGE)
    return table if table in GROWING and not is_page else None


def walks_through_an_app(sql: str, details: list[str]) -> bool:
    """Whether deployments of a status are looked for among all those that an app ever had."""
    asks = re.search(r'FROM "deployment".*"status" (?:=|IN)', sql) and '"release_id"' not in sql
    return bool(asks) and any("USING INDEX deployment_of_app (app_id=?)" in one for one in details)


def life(core: Core, client: Client) -> None:
    """What happens on a host in a year, once."""
    core.worker.start()
    answer = client("POST", "/apps/import", {"repository": REPOSITORY})
    assert answer.status_code == 201, answer.get_json()
    app = answer.get_json()["app"]["id"]
    assert client("PUT", f"/apps/{app}/env", {"key": "KEY", "value": "1"}).status_code == 200
    long_ago = {"app": app, "status": "failed", "created_at_unix_ms": 1, "updated_at_unix_ms": 1}
    Deployment.insert_many([{**long_ago, "id": new_id()} for _ in range(300)]).execute()
    headers = {"Authorization": f"Bearer {client.token}", "Idempotency-Key": "once"}
    first = client("POST", f"/apps/{app}/deployments", {}, headers=headers)
    ended(first.get_json()["deployment_id"])
    second = client("POST", f"/apps/{app}/deployments", {"force_rebuild": True}).get_json()["deployment_id"]
    assert ended(second).status == "healthy"
    back = client("POST", f"/apps/{app}/rollback").get_json()["deployment_id"]
    assert ended(back).status == "healthy"
    client("POST", f"/apps/{app}/deployments/{back}/cancel")
    assert client("PUT", "/integrations/github/secret", {"secret": SECRET}).status_code == 200
    assert client("POST", f"/apps/{app}/github", {"owner": "anna", "repo": "blog"}).status_code == 200
    host = GitHost(client)
    assert host.counts(host.push(branch="other")) == (0, 0)
    with core.worker.hold(app, 20):  # what follows the switch has ended
        pass
    for path in ("", f"/{app}", f"/{app}/deployments", f"/{app}/deployments/{second}", f"/{app}/domains"):
        assert client("GET", f"/apps{path}").status_code == 200
    for path in (f"/apps/{app}/deliveries", f"/apps/{app}/env", "/tokens", "/audit", "/health"):
        assert client("GET", path).status_code == 200, path
    client("GET", "/metrics", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    settle(core.settings, core.systemd, core.applier)
    assert client("DELETE", f"/apps/{app}").status_code == 204


def test_no_query_reads_a_table_that_grows(core: Core, admin: Client, statements: Statements) -> None:
    """Else each deployment of a host that has had 20 000 of them takes longer, and others wait for its transaction."""
    life(core, admin)
    plans = {sql: explained(sql, parameters) for sql, parameters in list(statements.seen.items())}
    plans = {sql: details for sql, details in plans.items() if details}
    assert len(plans) > 60, "the queries were not seen"
    scanned = {sql: details for sql, details in plans.items() if any(reads_all_of(sql, detail) for detail in details)}
    walked = {sql: details for sql, details in plans.items() if walks_through_an_app(sql, details)}
    assert (scanned, walked) == ({}, {})
    assert Deployment.select().count() == 0
