"""Several instances of a process type: all of them serve, and none of them costs a visitor anything to come or go."""

import collections
import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration import helpers, ingress_apps
from tests.integration.helpers import Deployments, echoes
from tests.integration.helpers_prober import ask
from tests.integration.load import Load
from tests.machine import Response

pytestmark = pytest.mark.usefixtures("machine")
UNITS = "/etc/systemd/system"
#: An instance that the platform starts as number 4 ends at once.
PROCFILE = """web: [ "$RUSTPLOY_INSTANCE" != 4 ] || { echo four is too many; exit 4; }; exec python3 app.py
worker: exec python3 -u -c "import time; print('works', flush=True); time.sleep(9999)"
"""


@pytest.fixture(scope="module")
def api(release: str, deb: Path) -> Iterator[Deployments]:
    """A machine of their own, because they reboot it."""
    for machine in helpers.own_machine(release, deb):
        quick = json.loads(helpers.quick_settings(machine))
        quick["deployments"]["timeouts"] |= {"drain_seconds": 10, "health_seconds": 30}
        helpers.restore_settings(machine, json.dumps(quick))
        found = Deployments(machine)
        found.create("many", ingress_apps.python("one") | {"Procfile": PROCFILE})
        found.healthy("many")
        yield found


def scale(api: Deployments, **numbers: int) -> Response:
    answer = api.machine.http("PATCH", "/api/v1/apps/many/scale", numbers, timeout=120)
    assert answer.status == 200, answer.body
    for process_type, number in numbers.items():
        assert answer.body["scale"][process_type] == number
    check(api)
    return answer


def check(api: Deployments) -> None:
    """What runs, starts at boot and is rendered is what the API shows, and nothing else."""
    about = api.app("many")
    slot, numbers = about["active_slot"], about["scale"]
    wanted = [(kind, number) for kind in numbers for number in range(1, numbers[kind] + 1)]
    names = {f"{kind}-{slot}{number if number > 1 else ''}" for kind, number in wanted}
    assert api.running("many") == sorted(f"rustploy-app@many-{name}.service" for name in names)
    assert api.slot_files("many") == sorted(f"{name}.env" for name in names)
    both = {name.replace(f"-{slot}", f"-{letter}") for name in names for letter in "ab"}
    both |= {f"{kind}-{letter}" for kind in numbers for letter in "ab"}
    listed = api.machine.run(["find", UNITS, "-name", "rustploy-app@many-*"]).stdout.split()
    drop_ins = {path.rpartition("/")[2] for path in listed if path.endswith(".d")}
    assert drop_ins == {f"rustploy-app@many-{name}.service.d" for name in both}


def who(api: Deployments, times: int = 40) -> "collections.Counter[str]":
    """Which instances answer visitors, and how often."""
    port, host = api.machine.place.http_port, api.host("many")
    with ThreadPoolExecutor(4) as pool:
        return collections.Counter(pool.map(lambda _: ask(port, "/who", host=host), range(times)))


def load(api: Deployments, *, reopens: bool = False) -> Load:
    return Load(api.machine.place.http_port, api.host("many"), rate=60, reopens=reopens)


class Readers:
    """Visitors who only read, each answer for `seconds`; `failures` and how long the slowest had to wait.

    One whose connection is reset asks again, once: a new configuration of the ingress does that to who just connects.
    """

    def __init__(self, api: Deployments, number: int = 6, seconds: float = 0.05) -> None:
        self._number, self._path = number, f"/slow/{seconds}"
        self._port, self._host = api.machine.place.http_port, api.host("many")
        self._over = threading.Event()
        self.failures: list[str] = []
        self.slowest, self.answers = 0.0, 0

    def __enter__(self) -> "Readers":
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self._number)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            begin = time.monotonic()
            try:
                self._ask()
                self.answers += 1
            except Exception as error:
                self.failures.append(f"{type(error).__name__} {error}")
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def _ask(self) -> None:
        try:
            ask(self._port, self._path, seconds=20, host=self._host)
        except ConnectionResetError:
            ask(self._port, self._path, seconds=20, host=self._host)


