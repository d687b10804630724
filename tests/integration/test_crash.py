"""kill -9 on the agent at any moment: nothing accepted is lost, nothing is left over, what serves goes on serving."""

import contextlib
import json
import random
import re
import time
from collections.abc import Iterator
from http.client import RemoteDisconnected
from pathlib import Path

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.integration.helpers_prober import Prober
from tests.machine import Machine

MODULES = Path(__file__).parents[2] / "rustploy_agent"


def _steps(module: str) -> list[str]:
    """Read from the code, so that a step that is added is tested too."""
    return re.findall(r'run\.(?:step|mark)\("(\w+)"\)', (MODULES / module).read_text())


#: A rollback has no release phase.
ROLLBACK = [*(step for step in _steps("activation.py") if step != "release"), "prune"]
DEPLOY = [*_steps("deploy.py"), *_steps("activation.py")]

pytestmark = pytest.mark.usefixtures("machine")
AGENT = "rustploy-agent.service"
PROGRAM = "/usr/local/lib/rustploy-tests/fault_agent.py"
DROP_IN = "/etc/systemd/system/rustploy-agent.service.d/90-fault.conf"
OVERRIDE = f"[Service]\nExecStart=\nExecStart=/usr/bin/python3 -I {PROGRAM}\nRestartSec=100ms\n"
#: A deployment that was interrupted is done again, so it may take twice its time and a start of the agent.
DEADLINE = 60
READY_SLUGS = """
import json, sqlite3
rows = sqlite3.connect("/var/lib/rustploy/agent/rustploy.db").execute(
    "SELECT slug.id FROM slug JOIN app ON app.id = app_id WHERE app.name = 'crashed' AND state = 'ready'")
print(json.dumps(sorted(row[0] for row in rows)))
"""


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    machine = session_machine
    machine.send(Path(__file__).with_name("fault_agent.py"), PROGRAM)
    machine.write(DROP_IN, OVERRIDE)
    machine.run(["systemctl", "daemon-reload"])
    found = helpers.deployments(machine)
    try:
        yield next(found)
    finally:
        machine.run(["rm", "-r", str(Path(DROP_IN).parent), str(Path(PROGRAM).parent)])
        machine.run(["systemctl", "daemon-reload"])
        next(found, None)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    """An app with two releases, so that there is something to go back to."""
    name = api.create("crashed", scripted("0") | PROCFILE, build_mode="script")
    api.healthy(name)
    _next_version(api, name)
    api.healthy(name)
    return name


PROCFILE = {"Procfile": "web: exec python3 app.py\nrelease: true\n"}


def _next_version(api: Deployments, app: str, **files: str) -> str:
    version = f"{time.monotonic_ns()}"
    api.commit(app, {"version.txt": version} | files)
    return version


def _kill_at(api: Deployments, step: str) -> None:
    api.machine.write("/var/lib/rustploy/agent/fault", step, 0o600, "rustploy:rustploy")


def _kill(api: Deployments) -> None:
    before = api.machine.property(AGENT, "MainPID")
    api.machine.run(["kill", "-KILL", before])
    api.machine.wait_for_restart(AGENT, before)
    api.machine.wait_for_agent()


def _visitor(api: Deployments, app: str) -> Prober:
    """Asks at the app's name, where only the release that serves may answer."""
    return Prober(api.machine.place.http_port, host=api.host(app))


def _wait_for_attempt(api: Deployments, app: str, deployment: str, attempt: int) -> None:
    api.machine.wait_for(lambda: api.show(app, deployment)["attempt"] == attempt, 30, f"attempt {attempt}")


def _check(api: Deployments, app: str, deployment: str, old: str, new: str, seen: Prober) -> None:
    """Everything that must hold once the deployment has ended, whichever way."""
    about = api.show(app, deployment)
    assert about["status"] in ("healthy", "failed"), about
    assert about["status"] == "healthy" or (about["error_code"] and about["last_error"]), about
    api.wait_until_settled(app)
    assert api.get(app).body == (new if about["status"] == "healthy" else old), about
    assert api.slot_files(app) == [f"web-{api.app(app)['active_slot']}.env"]
    ready = json.loads(api.machine.run(["python3", "-c", READY_SLUGS]).stdout)
    api.machine.wait_for(lambda: api.slugs(app) == ready, 10, f"no slug directories but {ready}")
    assert seen.failures == [], "a visitor met neither the old nor the new release"
    assert seen.bodies in ([old], [old, new]), "visitors were sent to and fro"
    assert api.visit(app).body == api.get(app).body, "the ingress and the database disagree"
    assert api.machine.failed_units() == []


@pytest.mark.parametrize("step", DEPLOY)
def test_an_agent_killed_at_a_step_of_a_deployment_carries_on(api: Deployments, app: str, step: str) -> None:
    """Else a crash leaves a deployment that never ends, two releases at once, or an outage."""
    old, new = api.get(app).body, _next_version(api, app)
    with _visitor(api, app) as seen:
        _died_and_ended(api, app, step, "deployments")
    deployment = api.history(app)[0]["id"]
    _check(api, app, deployment, old, new, seen)
    assert api.show(app, deployment)["status"] == "healthy", "an interrupted deployment is done again"


