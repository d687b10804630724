"""A client whose answer was lost, for the agent was killed, asks again: nothing is done twice, nothing is lost."""

from collections.abc import Iterator

import pytest

from tests.integration.helpers import Deployments, deployments, server
from tests.machine import Machine


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from deployments(session_machine)


def kill(machine: Machine) -> None:
    machine.run(["systemctl", "kill", "--signal=KILL", "rustploy-agent.service"])
    machine.wait_for_agent()


def test_a_deployment_is_queued_once(machine: Machine, api: Deployments) -> None:
    app = api.create("once", server("1"))
    key = {"Idempotency-Key": "build-17"}
    path = f"/api/v1/apps/{app}/deployments"
    first = machine.http("POST", path, headers=key)
    assert first.status == 202
    kill(machine)
    again = machine.http("POST", path, headers=key)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [one["id"] for one in api.history(app)] == [first.body["deployment_id"]]
    assert api.wait(app, first.body["deployment_id"])["status"] == "healthy"
    other = machine.http("POST", path, {"force_rebuild": True}, headers=key)
    assert (other.status, other.body["error"]["code"]) == (422, "idempotency_key_reused")


def test_an_app_that_a_killed_agent_was_making_is_finished(machine: Machine, api: Deployments) -> None:
    """The kill comes while rustploy-apply works for it, so no answer can have been remembered."""
    key, request = {"Idempotency-Key": "make-half"}, {"name": "half"}
    machine.run(["systemctl", "stop", "rustploy-apply.service"], check=False)
    machine.write("/run/systemd/system/rustploy-apply.service.d/slow.conf", "[Service]\nExecStartPre=/bin/sleep 2\n")
    machine.run(["systemctl", "daemon-reload"])
    try:
        with pytest.raises(OSError):
            machine.http("POST", "/api/v1/apps", request, headers=key, timeout=1)
        kill(machine)
    finally:
        machine.run(["rm", "-r", "/run/systemd/system/rustploy-apply.service.d"])
        machine.run(["systemctl", "daemon-reload"])
    made = machine.http("POST", "/api/v1/apps", request, headers=key, timeout=60)
    assert made.status == 201, made.body
    api.adopt("half")
    again = machine.http("POST", "/api/v1/apps", request, headers=key)
    assert (again.body, again.headers["Idempotency-Replayed"]) == (made.body, "true")
    assert [one["name"] for one in machine.http("GET", "/api/v1/apps").body["items"]].count("half") == 1


def test_a_token_is_made_once_and_its_secret_told_again(machine: Machine) -> None:
    key, request = {"Idempotency-Key": "token-1"}, {"name": "once", "scopes": ["read"]}
    first = machine.http("POST", "/api/v1/tokens", request, headers=key)
    kill(machine)
    assert machine.http("POST", "/api/v1/tokens", request, headers=key).body == first.body
    named = [one for one in machine.http("GET", "/api/v1/tokens").body["items"] if one["name"] == "once"]
    assert len(named) == 1
