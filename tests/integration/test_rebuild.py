"""After an upgrade of Debian: what the old system built is told of, refused where it would break, and built anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
OS_RELEASE = "/usr/lib/os-release"


@pytest.fixture
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture
def upgraded(api: Deployments) -> Iterator[Deployments]:
    """The app has two releases, and then the host is another Debian."""
    api.create("moved", scripted("one"), build_mode="script")
    api.healthy("moved")
    api.commit("moved", scripted("two"))
    api.healthy("moved")
    before = api.machine.read(OS_RELEASE)
    api.machine.write(OS_RELEASE, before.replace('VERSION_ID="1', 'VERSION_ID="101'))
    try:
        yield api
    finally:
        api.machine.write(OS_RELEASE, before)


def test_one_command_builds_everything_anew(upgraded: Deployments) -> None:
    """Else each app has to be found and deployed by hand, and one that is forgotten is down after the reboot."""
    machine = upgraded.machine
    show = machine.http("GET", "/api/v1/apps/moved").body
    assert "debian-101" in show["rebuild_needed"] and show["processes"][0]["state"] == "active"
    assert "PROBLEM  builds of apps" in machine.run(["rustploy-agent", "doctor"], check=False).stdout
    refused = machine.http("POST", "/api/v1/apps/moved/rollback")
    assert (refused.status, refused.body["error"]["code"]) == (409, "release_outdated")
    assert show["active_release"]["commit_sha"] not in refused.body["error"]["message"]

    told = machine.run(["rustploy-agent", "rebuild", "moved"]).stdout
    deployment = told.split()[-1]
    ended = machine.wait_for(lambda: _ended(machine, deployment), 60, "the deployment to end")
    assert (ended["status"], ended["outcome"]) == ("healthy", "released"), ended
    again = machine.http("GET", "/api/v1/apps/moved").body
    assert again["rebuild_needed"] is None
    assert again["active_release"]["commit_sha"] == show["active_release"]["commit_sha"]
    assert "moved" not in machine.run(["rustploy-agent", "rebuild", "--list"]).stdout
    names = [
        token["name"]
        for token in machine.http("GET", "/api/v1/tokens").body["items"]
        if not token["revoked_at_unix_ms"]
    ]
    assert "rustploy-agent rebuild" not in names


def _ended(machine: Machine, deployment: str) -> dict[str, object] | None:
    found: dict[str, object] = machine.http("GET", f"/api/v1/apps/moved/deployments/{deployment}").body
    return found if found["status"] in ("healthy", "failed") else None
