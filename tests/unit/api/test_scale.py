"""PATCH /apps/{app}/scale: how many instances run, who may say so, and what is left when it goes wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask

from rustploy_agent import activation, apps, instances, readiness, scaling, slots, units
from rustploy_agent.core import Core
from rustploy_agent.models import App, Domain, Process
from rustploy_agent.settle import settle
from tests.unit.api.conftest import Client
from tests.unit.caddy import Caddy
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
PROCFILE = "web: answer 200\nworker: answer 200\n"


@pytest.fixture
def quick(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    times = dataclasses.replace(core.settings.timeouts, health=1, drain=1)
    object.__setattr__(core.settings, "timeouts", times)
    monkeypatch.setattr(readiness, "STAY_UP_SECONDS", 0.2)


@pytest.fixture
def deployed(admin: Client, blog: str, core: Core, manager: Manager, quick: None) -> str:
    """An app with web and worker and a name at the ingress."""
    manager.built = {"procfile": PROCFILE}
    Domain.create(app=blog, name="www.example.org")
    core.worker.start()
    deploy(admin, blog, core)
    return blog


def deploy(admin: Client, app: str, core: Core, what: str = "deployments") -> str:
    found = ended(admin("POST", f"/apps/{app}/{what}").get_json()["deployment_id"])
    with core.worker.hold(app, 30):
        return str(found.status)


def names(manager: Manager) -> list[str]:
    """Of what runs: `web-a`, `web-a2`, …"""
    return sorted(unit.removeprefix("rustploy-app@blog-").removesuffix(".service") for unit in manager.running())


def files(core: Core) -> list[str]:
    found = (core.settings.paths.app("blog") / "slots").glob("*-*.env")
    return sorted(path.name.removesuffix(".env") for path in found)


def dialled(ingress: Caddy) -> list[int]:
    """Ports that the ingress has for the app."""
    return sorted({int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", json.dumps(ingress.document))})


def test_scaling_up_starts_what_is_missing_and_then_shows_it_to_visitors(
    deployer: Client, deployed: str, core: Core, manager: Manager, ingress: Caddy
) -> None:
    first = Process.get(Process.type == "web")
    shown = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2}).get_json()
    assert shown["scale"] == {"web": 2, "worker": 1}
    assert [(one["type"], one["instance"], one["state"]) for one in shown["processes"]] == [
        ("web", 1, "active"),
        ("web", 2, "active"),
        ("worker", 1, "active"),
    ]
    assert shown["address"].endswith(f":{first.port_a}"), "the address is the first instance's"
    assert names(manager) == files(core) == ["web-a", "web-a2", "worker-a"]
    ports = [port for row in Process.select() for port in (row.port_a, row.port_b) if port]
    assert dialled(ingress) == sorted(ports) and len(set(ports)) == 4
    about = (core.settings.paths.app("blog") / "slots" / "web-a2.env").read_text()
    assert "export RUSTPLOY_INSTANCE=2\n" in about and f"export PORT={shown['processes'][1]['port']}\n" in about
    assert f"export RUSTPLOY_DEPLOYMENT={shown['active_deployment_id']}\n" in about


def test_what_runs_already_is_not_touched(deployer: Client, deployed: str, manager: Manager) -> None:
    """Else scaling costs what it shall relieve a restart."""
    manager.calls.clear()
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 3})
    touched = [unit for verb, unit in manager.calls if unit.startswith("rustploy-app@")]
    assert touched == ["rustploy-app@blog-web-a2.service", "rustploy-app@blog-web-a3.service"]


def test_scaling_down_takes_the_ports_from_the_ingress_before_anything_is_stopped(
    deployer: Client, deployed: str, core: Core, manager: Manager, ingress: Caddy
) -> None:
    """Else a visitor is sent to a port where nobody listens any more."""
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 3})
    seen: list[tuple[str, int, list[str]]] = []
    manager.before_stop = lambda unit: seen.append((unit, len(dialled(ingress)), files(core)))
    shown = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 1}).get_json()
    assert [(unit, known) for unit, known, _ in seen] == [
        ("rustploy-app@blog-web-a2.service", 2),
        ("rustploy-app@blog-web-a3.service", 2),
    ]
    assert seen[0][2] == ["web-a", "worker-a"], "what leaves must not start again"
    assert shown["scale"] == {"web": 1, "worker": 1}
    assert names(manager) == files(core) == ["web-a", "worker-a"]
    assert [(row.type, row.number) for row in Process.select()] == [("web", 1), ("worker", 1)]
    assert "more" not in core.settings.paths.desired.read_text()


def test_scaling_down_waits_for_who_is_still_connected(
    deployer: Client, deployed: str, manager: Manager, core: Core
) -> None:
    """Else a download breaks off with every instance that leaves."""
    object.__setattr__(core.settings, "timeouts", dataclasses.replace(core.settings.timeouts, drain=20))
    shown = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2}).get_json()
    held = socket.create_connection(("127.0.0.1", shown["processes"][1]["port"]))
    stopped: list[bool] = []
    manager.before_stop = lambda _: stopped.append(held.fileno() == -1)
    timer = threading.Timer(1.5, held.close)
    timer.start()
    assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 1}).status_code == 200
    timer.join()
    assert stopped == [True]


def test_nobody_who_stays_connected_keeps_an_instance_for_ever(deployer: Client, deployed: str) -> None:
    shown = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2}).get_json()
    with socket.create_connection(("127.0.0.1", shown["processes"][1]["port"])):
        begin = time.monotonic()
        assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 1}).status_code == 200
    assert time.monotonic() - begin >= 1, "the drain's second"


def test_types_go_up_and_down_in_one_request_and_others_stay(deployer: Client, deployed: str, manager: Manager) -> None:
    deployer("PATCH", f"/apps/{deployed}/scale", {"worker": 2, "web": None})
    assert names(manager) == ["web-a", "worker-a", "worker-a2"]
    shown = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2, "worker": 0}).get_json()
    assert shown["scale"] == {"web": 2, "worker": 0}
    assert names(manager) == ["web-a", "web-a2"]
    assert [one["type"] for one in shown["processes"]] == ["web", "web"]
    metrics = deployer("GET", "/metrics").get_data(as_text=True)
    for kind, number in (("web", 2), ("worker", 0)):
        for what in ("up", "wanted"):
            assert f'rustploy_app_process_{what}{{app="blog",process="{kind}"}} {number}.0\n' in metrics
    deployer("PATCH", f"/apps/{deployed}/scale", {"worker": 1})
    assert names(manager) == ["web-a", "web-a2", "worker-a"]


@pytest.mark.parametrize(("broken", "code"), [("missing", "exited"), ("answer 500", "unhealthy")])
def test_an_instance_that_does_not_get_healthy_takes_all_back(
    deployer: Client, deployed: str, core: Core, manager: Manager, ingress: Caddy, broken: str, code: str
) -> None:
    """Else a half of what was asked for runs, and nobody knows which."""
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    before, loaded = deployer("GET", f"/apps/{deployed}").get_json(), ingress.loaded
    manager.instead["web-a4"] = broken
    answer = deployer("PATCH", f"/apps/{deployed}/scale", {"web": 4, "worker": 2})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, code)
    assert re.search("web-a4|instance 4 of web: GET http", answer.get_json()["error"]["message"])
    after = deployer("GET", f"/apps/{deployed}").get_json()
    assert after | {"updated_at_unix_ms": 0} == before | {"updated_at_unix_ms": 0}
    assert names(manager) == files(core) == ["web-a", "web-a2", "worker-a"]
    assert ingress.loaded == loaded and Process.select().count() == 3


def test_the_log_of_an_instance_that_is_gone_can_still_be_read(
    deployer: Client, deployed: str, manager: Manager
) -> None:
    """Why it did not get healthy stands in there."""
    app = App.get_by_id(deployed)
    assert instances.logged(app) == [
        ("web", 1),
        ("worker", 1),
    ], "an app that is never scaled has nothing more to search"
    manager.instead["web-a2"] = "missing"
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    assert ("web", 2) in instances.logged(App.get_by_id(deployed))


def test_when_no_ports_are_left_nothing_changes(deployer: Client, deployed: str, core: Core) -> None:
    object.__setattr__(core.settings, "last_port", core.settings.first_port + 4)
    assert deployer.code("PATCH", f"/apps/{deployed}/scale", {"web": 3}) == (503, "no_free_port")
    assert Process.select().count() == 2 and deployer("GET", f"/apps/{deployed}").get_json()["scale"]["web"] == 1


@pytest.mark.parametrize("bound", ["MOST_APP_INSTANCES", "MOST_HOST_INSTANCES"])
def test_more_instances_than_there_can_be_are_refused_before_anything_changes(
    deployer: Client, deployed: str, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Else apply refuses the app, and whoever asked is told of an error of the server."""
    monkeypatch.setattr(units, bound, 4)
    assert deployer.code("PATCH", f"/apps/{deployed}/scale", {"web": 2, "worker": 3}) == (503, "too_many_instances")
    assert Process.select().count() == 2 and deployer("GET", f"/apps/{deployed}").get_json()["scale"]["web"] == 1
    assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2, "worker": 2}).status_code == 200
    monkeypatch.setattr(units, bound, 1)
    assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 1}).status_code == 200, "fewer is always right"


