"""What waits for an app's next deployment does that one, and is gone when it should be."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
#: Fetch, build and the app's one process.
UNITS = 3


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    name = api.create("standing", scripted("0"), build_mode="script")
    api.healthy(name)
    return name


def gone(api: Deployments, app: str) -> None:
    """Pipes and units: one without the other would keep a deployment waiting, or memory taken."""
    api.machine.wait_for(lambda: not api.standing_by(app), 20, f"nothing to wait for {app} any more")
    units = [process["unit"] for process in api.app(app)["processes"]]
    assert api.running(app) == sorted(units)


def works(api: Deployments, app: str, version: str) -> set[str]:
    """Deploys; the processes that wrote a line for that deployment."""
    api.commit(app, {"version.txt": version})
    deployment = api.healthy(app)["id"]
    assert api.get(app).body == version
    return {line["_PID"] for line in api.machine.journal(f"RUSTPLOY_DEPLOYMENT={deployment}")}


def main_processes(api: Deployments, app: str) -> set[str]:
    """Of what runs of the app."""
    return {api.machine.property(process["unit"], "MainPID") for process in api.app(app)["processes"]}


def test_the_processes_that_wait_do_the_next_deployment(api: Deployments, app: str) -> None:
    """Else it sets up three sandboxes and loads two programs first, while the pusher waits."""
    before = api.waiting(app, UNITS)
    # A launcher writes no line itself; it stays the main process of what it started.
    assert set(before.values()) <= works(api, app, "1") | main_processes(api, app)
    assert f"rustploy-app@{app}-web-{api.app(app)['active_slot']}.service" in before
    assert not set(api.waiting(app, UNITS).values()) & set(before.values()), "one process serves one deployment"


def test_a_rollback_takes_the_process_that_waits(api: Deployments, app: str) -> None:
    """Else the way out of trouble waits for a sandbox."""
    before = api.waiting(app, UNITS)
    api.healthy(app, "rollback")
    (unit,) = (process["unit"] for process in api.app(app)["processes"])
    assert api.machine.property(unit, "MainPID") == before[unit]
    assert api.get(app).body == "0"


def test_what_waits_has_nothing_of_the_release_before(api: Deployments, app: str) -> None:
    """It stands beside it for minutes, as the same user."""
    api.set_env(app, "SECRET", "of-a-release")
    works(api, app, "secret")
    slot = {unit: pid for unit, pid in api.waiting(app, UNITS).items() if "-app@" in unit}
    (pid,) = slot.values()
    environment = api.machine.run(["cat", f"/proc/{pid}/environ"]).stdout
    assert "RUSTPLOY_SLOT_FILE=" in environment and "SECRET" not in environment


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_deployment_goes_well_when_what_waited_for_it_is_gone(api: Deployments, app: str, end: str) -> None:
    """The out-of-memory killer, or an operator who tidies up, must not cost a deployment."""
    before = api.waiting(app, UNITS)
    api.machine.run(["kill", "-KILL", *before.values()] if end == "kill" else ["systemctl", "stop", *before])
    works(api, app, end)
    assert api.machine.failed_units() == []


def test_what_an_operator_changed_of_a_unit_holds_for_the_next_deployment(api: Deployments, app: str) -> None:
    """Else it would seem to have no effect, and have it one deployment later."""
    before = api.waiting(app, UNITS)
    changes = [f"/etc/systemd/system/{unit}.d/60-test.conf" for unit in before]
    for change in changes:
        api.machine.write(change, "[Service]\nEnvironment=CHANGED=yes\n")
    try:
        api.machine.run(["systemctl", "daemon-reload"])
        assert not set(before.values()) & works(api, app, "changed")
        assert api.environment(app)["CHANGED"] == "yes"
    finally:
        api.machine.run(["rm", *changes])
        api.machine.run(["systemctl", "daemon-reload"])


def test_limits_that_were_changed_hold_for_the_next_deployment(api: Deployments, app: str) -> None:
    """It would else run with those of the time when its sandbox was set up."""
    before = api.waiting(app, UNITS)
    changed = api.machine.http("PATCH", f"/api/v1/apps/{app}", {"limits": {"tasks_max": 77}})
    assert changed.status == 200, changed.body
    works(api, app, "limited")
    (unit,) = (process["unit"] for process in api.app(app)["processes"])
    assert api.machine.property(unit, "MainPID") != before[unit]
    assert api.machine.property(unit, "TasksMax") == "77"


def test_a_stopped_app_has_nothing_running(api: Deployments, app: str) -> None:
    """Who stops an app wants its memory back, and reads from systemd whether it is."""
    api.waiting(app, UNITS)
    assert api.post(app, "stop").status == 200
    patterns = [f"rustploy-app@{app}-*", "--state=active,activating", "--plain", "--no-legend"]
    assert api.machine.run(["systemctl", "list-units", *patterns]).stdout == ""
    assert api.post(app, "start").status == 200
    works(api, app, "started")


def test_a_restarted_agent_sets_it_up_anew(api: Deployments, app: str) -> None:
    """An upgrade's units and programs would else not be used by the first deployment after it."""
    before = api.waiting(app, UNITS)
    api.machine.run(["systemctl", "restart", "rustploy-agent.service"])
    api.machine.wait_for_agent()
    gone(api, app)
    works(api, app, "restarted")
    assert not set(api.waiting(app, UNITS).values()) & set(before.values())


def test_another_apps_deployment_takes_the_place(api: Deployments, app: str) -> None:
    """Else every app of a small host would take memory while nothing happens."""
    api.waiting(app, UNITS)
    other = api.create("placed", scripted("0"), build_mode="script")
    api.healthy(other)
    api.waiting(other, UNITS)
    gone(api, app)


def test_a_removed_app_leaves_nobody_waiting(api: Deployments) -> None:
    name = api.create("leaving", scripted("0"), build_mode="script")
    api.healthy(name)
    units = api.waiting(name, UNITS)
    api.delete(name)
    shown = api.machine.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", *units])
    assert shown.stdout == ""