@pytest.mark.parametrize("moment", ["job", "handing_over", "handed_over"])
def test_an_agent_killed_as_it_hands_over_to_what_waits_carries_on(api: Deployments, app: str, moment: str) -> None:
    """Units that waited would else do a deployment that nobody is in charge of any more, or wait for ever."""
    old = _next_version(api, app)
    api.healthy(app)
    api.waiting(app, 3)
    new = _next_version(api, app)
    with _visitor(api, app) as seen:
        _died_and_ended(api, app, moment, "deployments")
    deployment = api.history(app)[0]["id"]
    _check(api, app, deployment, old, new, seen)
    assert api.show(app, deployment)["status"] == "healthy"


@pytest.mark.parametrize("step", ROLLBACK)
def test_an_agent_killed_at_a_step_of_a_rollback_carries_on(api: Deployments, app: str, step: str) -> None:
    """Else a crash during the way out of trouble makes more of it."""
    _next_version(api, app)
    api.healthy(app)
    old = api.get(app).body
    with _visitor(api, app) as seen:
        _died_and_ended(api, app, step, "rollback")
    deployment = api.history(app)[0]["id"]
    new = api.machine.repositories.git(app, "show", f"{api.show(app, deployment)['commit_sha']}:version.txt")
    _check(api, app, deployment, old, new, seen)
    assert api.show(app, deployment)["status"] == "healthy"


def _died_and_ended(api: Deployments, app: str, step: str, what: str) -> None:
    before = api.machine.property(AGENT, "MainPID")
    _kill_at(api, step)
    with contextlib.suppress(RemoteDisconnected, ConnectionResetError):  # it may die before it has answered
        api.start(app, what)
    api.machine.wait_for_restart(AGENT, before)
    api.machine.wait_for_agent()
    deployment = api.history(app)[0]["id"]
    assert not api.machine.exists("/var/lib/rustploy/agent/fault")
    api.wait(app, deployment, DEADLINE)


def test_an_agent_killed_between_the_switch_and_its_commit_goes_back_and_switches_again(
    api: Deployments, app: str
) -> None:
    """Visitors are with the new, healthy release by then; the old one must not be stopped before they are back."""
    old, new = api.get(app).body, _next_version(api, app)
    with _visitor(api, app) as seen:
        _died_and_ended(api, app, "pointed", "deployments")
    deployment = api.history(app)[0]["id"]
    assert api.show(app, deployment)["attempt"] == 2, "it was killed at another moment"
    assert seen.bodies == [old, new, old, new]
    seen.bodies[:] = [old, new]
    _check(api, app, deployment, old, new, seen)


@pytest.mark.parametrize("step", ["health", "clean_up"])
def test_no_visitor_meets_a_release_that_is_not_healthy_whenever_the_agent_dies(
    api: Deployments, app: str, step: str
) -> None:
    """Else a crash at the wrong moment lets through what the health check was there to stop."""
    old = api.get(app).body
    soon = "version: 1\napp: {healthcheck_timeout_seconds: 1}\n"
    new = _next_version(api, app, **{"status.txt": "500", "rustploy.yaml": soon})
    try:
        with _visitor(api, app) as seen:
            _died_and_ended(api, app, step, "deployments")
        about = api.history(app)[0]
        assert (about["error_code"], about["attempt"]) == ("unhealthy", 2), about
        _check(api, app, about["id"], old, new, seen)
    finally:
        api.commit(app, {"status.txt": None, "rustploy.yaml": None})


@pytest.mark.parametrize("number", range(20))
def test_an_agent_killed_at_a_random_moment_carries_on(api: Deployments, app: str, number: int) -> None:
    """Else it is only luck that the named steps are safe; the seed is the number, so a failure can be repeated."""
    old, new = api.get(app).body, _next_version(api, app)
    moment = random.Random(number).uniform(0, 0.9)
    with _visitor(api, app) as seen:
        deployment = api.start(app)
        time.sleep(moment)
        _kill(api)
        api.wait(app, deployment, DEADLINE)
    _check(api, app, deployment, old, new, seen)


def test_a_deployment_that_is_killed_again_and_again_ends_as_failed(api: Deployments, app: str) -> None:
    """Else a deployment that kills the agent would kill it for ever."""
    old = api.get(app).body
    new = _next_version(api, app)
    attempts = 3
    with _visitor(api, app) as seen:
        deployment = api.start(app)
        for attempt in range(1, attempts + 1):
            _wait_for_attempt(api, app, deployment, attempt)
            _kill(api)
        about = api.wait(app, deployment, DEADLINE)
    assert (about["status"], about["error_code"]) == ("failed", "interrupted")
    _check(api, app, deployment, old, new, seen)
