"""Prefer: wait on what queues a deployment: one request tells CI how it ended, and nobody else has to wait for that."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from werkzeug.test import TestResponse

from rustploy_agent.core import Core
from rustploy_agent.models import Deployment
from rustploy_agent.shares import Holder
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager
from tests.unit.waiting import until

pytestmark = pytest.mark.processes


def post(client: Client, prefer: str, what: str = "deployments", **options: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {client.token}", "Prefer": prefer}
    return client("POST", f"/apps/blog/{what}", headers=headers, **options)


@pytest.fixture
def working(core: Core, blog: str) -> None:
    core.worker.start()


@pytest.mark.parametrize(
    "prefer", ["wait=20", "respond-async, wait=20", 'Wait="20"; x=y, handling=lenient', "wait=20,wait=0"]
)
def test_the_answer_comes_with_the_end(deployer: Client, working: None, prefer: str) -> None:
    answer = post(deployer, prefer)
    found = answer.get_json()
    assert (answer.status_code, found["status"], found["outcome"]) == (200, "healthy", "released")
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert Deployment.get_by_id(found["deployment_id"]).status == "healthy"


def test_a_rollback_can_be_waited_for_too(deployer: Client, working: None) -> None:
    for commit in ("1" * 40, "2" * 40):
        assert post(deployer, "wait=20", json={"commit_sha": commit}).status_code == 200
    answer = post(deployer, "wait=20, handling=strict", "rollback")
    assert (answer.status_code, answer.get_json()["commit_sha"]) == (200, "1" * 40)
    assert answer.headers["Preference-Applied"] == "wait=20, handling=strict"


def test_a_failed_end_is_told_as_what_it_is(deployer: Client, working: None, manager: Manager) -> None:
    manager.built = {"ok": False, "code": "build_failed", "message": "no such package"}
    answer = post(deployer, "wait=20", json={"force_rebuild": True})
    assert (answer.status_code, answer.get_json()["status"]) == (200, "failed")
    assert (answer.get_json()["error_code"], answer.get_json()["last_error"]) == ("build_failed", "no such package")
    strict = post(deployer, "wait=20, handling=strict", json={"force_rebuild": True})
    assert (strict.status_code, strict.get_json()["error"]["code"]) == (424, "deployment_failed")
    details = {detail["field"]: detail["message"] for detail in strict.get_json()["error"]["details"]}
    assert details["error_code"] == "build_failed"
    assert Deployment.get_by_id(details["deployment_id"]).status == "failed"


def test_when_the_time_is_over_it_goes_on(deployer: Client, working: None, manager: Manager) -> None:
    manager.gate.clear()
    answer = post(deployer, "wait=1")
    assert (answer.status_code, answer.get_json()["status"]) == (202, "deploying")
    assert answer.headers["Preference-Applied"] == "wait=1"
    manager.gate.set()
    until(lambda: Deployment.get_by_id(answer.get_json()["deployment_id"]).status == "healthy")


def test_strictly_a_time_that_is_over_is_no_success(deployer: Client, blog: str) -> None:
    answer = post(deployer, "wait=1, handling=strict")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (424, "deployment_unfinished")


@pytest.mark.parametrize(
    "prefer", ["", "wait", "wait=", "wait=0", "wait=-1", "wait=1.5", "wait=x", "wait=²", "handling=strict"]
)
def test_what_is_no_wish_to_wait_changes_nothing(deployer: Client, blog: str, prefer: str) -> None:
    answer = post(deployer, prefer)
    assert (answer.status_code, set(answer.get_json())) == (202, {"deployment_id", "status", "queued_at_unix_ms"})
    assert "Preference-Applied" not in answer.headers


def test_superseded_and_cancelled_deployments_let_go_at_once(deployer: Client, blog: str) -> None:
    ends: list[TestResponse] = []
    waiting = threading.Thread(target=lambda: ends.append(post(deployer, "wait=60")))
    waiting.start()
    until(lambda: Deployment.select().count() == 1)
    deployer("POST", f"/apps/{blog}/deployments")
    waiting.join(10)
    assert ends[0].get_json()["error_code"] == "superseded"


def test_more_than_there_are_places_for_are_answered_at_once(deployer: Client, core: Core, blog: str) -> None:
    """Else a pipeline that waits for everything takes all threads, and nobody can even cancel."""
    others = [Holder(f"token:{number // 2}", str(number // 4)) for number in range(8)]
    assert [core.ends._places.take(holder) for holder in others] == [None] * 8
    before = time.monotonic()
    answer = post(deployer, "wait=60")
    assert time.monotonic() - before < 30
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
    for holder in others:
        core.ends._places.free(holder)


def test_who_is_gone_is_not_waited_for(deployer: Client, core: Core, blog: str) -> None:
    """Else connections that CI broke off hold all places for ten minutes."""
    before = time.monotonic()
    post(deployer, "wait=600", environ_overrides={"waitress.client_disconnected": lambda: True})
    assert time.monotonic() - before < 30
    assert core.ends._places._all == 0


@pytest.mark.parametrize("asked", ["601", "9" * 5000])
def test_there_is_a_longest_time(deployer: Client, blog: str, asked: str) -> None:
    answer = post(deployer, f"wait={asked}", environ_overrides={"waitress.client_disconnected": lambda: True})
    assert answer.headers["Preference-Applied"] == "wait=600"


def test_who_repeats_a_broken_off_request_gets_its_end(deployer: Client, working: None) -> None:
    """A restart of the agent ends the connection: the same key waits for the same deployment, and makes no other."""
    headers = {"Authorization": f"Bearer {deployer.token}", "Idempotency-Key": "a"}
    first = deployer("POST", "/apps/blog/deployments", headers=headers).get_json()["deployment_id"]
    again = deployer("POST", "/apps/blog/deployments", headers=headers | {"Prefer": "wait=20"})
    assert (again.status_code, again.get_json()["status"], again.get_json()["deployment_id"]) == (200, "healthy", first)
    assert Deployment.select().count() == 1
