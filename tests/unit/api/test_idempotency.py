"""Idempotency-Key: a client that lost an answer sends the request again, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from rustploy_agent import idempotency
from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Token, database
from rustploy_agent.records import Answer
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.manager import Manager
from tests.unit.waiting import ended

Post = Callable[..., TestResponse]


@pytest.fixture
def post(admin: Client) -> Post:
    def send(path: str, body: Any = None, key: str = "key-1", client: Client = admin) -> TestResponse:
        return client("POST", path, body, headers={"Authorization": f"Bearer {client.token}", "Idempotency-Key": key})

    return send


def requests(blog: str) -> dict[str, Any]:
    """One for each operation that minds the header, and what it makes."""
    return {
        "/apps": {"name": "made"},
        "/apps/import": {"repository": REPOSITORY, "name": "imported"},
        f"/apps/{blog}/deployments": {"source_ref": "v1"},
        "/tokens": {"name": "ci", "scopes": ["read"]},
    }


def things() -> tuple[int, ...]:
    return tuple(model.select().count() for model in (App, Deployment, Token))


def test_the_same_again_is_answered_the_same_and_makes_nothing(admin: Client, blog: str, post: Post) -> None:
    for path, body in requests(blog).items():
        first = post(path, body)
        assert first.status_code in (201, 202) and "Idempotency-Replayed" not in first.headers
        before = things()
        again = post(path, body)
        assert (again.status_code, again.data) == (first.status_code, first.data)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert things() == before
        assert post(path, body, key="key-2").data != first.data or path == "/apps/import"


@pytest.mark.processes
def test_a_rollback_is_not_done_twice(admin: Client, blog: str, post: Post, core: Core) -> None:
    core.worker.start()
    for commit in ("1" * 40, "2" * 40, "3" * 40):
        made = admin("POST", f"/apps/{blog}/deployments", {"commit_sha": commit}).get_json()["deployment_id"]
        assert ended(made).status == "healthy"
    first = post(f"/apps/{blog}/rollback")
    assert first.status_code == 202
    assert ended(first.get_json()["deployment_id"]).status == "healthy"
    assert post(f"/apps/{blog}/rollback").data == first.data
    assert Deployment.select().where(Deployment.kind == "rollback").count() == 1


def test_another_request_with_the_same_key_is_refused(admin: Client, blog: str, post: Post) -> None:
    """A client that draws its keys badly must hear of it, not get the answer of another request."""
    post("/tokens", {"name": "ci", "scopes": ["read"]})
    for path, body in (
        ("/tokens", {"name": "ci", "scopes": ["admin"]}),
        ("/tokens?x=1", {"name": "ci", "scopes": ["read"]}),
    ):
        assert post(path, body).status_code == 422
    assert Token.select().where(Token.name == "ci").count() == 1
    post(f"/apps/{blog}/deployments")
    App.create(name="other", repository=REPOSITORY)
    answer = post("/apps/other/deployments")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_a_key_counts_for_one_caller_and_one_operation(admin: Client, deployer: Client, blog: str, post: Post) -> None:
    """Else who guesses another's key reads the other's answers, a new token's secret among them."""
    found = {post(f"/apps/{blog}/deployments").data, post(f"/apps/{blog}/deployments", client=deployer).data}
    assert len(found) == 2
    assert post("/tokens", {"name": "ci", "scopes": ["read"]}).status_code == 201


def test_who_may_not_any_more_gets_nothing_again(admin: Client, post: Post) -> None:
    made = post("/tokens", {"name": "ci", "scopes": ["read"]})
    (own,) = [one["id"] for one in admin("GET", "/tokens").get_json()["items"] if one["name"] == "admin token"]
    admin("DELETE", f"/tokens/{own}")
    assert post("/tokens", {"name": "ci", "scopes": ["read"]}).status_code == 401
    assert made.status_code == 201


def test_what_failed_has_done_nothing_and_may_be_sent_again(admin: Client, blog: str, post: Post) -> None:
    assert post("/apps", {"name": "A"}).status_code == 400
    assert post("/tokens", {"name": "x"}).status_code == 400
    App.update(repository=None).where(App.id == blog).execute()
    assert post(f"/apps/{blog}/deployments").status_code == 400
    App.update(repository=REPOSITORY).where(App.id == blog).execute()
    assert post("/apps", {"name": "a"}).status_code == 201
    assert post("/tokens", {"name": "x", "scopes": ["read"]}).status_code == 201
    assert post(f"/apps/{blog}/deployments").status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a, b", "\x7f"])
def test_a_malformed_key_is_refused_by_name(admin: Client, post: Post, key: str) -> None:
    """Ignored, it would let the request through twice."""
    answer = post("/tokens", {"name": "ci", "scopes": ["read"]}, key=key)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == ["Idempotency-Key"]
    assert Token.select().where(Token.name == "ci").count() == 0


