"""GET, cancel and logs of one deployment: what CI polls."""

from __future__ import annotations

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import Deployment
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until


@pytest.fixture
def queued(deployer: Client, blog: str) -> str:
    return str(deployer("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"])


def test_a_queued_deployment_shows_itself(reader: Client, blog: str, queued: str) -> None:
    shown = reader("GET", f"/apps/{blog}/deployments/{queued}").get_json()
    assert (shown["status"], shown["step"], shown["attempt"]) == ("queued", None, 0)


@pytest.mark.parametrize("suffix", ["", "/logs"])
def test_an_unknown_deployment_is_not_found(reader: Client, blog: str, suffix: str) -> None:
    assert reader.code("GET", f"/apps/{blog}/deployments/nope{suffix}") == (404, "deployment_not_found")


def test_a_deployment_belongs_to_its_app(admin: Client, queued: str) -> None:
    """Else a name of one app would open the logs of another."""
    admin("POST", "/apps", {"name": "other"})
    for method, suffix in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel")):
        request = (method, f"/apps/other/deployments/{queued}{suffix}")
        assert admin.code(*request) == (404, "deployment_not_found")


def test_a_waiting_deployment_is_cancelled_at_once(deployer: Client, blog: str, queued: str) -> None:
    answer = deployer("POST", f"/apps/{blog}/deployments/{queued}/cancel")
    assert answer.status_code == 202
    assert (answer.get_json()["status"], answer.get_json()["error_code"]) == ("failed", "cancelled")


def test_an_ended_deployment_cannot_be_cancelled(deployer: Client, blog: str, queued: str) -> None:
    Deployment.update(status="healthy").where(Deployment.id == queued).execute()
    path = f"/apps/{blog}/deployments/{queued}/cancel"
    assert deployer.code("POST", path) == (409, "not_cancellable")


@pytest.mark.processes
def test_a_running_deployment_is_cancelled_and_the_app_stays(
    deployer: Client, blog: str, core: Core, manager: Manager
) -> None:
    core.worker.start()
    first = deployer("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]
    assert ended(first).status == "healthy"
    manager.gate.clear()
    second = deployer("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]
    until(lambda: Deployment.get_by_id(second).step == "fetch")
    assert deployer("POST", f"/apps/{blog}/deployments/{second}/cancel").status_code == 202
    manager.gate.set()
    assert ended(second).error_code == "cancelled"
    assert manager.running() == {"rustploy-app@blog-web-a.service"}


def test_the_logs_of_a_deployment_without_lines_are_empty(reader: Client, blog: str, queued: str) -> None:
    answer = reader("GET", f"/apps/{blog}/deployments/{queued}/logs").get_json()
    assert answer == {"deployment_id": queued, "logs": ""}


@pytest.mark.parametrize("tail", ["0", "50001", "all"])
def test_a_wrong_tail_is_refused(reader: Client, blog: str, queued: str, tail: str) -> None:
    path = f"/apps/{blog}/deployments/{queued}/logs?tail={tail}"
    assert reader.code("GET", path) == (400, "invalid_request")