def test_a_release_with_too_many_process_types_fails_and_says_so(
    admin: Client, deployed: str, core: Core, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "MOST_APP_INSTANCES", 2)
    manager.built = {"procfile": PROCFILE + "clock: answer 200\n"}
    key = admin("POST", f"/apps/{deployed}/deployments", {"force_rebuild": True}).get_json()["deployment_id"]
    found = ended(key)
    assert found.status == "failed" and found.error_code == "too_many_instances"
    assert "at most 2 instances" in found.last_error and names(manager) == ["web-a", "worker-a"]


def test_what_apply_refuses_is_taken_back(deployer: Client, deployed: str, manager: Manager) -> None:
    manager.refused["blog"] = "no"
    assert deployer.code("PATCH", f"/apps/{deployed}/scale", {"web": 2}) == (500, "apply_failed")
    manager.refused.clear()
    assert Process.select().count() == 2
    assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2}).status_code == 200


def test_deployments_and_rollbacks_keep_the_number_and_cost_the_ingress_nothing(
    admin: Client, deployed: str, core: Core, manager: Manager, ingress: Caddy
) -> None:
    """A new configuration would end every websocket with each deployment."""
    admin("PATCH", f"/apps/{deployed}/scale", {"web": 2, "worker": 0})
    loaded = ingress.loaded
    manager.fetched = {"commit": "2" * 40}
    assert deploy(admin, deployed, core) == "healthy"
    assert names(manager) == files(core) == ["web-b", "web-b2"]
    assert deploy(admin, deployed, core, "rollback") == "healthy"
    assert names(manager) == files(core) == ["web-a", "web-a2"]
    assert ingress.loaded == loaded