def test_a_second_one_while_the_first_is_worked_on_is_told_to_come_back(
    admin: Client, post: Post, manager: Manager
) -> None:
    real, entered, leave = manager.StartUnit, threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        entered.set()
        leave.wait(20)
        return real(*arguments, **options)

    manager.StartUnit = slow  # type: ignore[method-assign,assignment]
    found: list[TestResponse] = []
    first = threading.Thread(target=lambda: found.append(post("/apps", {"name": "slow"})))
    first.start()
    assert entered.wait(20)
    second = post("/apps", {"name": "slow"})
    leave.set()
    first.join()
    assert (second.status_code, second.get_json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert int(second.headers["Retry-After"]) > 0
    assert post("/apps", {"name": "slow"}).data == found[0].data


def test_two_at_once_make_one(admin: Client, blog: str, post: Post) -> None:
    found: list[TestResponse] = []
    path = f"/apps/{blog}/deployments"
    both = [threading.Thread(target=lambda: found.append(post(path))) for _ in range(4)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert {one.data for one in found} == {found[0].data}
    assert Deployment.select().count() == 1


def died(key: str = "key-1") -> None:
    """As an agent leaves it that was killed between doing and remembering."""
    assert Answer.update(status=None, body=None, run="another").where(Answer.key == key).execute() == 1


@pytest.mark.parametrize("path", ["/apps", "/apps/import"])
def test_what_an_agent_did_before_it_died_is_not_done_again(admin: Client, blog: str, post: Post, path: str) -> None:
    body = requests(blog)[path]
    first = post(path, body)
    died()
    before = things()
    again = post(path, body)
    assert again.status_code == 201 and things() == before
    made, second = (one.get_json().get("app", one.get_json()) for one in (first, again))
    assert made["id"] == second["id"]


def test_an_app_that_was_only_begun_is_finished(admin: Client, post: Post, core: Core) -> None:
    """The row is there, users and units are not."""
    body = {"name": "half"}
    post("/apps", body)
    (claimed,) = Answer.select()
    died()
    core.settings.paths.app("half").rename(core.settings.paths.app("half").with_name("moved"))
    core.settings.paths.desired.unlink()
    again = post("/apps", body)
    assert again.status_code == 201 and again.get_json()["id"] == claimed.intended_id
    assert core.settings.paths.app("half").exists()


def test_an_app_of_somebody_else_is_not_taken_over(admin: Client, post: Post) -> None:
    post("/apps", {"name": "first"})
    died()
    Answer.update(intended_id=new_id()).execute()
    assert post("/apps", {"name": "first"}).status_code == 409


def test_a_resumed_import_that_fails_does_not_remove_an_app_that_was_imported(
    admin: Client, post: Post, manager: Manager
) -> None:
    body = {"repository": REPOSITORY, "name": "kept"}
    post("/apps/import", body)
    died()

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError("nothing starts")

    real, manager.StartUnit = manager.StartUnit, refused  # type: ignore[method-assign,assignment]
    assert post("/apps/import", body).status_code >= 400
    manager.StartUnit = real  # type: ignore[method-assign]
    assert App.select().where(App.name == "kept").count() == 1


def test_a_token_s_secret_does_not_lie_in_the_database(admin: Client, post: Post, core: Core) -> None:
    secret = post("/tokens", {"name": "ci", "scopes": ["read"]}).get_json()["token"]
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert secret.encode() not in core.settings.paths.database.read_bytes()


def test_without_the_host_s_key_no_token_is_made_that_could_not_be_given_again(
    admin: Client, post: Post, core: Core
) -> None:
    core.settings.paths.vault_key.unlink()
    answer = post("/tokens", {"name": "ci", "scopes": ["read"]})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (500, "secret_unreadable")
    assert Token.select().where(Token.name == "ci").count() == 0


def test_keys_are_forgotten_after_a_day(admin: Client, post: Post) -> None:
    body = {"name": "ci", "scopes": ["read"]}
    first = post("/tokens", body)
    Answer.update(created_at_unix_ms=now_ms() - idempotency.LIFE_MS - 1).execute()
    assert post("/tokens", body).data != first.data


def test_a_caller_who_sends_many_keys_fills_nothing_and_evicts_only_its_own(
    admin: Client, deployer: Client, blog: str, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MOST_PER_CALLER", 3)
    kept = post(f"/apps/{blog}/deployments", client=deployer)
    for number in range(6):
        post("/tokens", {"name": "ci", "scopes": ["read"]}, key=f"key-{number}")
    assert Answer.select().count() == 4
    assert post(f"/apps/{blog}/deployments", client=deployer).data == kept.data
