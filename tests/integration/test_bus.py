"""D-Bus and systemd are restarted under the agent: deployments go on, and nobody has to restart the agent."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.integration.helpers_prober import Prober
from tests.machine import Machine

AGENT = "rustploy-agent.service"
REEXEC = ["systemctl", "daemon-reexec"]
RESTART = ["systemctl", "restart", "dbus.service"]


@pytest.fixture(scope="module")
def api(release: str, deb: Path) -> Iterator[Deployments]:
    """A machine of their own: the other tests' machine is not to have its D-Bus taken away."""
    for machine in helpers.own_machine(release, deb):
        found = helpers.deployments(machine)
        api = next(found)
        api.create(
            "bus", scripted("0") | {"Procfile": "web: exec python3 app.py\nrelease: true\n"}, build_mode="script"
        )
        api.healthy("bus")
        yield api
        next(found, None)


@pytest.fixture(autouse=True)
def the_same_agent(api: Deployments) -> Iterator[None]:
    """An agent that somebody restarts has a new connection anyway."""
    before = api.machine.property(AGENT, "MainPID")
    yield
    assert api.machine.property(AGENT, "MainPID") == before


def _deploy_next(api: Deployments, version: str) -> None:
    api.commit("bus", {"version.txt": version})
    api.healthy("bus")
    assert api.get("bus").body == version


@pytest.mark.parametrize("what", [RESTART, REEXEC], ids=["dbus", "reexec"])
def test_a_restart_between_deployments_is_not_noticed(api: Deployments, what: list[str]) -> None:
    """Else the host never deploys again until somebody restarts the agent, and everything says that all is well."""
    api.machine.run(what)
    assert api.machine.http("GET", "/api/v1/apps/bus").status == 200
    api.machine.run(what)
    assert api.machine.http("GET", "/health").body["systemd"] == "ok"
    _deploy_next(api, f"after {what[1]}")
    assert helpers.troubles(api.machine) == []


#: Oftener than any upgrade does it; oftener still, and three tries of a deployment may not be enough.
PAUSE_SECONDS = 1.0


@contextlib.contextmanager
def _again_and_again(machine: Machine, what: list[str]) -> Iterator[None]:
    over = threading.Event()

    def restart() -> None:
        while not over.wait(PAUSE_SECONDS):
            machine.run(what, check=False)

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("what", [RESTART, REEXEC], ids=["dbus", "reexec"])
def test_restarts_during_deployments_fail_none(api: Deployments, what: list[str]) -> None:
    """Else an upgrade of D-Bus or systemd, which restarts them, fails what is being deployed."""
    api.machine.run(["systemctl", "reset-failed"])
    # systemd gives up on a service that is restarted too often, which is not what this is about.
    drop_in = "/run/systemd/system/dbus.service.d/50-tests.conf"
    api.machine.write(drop_in, "[Unit]\nStartLimitIntervalSec=0\n")
    api.machine.write("/run/systemd/system/polkit.service.d/50-tests.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    api.machine.run(["systemctl", "daemon-reload"])
    with Prober(api.machine.place.http_port, host=api.host("bus")) as seen, _again_and_again(api.machine, what):
        for number in range(20 if os.environ.get("CI_FULL") else 3):
            api.commit("bus", {"version.txt": f"{what[1]} {number}"})
            about = api.wait("bus", api.start("bus"), 90)
            assert about["status"] == "healthy", (about["error_code"], about["last_error"])
            assert api.get("bus").body == f"{what[1]} {number}"
    assert seen.failures == []
    api.wait_until_settled("bus")
    assert api.machine.http("GET", "/health").body["systemd"] == "ok"


def test_a_bus_that_is_gone_is_told_and_found_again(api: Deployments) -> None:
    """Else monitoring and doctor say that all is well on a host that cannot deploy."""
    machine = api.machine
    machine.run(["systemctl", "stop", "dbus.socket", "dbus.service"])
    try:
        machine.wait_for(lambda: machine.http("GET", "/health").body["systemd"] == "down", 15, "health to say so")
        answer = machine.http("GET", "/api/v1/health")
        assert (answer.status, answer.body["status"]) == (200, "ok"), "a restart of the agent would mend nothing"
        assert api.visit("bus").status == 200
        assert any(line.startswith("D-Bus") for line in helpers.troubles(machine))
    finally:
        machine.run(["systemctl", "start", "dbus.socket"])
    _deploy_next(api, "the bus is back")
    assert helpers.troubles(machine) == []


@pytest.mark.skipif(os.environ.get("CI_FULL") != "1", reason="it waits for the deadline of a question")
def test_a_bus_that_hangs_longer_than_a_question_may_take_fails_no_deployment(api: Deployments) -> None:
    """Else a host that is busy for half a minute fails a deployment for good."""
    bus = api.machine.property("dbus.service", "MainPID")
    api.commit("bus", {"version.txt": "patient", "build.sh": "sleep 3\n"})
    deployment = api.start("bus")
    api.machine.wait_for(lambda: api.show("bus", deployment)["step"] == "build", 30, "the build")
    api.machine.run(["kill", "-STOP", bus])
    try:
        assert not threading.Event().wait(30)
    finally:
        api.machine.run(["kill", "-CONT", bus])
    assert api.wait("bus", deployment, 120)["status"] == "healthy"