def download(api: Deployments, seconds: int) -> int:
    """How many of the promised bytes came."""
    connection = http.client.HTTPConnection("127.0.0.1", api.machine.place.http_port, timeout=30)
    connection.request("GET", f"/download/{seconds}", headers={"Host": api.host("many")})
    return len(connection.getresponse().read())


def test_both_instances_answer_in_turn(api: Deployments) -> None:
    """Else the second one costs memory and serves nobody; and that it comes costs nobody anything."""
    with load(api, reopens=True) as seen:
        shown = scale(api, web=2).body
    assert seen.failures == [] and seen.answers > 20, seen.failures[:5]
    assert [one["instance"] for one in shown["processes"] if one["type"] == "web"] == [1, 2]
    found = who(api)
    assert set(found) == {"1", "2"} and min(found.values()) >= 12, found
    for process in shown["processes"][:2]:
        answer = api.machine.http("GET", "/who", port=process["port"])
        assert str(answer.body) == str(process["instance"])


def test_a_deployment_of_a_scaled_app_costs_no_request_and_no_websocket_of_another(api: Deployments) -> None:
    """Else scaling takes from an app what deployments promise."""
    api.create("other", ingress_apps.python("other"))
    api.healthy("other")
    api.commit("many", {"version.txt": "two"})
    with api.websocket("other") as connection:
        with load(api) as seen:
            api.healthy("many")
            time.sleep(1)
        assert echoes(connection)
        assert seen.failures == [] and (seen.versions[0], seen.versions[-1]) == ("one", "two"), seen.failures[:5]
        with load(api) as seen:
            api.healthy("many", "rollback")
            time.sleep(1)
        assert seen.failures == [] and (seen.versions[0], seen.versions[-1]) == ("two", "one"), seen.failures[:5]
        assert echoes(connection)
    assert set(who(api)) == {"1", "2"}
    check(api)


def test_scaling_down_breaks_off_neither_requests_nor_downloads(api: Deployments) -> None:
    """Else an autoscaler at night fails somebody's download."""
    scale(api, web=3)
    with ThreadPoolExecutor(6) as pool, load(api, reopens=True) as seen:
        downloads = [pool.submit(download, api, 5) for _ in range(6)]
        time.sleep(1)
        begin = time.monotonic()
        scale(api, web=1)
        waited = time.monotonic() - begin
        assert [one.result(30) for one in downloads] == [500_000] * 6
    assert seen.failures == [] and waited > 2, (seen.failures[:5], waited)
    assert set(who(api)) == {"1"}


def test_while_an_instance_is_down_the_others_serve(api: Deployments) -> None:
    """Else two instances fail twice as often as one: whoever has the least connections is the one that is down."""
    scale(api, web=2)
    unit = f"rustploy-app@many-web-{api.app('many')['active_slot']}2.service"
    before = api.machine.property(unit, "MainPID")
    with Readers(api, 12, 0.4) as seen:
        time.sleep(0.5)
        api.machine.run(["kill", "-KILL", before])
        api.machine.wait_for_restart(unit, before)
        time.sleep(1)
        api.machine.run(["systemctl", "stop", unit])  # by hand, as if it never came up again
        down = -seen.answers
        time.sleep(4)
        down += seen.answers
        assert set(who(api)) == {"1"}
        api.machine.run(["systemctl", "start", unit])
        time.sleep(1)
    assert seen.failures == [] and seen.slowest < 3 and down > 50, (seen.failures[:5], seen.slowest, down)
    assert set(who(api)) == {"1", "2"}
    assert api.machine.failed_units() == []