def test_a_deployment_of_which_one_instance_is_unhealthy_fails_and_says_which(
    admin: Client, deployed: str, core: Core, manager: Manager
) -> None:
    admin("PATCH", f"/apps/{deployed}/scale", {"web": 3})
    manager.fetched, manager.instead["web-b3"] = {"commit": "2" * 40}, "answer 500"
    found = ended(admin("POST", f"/apps/{deployed}/deployments").get_json()["deployment_id"])
    assert (found.status, found.error_code) == ("failed", "unhealthy")
    assert found.last_error.startswith("instance 3 of web: ")
    until(lambda: names(manager) == ["web-a", "web-a2", "web-a3", "worker-a"])


def test_the_number_is_remembered_while_a_release_lacks_the_type(
    admin: Client, deployed: str, core: Core, manager: Manager
) -> None:
    """Else a rollback comes back with less than it had."""
    admin("PATCH", f"/apps/{deployed}/scale", {"worker": 2})
    manager.fetched, manager.built = {"commit": "2" * 40}, {"procfile": "web: answer 200\n"}
    deploy(admin, deployed, core)
    assert admin("GET", f"/apps/{deployed}").get_json()["scale"] == {"web": 1}
    assert names(manager) == ["web-b"]
    deploy(admin, deployed, core, "rollback")
    assert names(manager) == ["web-a", "worker-a", "worker-a2"]


