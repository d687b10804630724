"""What waits for an app's next deployment does that one, and is gone when it should be."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
KINDS = ("fetch", "build")


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    name = api.create("standing", scripted("0"), build_mode="script")
    api.healthy(name)
    return name


def main_pids(api: Deployments, app: str) -> dict[str, str]:
    """The process of each unit that runs."""
    found = {}
    for kind in KINDS:
        unit = f"rustploy-{kind}@{app}.service"
        pid = api.machine.run(["systemctl", "show", "--value", "--property=MainPID", unit]).stdout.strip()
        found |= {kind: pid} if pid != "0" else {}
    return found


def standing(api: Deployments, app: str) -> dict[str, str]:
    return api.machine.wait_for(lambda: len(main_pids(api, app)) == 2 and main_pids(api, app), 20, "both to wait")


def gone(api: Deployments, app: str) -> None:
    api.machine.wait_for(lambda: not main_pids(api, app), 20, f"nothing to wait for {app} any more")


def test_the_processes_that_wait_do_the_next_deployment(api: Deployments, app: str) -> None:
    """Else it sets up two sandboxes and loads two programs first, while the pusher waits."""
    before = standing(api, app)
    api.commit(app, {"version.txt": "1"})
    deployment = api.healthy(app)["id"]
    lines = api.machine.journal(f"RUSTPLOY_DEPLOYMENT={deployment}")
    for kind, pid in before.items():
        assert pid in {line["_PID"] for line in lines if line["_SYSTEMD_UNIT"] == f"rustploy-{kind}@{app}.service"}
    assert api.get(app).body == "1"
    after = standing(api, app)
    assert not set(after.values()) & set(before.values()), "one process serves one deployment"


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_deployment_goes_well_when_what_waited_for_it_is_gone(api: Deployments, app: str, end: str) -> None:
    """The out-of-memory killer, or an operator who tidies up, must not cost a deployment."""
    for pid in standing(api, app).values() if end == "kill" else ():
        api.machine.run(["kill", "-KILL", pid])
    if end == "stop":
        api.machine.run(["systemctl", "stop", *(f"rustploy-{kind}@{app}.service" for kind in KINDS)])
    api.commit(app, {"version.txt": end})
    api.healthy(app)
    assert api.get(app).body == end
    assert api.machine.failed_units() == []


def test_a_restarted_agent_sets_it_up_anew(api: Deployments, app: str) -> None:
    """An upgrade's units and programs would else not be used by the first deployment after it."""
    before = standing(api, app)
    api.machine.run(["systemctl", "restart", "rustploy-agent.service"])
    api.machine.wait_for_agent()
    gone(api, app)
    api.commit(app, {"version.txt": "restarted"})
    api.healthy(app)
    assert not set(standing(api, app).values()) & set(before.values())


def test_another_apps_deployment_takes_the_place(api: Deployments, app: str) -> None:
    """Else every app of a small host would take memory while nothing happens."""
    standing(api, app)
    other = api.create("placed", scripted("0"), build_mode="script")
    api.healthy(other)
    standing(api, other)
    gone(api, app)


def test_a_removed_app_leaves_nobody_waiting(api: Deployments) -> None:
    name = api.create("leaving", scripted("0"), build_mode="script")
    api.healthy(name)
    standing(api, name)
    api.delete(name)
    gone(api, name)
