"""Who follows next_cursor sees each row once, however long the list is and whatever happens meanwhile."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from rustploy_agent.clock import new_id
from rustploy_agent.models import App, Deployment, database
from tests.unit.api.conftest import Client


def deployments(app_id: str, count: int) -> list[str]:
    """Newest first; pairs share their time, as they never do for real, to see that the id decides."""
    rows: list[dict[str, Any]] = [
        {"id": new_id(), "app": app_id, "status": "failed", "created_at_unix_ms": n // 2, "updated_at_unix_ms": n}
        for n in range(count)
    ]
    with database.atomic():
        for row in rows:
            Deployment.insert(**row).execute()
    return [row["id"] for row in sorted(rows, key=lambda row: (row["created_at_unix_ms"], row["id"]), reverse=True)]


def walk(client: Client, path: str, limit: int) -> list[list[dict[str, Any]]]:
    found, cursor = [], ""
    while True:
        answer = client("GET", f"{path}?limit={limit}{cursor}").get_json()
        found.append(answer["items"])
        if answer["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer['next_cursor']}"


@pytest.fixture
def lists(admin: Client, blog: str) -> dict[str, int]:
    """Every list there is, with how many rows it has."""
    deployments(blog, 7)
    for number in range(6):
        App.create(name=f"app{number}")
        admin("PUT", f"/apps/{blog}/env", {"key": f"KEY{number}", "value": str(number)})
        admin("POST", "/tokens", {"name": f"t{number}", "scopes": ["read"]})
    return {"/apps": 7, f"/apps/{blog}/env": 6, f"/apps/{blog}/deployments": 7, "/tokens": 7}


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
def test_every_list_can_be_walked_in_pages_of_any_size(admin: Client, lists: dict[str, int], limit: int) -> None:
    for path, count in lists.items():
        whole = admin("GET", f"{path}?limit=1000").get_json()
        assert len(whole["items"]) == count and whole["next_cursor"] is None
        pages = walk(admin, path, limit)
        assert [row for page in pages for row in page] == whole["items"]
        assert len(pages) == max(1, -(-count // limit))


def test_pages_are_masked_like_the_whole(reader: Client, lists: dict[str, int], blog: str) -> None:
    rows = [row for page in walk(reader, f"/apps/{blog}/env", 2) for row in page]
    assert len(rows) == 6 and all(row["masked"] and row["value"] == "********" for row in rows)


def test_rows_that_come_and_go_move_no_others(admin: Client, blog: str) -> None:
    """With an offset, a deployment that is queued while somebody reads makes the last row appear twice."""
    old = deployments(blog, 6)
    first = admin("GET", f"/apps/{blog}/deployments?limit=2").get_json()
    assert [row["id"] for row in first["items"]] == old[:2]
    assert admin("POST", f"/apps/{blog}/deployments").status_code == 202
    Deployment.delete().where(Deployment.id == old[1]).execute()
    rest = admin("GET", f"/apps/{blog}/deployments?cursor={first['next_cursor']}").get_json()
    assert [row["id"] for row in rest["items"]] == old[2:]


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%00", "ä", "=", "e30", "WzFd", "A" * 5000]
    + [encoded(one) for one in (None, 1, "x", {}, [], ["deployments.list_deployments"])]
    + [encoded(["deployments.list_deployments", *key]) for key in ((1,), ("1", "x"), (True, "x"), (2**63, "x"))]
    + [encoded(["deployments.list_deployments", 1, one]) for one in (None, "\ud800", ["x"], 1.5)]
    + [encoded(["tokens.list_tokens", 1, "x"]), base64.b64encode(b"[" * 2000).decode()],
)
def test_a_cursor_that_is_none_of_this_list_is_refused_by_name(admin: Client, blog: str, cursor: str) -> None:
    """Taken for a first page, a mistyped one would make a client read the same rows for ever."""
    answer = admin("GET", f"/apps/{blog}/deployments", query_string={"cursor": cursor})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["cursor"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "1_0", "٣", " 1", "9" * 5000])
def test_a_wrong_limit_is_refused_by_name(admin: Client, limit: str) -> None:
    answer = admin("GET", "/apps", query_string={"limit": limit})
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["limit"]


def test_a_page_costs_the_same_in_a_long_list(admin: Client, lists: dict[str, int]) -> None:
    """Else the page of an app with a hundred thousand deployments takes the agent's time from everybody."""
    cursors = {path: admin("GET", f"{path}?limit=2").get_json()["next_cursor"] for path in lists}
    statements: list[str] = []
    for path, cursor in cursors.items():
        database.connection().set_trace_callback(statements.append)  # each request closes its connection
        admin("GET", f"{path}?limit=2&cursor={cursor}")
    pages = [sql for sql in statements if sql.startswith("SELECT") and "LIMIT 3" in sql]
    assert len(pages) == len(lists)
    for sql in pages:
        plan = " ".join(row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}").fetchall())
        assert "USING INDEX" in plan and "TEMP B-TREE" not in plan, (sql, plan)