def test_before_the_first_release_it_counts_for_that(
    admin: Client, blog: str, core: Core, manager: Manager, quick: None
) -> None:
    assert admin("PATCH", f"/apps/{blog}/scale", {"web": 2}).get_json()["scale"] == {"web": 2}
    assert names(manager) == []
    core.worker.start()
    assert deploy(admin, blog, core) == "healthy"
    assert names(manager) == ["web-a", "web-a2"]


def test_a_stopped_app_changes_its_number_and_starts_with_it(deployer: Client, deployed: str, manager: Manager) -> None:
    deployer("POST", f"/apps/{deployed}/stop")
    assert deployer("PATCH", f"/apps/{deployed}/scale", {"web": 3}).get_json()["stopped"] is True
    assert names(manager) == []
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    deployer("POST", f"/apps/{deployed}/start")
    assert names(manager) == ["web-a", "web-a2", "worker-a"]


def test_a_restart_takes_one_instance_of_web_after_the_other(deployer: Client, deployed: str, manager: Manager) -> None:
    """Else a restart is an outage although there are two; one that fails leaves those that serve."""
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    manager.calls.clear()
    assert deployer("POST", f"/apps/{deployed}/restart").status_code == 200
    restarted = [unit for verb, unit in manager.calls if verb == "restart"]
    assert restarted == [f"rustploy-app@blog-{name}.service" for name in ("web-a", "web-a2", "worker-a")]
    manager.instead["web-a"] = "answer 500"
    assert deployer.code("POST", f"/apps/{deployed}/restart") == (409, "unhealthy")
    assert [unit for verb, unit in manager.calls if verb == "restart"] == [*restarted, restarted[0]]


def test_all_of_it_is_stopped_and_deleted(admin: Client, deployed: str, manager: Manager, ingress: Caddy) -> None:
    admin("PATCH", f"/apps/{deployed}/scale", {"web": 2, "worker": 3})
    assert admin("DELETE", f"/apps/{deployed}").status_code == 204
    assert names(manager) == [] and Process.select().count() == 0


WRONG = [
    ({"web": 0}, "web"),
    ({"web": 17}, "web"),
    ({"worker": 17}, "worker"),
    ({"worker": -1}, "worker"),
    ({"web": True}, "web"),
    ({"web": "2"}, "web"),
    ({"web": 2.0}, "web"),
    ({"clock": 2}, "clock"),
    ({"release": 1}, "release"),
    ({"web": 2, "clock": 1}, "clock"),
    ({"Web": 2}, "Web"),
    ({"web-a": 2}, "web-a"),
    ({}, ""),
]


@pytest.mark.parametrize(("change", "field"), WRONG)
def test_a_wrong_number_or_type_is_named_and_changes_nothing(
    deployer: Client, deployed: str, manager: Manager, change: dict[str, object], field: str
) -> None:
    answer = deployer("PATCH", f"/apps/{deployed}/scale", change)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "invalid_request")
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]
    assert names(manager) == ["web-a", "worker-a"]


def test_who_may_not_and_what_is_not_there(deployer: Client, reader: Client, blog: str) -> None:
    assert reader.code("PATCH", f"/apps/{blog}/scale", {"web": 2}) == (403, "insufficient_scope")
    assert deployer.code("PATCH", "/apps/nope/scale", {"web": 2}) == (404, "app_not_found")
    assert deployer.code("PATCH", f"/apps/{blog}/scale", {"worker": 1}) == (400, "invalid_request")