def test_an_instance_that_does_not_start_changes_nothing(api: Deployments) -> None:
    """Else a half of what was asked for runs, and nobody is told why."""
    scale(api, web=2)
    answer = api.machine.http("PATCH", "/api/v1/apps/many/scale", {"web": 4, "worker": 2}, timeout=120)
    assert (answer.status, answer.body["error"]["code"]) == (409, "exited")
    message = answer.body["error"]["message"]
    assert "4.service exited with status 4" in message and "four is too many" in message
    assert api.app("many")["scale"] == {"web": 2, "worker": 1}
    check(api)
    deployment = api.app("many")["active_deployment_id"]
    assert "four is too many" in api.logs("many", deployment), "why is not to be found any more"


def test_a_type_may_rest_and_come_back(api: Deployments) -> None:
    """Else a worker can only be paused by a deployment."""
    scale(api, worker=0)
    assert not [unit for unit in api.running("many") if "worker" in unit]
    api.healthy("many", force_rebuild=True)
    check(api)
    scale(api, worker=2, web=1)
    assert len([unit for unit in api.running("many") if "worker" in unit]) == 2
    lines = api.logs("many", api.app("many")["active_deployment_id"]).splitlines()
    assert len([line for line in lines if line.endswith("works")]) == 2, "the log lacks an instance"


@pytest.mark.parametrize("number", range(8))
def test_an_agent_killed_while_scaling_leaves_the_old_number_or_the_new_one(api: Deployments, number: int) -> None:
    """Else units run that nobody counts; the seed is the number, so a failure can be repeated."""
    before, after = ((1, 3), (3, 1))[number % 2]
    scale(api, web=before)
    agent = api.machine.property("rustploy-agent.service", "MainPID")
    moment = random.Random(number).uniform(0.02, 1.2)

    def ask_for_it() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # the agent that would have answered is gone
            api.machine.http("PATCH", "/api/v1/apps/many/scale", {"web": after}, timeout=30)

    with Readers(api) as seen:
        asking = threading.Thread(target=ask_for_it)
        asking.start()
        time.sleep(moment)
        api.machine.run(["kill", "-KILL", agent])
        asking.join(60)
        api.machine.wait_for_restart("rustploy-agent.service", agent)
        api.machine.wait_for_agent()
    assert api.app("many")["scale"]["web"] in (before, after)
    check(api)
    assert set(who(api)) == {str(one) for one in range(1, api.app("many")["scale"]["web"] + 1)}
    assert seen.answers > 10 and seen.failures == [], seen.failures[:5]
    assert api.machine.failed_units() == []


def test_all_instances_come_back_after_a_reboot_without_the_agent(api: Deployments) -> None:
    """Else the app comes back with a part of what it needs."""
    scale(api, web=3, worker=2)
    units = api.running("many")
    assert len(units) == 5
    machine = api.machine
    machine.run(["systemctl", "mask", "rustploy-agent.service"])
    machine.reboot()
    machine.wait_for(lambda: api.running("many") == units, 30, "all instances to be up")

    def answering() -> set[str]:
        try:
            return set(who(api))
        except Exception:
            return set()

    machine.wait_for(lambda: answering() == {"1", "2", "3"}, 30, "the ingress to give each its turn")
    assert machine.run(["systemctl", "is-active", "rustploy-agent.service"], check=False).stdout.strip() == "inactive"
    machine.run(["systemctl", "unmask", "rustploy-agent.service"])
    machine.run(["systemctl", "start", "rustploy-agent.service"])
    machine.wait_for_agent()
    check(api)
    assert machine.failed_units() == []


def test_a_deleted_app_leaves_no_instance(api: Deployments) -> None:
    """Else its instances run on, as a user that another app may get."""
    scale(api, web=3)
    api.delete("many")
    machine = api.machine
    assert api.running("many") == []
    assert machine.run(["find", UNITS, "-name", "*many*"]).stdout == ""
    assert machine.run(["getent", "passwd", "rp-many", "rpb-many"], check=False).stdout == ""
    assert not machine.exists("/var/lib/rustploy/apps/many")
    assert machine.failed_units() == []