def test_while_a_deployment_is_under_way_it_is_refused(
    deployer: Client, deployed: str, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "HOLD_SECONDS", 0.1)
    with core.worker.hold(deployed, 1):
        refused = deployer.code("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    assert refused == (409, "deployment_in_progress")


@pytest.mark.parametrize(("method", "what", "body"), [("PATCH", "scale", {"web": 2}), ("POST", "restart", None)])
def test_an_app_that_is_deleted_while_somebody_waits_for_it_is_not_there(
    admin: Client, deployed: str, core: Core, method: str, what: str, body: dict[str, int] | None
) -> None:
    """Else who asks a moment too late is told of an internal error."""
    answers: list[tuple[int, str]] = []
    late = threading.Thread(target=lambda: answers.append(admin.code(method, f"/apps/{deployed}/{what}", body)))
    with core.worker.hold(deployed, 1):
        late.start()
        time.sleep(0.3)
        apps.remove(App.get_by_id(deployed), core.settings, core.systemd, core.applier)
    late.join(20)
    assert answers == [(404, "app_not_found")]


def test_a_request_sent_again_with_its_key_does_nothing(api: Flask, deployed: str, token: Callable[..., str]) -> None:
    client = Client(api, token("deploy"))
    headers = {"Authorization": f"Bearer {client.token}", "Idempotency-Key": "once"}
    first = client("PATCH", f"/apps/{deployed}/scale", {"web": 2}, headers=headers)
    client("PATCH", f"/apps/{deployed}/scale", {"web": 1})
    again = client("PATCH", f"/apps/{deployed}/scale", {"web": 2}, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true" and again.get_json() == first.get_json()
    assert client("GET", f"/apps/{deployed}").get_json()["scale"]["web"] == 1


def test_it_is_in_the_audit_trail(admin: Client, deployed: str) -> None:
    admin("PATCH", f"/apps/{deployed}/scale", {"web": 2})
    newest = admin("GET", "/audit?limit=1").get_json()["items"][0]
    assert (newest["action"], newest["app_name"], newest["outcome"]) == ("scale_app", "blog", "done")


class Crash(BaseException):
    """What SIGKILL is to the agent."""


#: Where the agent dies, from which number to which, and what it comes back with.
CRASHES = [("launch", 1, 3, 1), ("become_healthy", 1, 3, 1), ("let_requests_end", 3, 1, 1), ("retire", 3, 1, 1)]


@pytest.mark.parametrize(("at", "before", "wish", "number"), CRASHES)
def test_a_crash_leaves_the_old_number_or_the_new_one_and_nothing_besides(
    deployer: Client, deployed: str, core: Core, manager: Manager, monkeypatch: pytest.MonkeyPatch,
    at: str, before: int, wish: int, number: int,
) -> None:  # fmt: skip
    """Else an instance that nobody counts runs on for ever, or comes back with every boot."""
    deployer("PATCH", f"/apps/{deployed}/scale", {"web": before})
    module = readiness if at == "become_healthy" else activation
    real = getattr(module, at, None)

    def die(*arguments: object) -> None:
        if real is not None and at == "launch":
            real(*arguments)
        raise Crash

    with monkeypatch.context() as crashing:
        if at != "retire":
            crashing.setattr(module, at, die)
        crashing.setattr(scaling, "retire_surplus", die)
        with pytest.raises(Crash):
            scaling.scale(App.get_by_id(deployed), {"web": wish}, core)
    settle(core.settings, core.systemd, core.applier)
    expected = sorted([*(f"web-a{one if one > 1 else ''}" for one in range(1, number + 1)), "worker-a"])
    assert names(manager) == files(core) == expected
    assert Process.select().where(Process.type == "web").count() == number
    assert deployer("GET", f"/apps/{deployed}").get_json()["scale"]["web"] == number


def test_what_a_lost_database_left_of_a_scaled_app_belongs_to_it_again(
    admin: Client, deployed: str, core: Core
) -> None:
    """Else apply would stop instances that serve, as units that nobody wishes for."""
    admin("PATCH", f"/apps/{deployed}/scale", {"web": 3})
    assert slots.numbers(core.settings.paths.app("blog")) == {"web": 3, "worker": 1}
    for model in (Process, App):
        model.delete().execute()
    again = admin("POST", "/apps", {"name": "blog"}).get_json()["id"]
    assert admin("GET", f"/apps/{again}").get_json()["scale"] == {"web": 3, "worker": 1}
