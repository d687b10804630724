"""GET, PATCH and DELETE /apps/{app}: address, limits, and an end that leaves nothing."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from rustploy_agent import desired
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Process, database
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until


def test_an_app_without_a_release_has_no_address(admin: Client, blog: str) -> None:
    shown = admin("GET", f"/apps/{blog}").get_json()
    assert (shown["address"], shown["active_release"], shown["processes"]) == (None, None, [])


def test_an_app_is_found_by_its_name_too(admin: Client, blog: str) -> None:
    assert admin("GET", "/apps/blog").get_json()["id"] == blog


@pytest.mark.parametrize("key", ["nope", "00000000-0000-0000-0000-000000000000", "%ff", "a'b"])
def test_an_unknown_app_is_not_found(admin: Client, key: str) -> None:
    assert admin.code("GET", f"/apps/{key}") == (404, "app_not_found")


def test_an_app_that_is_removed_in_the_middle_of_a_request_is_not_found(admin: Client, blog: str) -> None:
    """It was the other request that was first; a defect of ours, told with an id to look up, it is not."""
    database.execute_sql("CREATE TRIGGER meanwhile BEFORE INSERT ON connection BEGIN DELETE FROM app; END")
    connection = {"owner": "anna", "repo": "blog"}
    assert admin.code("POST", "/apps/blog/github", connection) == (404, "app_not_found")


def test_two_changes_at_once_are_both_made(admin: Client, blog: str) -> None:
    """The second must not write back what it read before the first: nobody would hear that a limit is gone."""
    wanted = {"memory_max_bytes": 1 << 30, "cpu_quota_percent": 50, "tasks_max": 99}
    for _ in range(5):
        App.update(limits={}).execute()
        together = threading.Barrier(len(wanted))

        def change(limit: tuple[str, int], together: threading.Barrier = together) -> None:
            together.wait(10)
            assert admin("PATCH", "/apps/blog", {"limits": dict([limit])}).status_code == 200

        threads = [threading.Thread(target=change, args=(limit,)) for limit in wanted.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert App.get(name="blog").limits == wanted


@pytest.mark.processes
def test_a_deployed_app_shows_its_address_and_what_runs(admin: Client, blog: str, core: Core) -> None:
    core.worker.start()
    deployment = admin("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]
    assert ended(deployment).status == "healthy"
    shown = admin("GET", f"/apps/{blog}").get_json()
    port = Process.get().port_a
    assert (shown["address"], shown["active_slot"]) == (f"http://127.0.0.1:{port}", "a")
    assert shown["active_deployment_id"] == deployment
    assert shown["processes"] == [
        {
            "type": "web",
            "instance": 1,
            "unit": "rustploy-app@blog-web-a.service",
            "state": "active",
            "sub_state": "running",
            "port": port,
            "command": "answer 200",
        }
    ]


def test_limits_change_one_by_one_and_reach_apply(admin: Client, blog: str, manager: Manager, core: Core) -> None:
    before = manager.applied
    admin("PATCH", f"/apps/{blog}", {"limits": {"tasks_max": 8}})
    limits = admin("PATCH", f"/apps/{blog}", {"limits": {"cpu_quota_percent": 50}}).get_json()["limits"]
    assert limits == {"memory_max_bytes": 512 << 20, "cpu_quota_percent": 50, "tasks_max": 8}
    assert manager.applied == before + 2
    assert b'"tasks_max": 8' in core.settings.paths.desired.read_bytes()


def test_a_limit_of_null_is_the_setting_s_again(admin: Client, blog: str) -> None:
    """Else who once changed a limit can only ever guess what the default is."""
    admin("PATCH", f"/apps/{blog}", {"limits": {"tasks_max": 8, "cpu_quota_percent": 50}})
    limits = admin("PATCH", f"/apps/{blog}", {"limits": {"tasks_max": None}}).get_json()["limits"]
    assert limits == {"memory_max_bytes": 512 << 20, "cpu_quota_percent": 50, "tasks_max": 256}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"limits": 1}, "limits"),
        ({"limits": {"tasks_max": 0}}, "limits.tasks_max"),
        ({"limits": {"tasks_max": True}}, "limits.tasks_max"),
        ({"limits": {"memory_max_bytes": 1.5}}, "limits.memory_max_bytes"),
        ({"limits": {"tasks": 9}}, "limits.tasks"),
        ({"limits": {"memory_max_bytes": 1 << 40}}, "limits.memory_max_bytes"),
        ({"limits": {"cpu_quota_percent": 401}}, "limits.cpu_quota_percent"),
        ({"limits": {"tasks_max": 4097}}, "limits.tasks_max"),
        ({"name": "new", "limits": {}}, "name"),
    ],
)
def test_a_wrong_limit_is_refused_by_field(admin: Client, blog: str, body: object, field: str) -> None:
    answer = admin("PATCH", f"/apps/{blog}", body)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]
    assert App.get().limits == {}


def test_a_ceiling_that_was_lowered_holds_for_apps_that_have_more(admin: Client, blog: str, core: Core) -> None:
    """Else apply refuses such an app, and neither a deployment nor a change of it works any more."""
    assert admin("PATCH", f"/apps/{blog}", {"limits": {"tasks_max": 4096}}).status_code == 200
    lower = dataclasses.replace(core.settings.ceilings, tasks_max=300)
    settings = dataclasses.replace(core.settings, ceilings=lower)
    assert desired.limits_of(App.get(), settings).tasks_max == 300
    assert desired.limits_of(App.get(), core.settings).tasks_max == 4096


def test_a_deleted_app_leaves_no_row_no_unit_and_no_file(admin: Client, blog: str, core: Core) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "A", "value": "1"})
    admin("POST", f"/apps/{blog}/deployments")
    assert admin("DELETE", f"/apps/{blog}").status_code == 204
    assert not core.settings.paths.app("blog").exists()
    assert (App.select().count(), Deployment.select().count()) == (0, 0)
    assert admin.code("GET", f"/apps/{blog}") == (404, "app_not_found")
    assert admin("POST", "/apps", {"name": "blog"}).status_code == 201


@pytest.mark.processes
def test_a_running_app_is_stopped_when_it_is_deleted(admin: Client, blog: str, core: Core, manager: Manager) -> None:
    core.worker.start()
    assert ended(admin("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]).status == "healthy"
    assert admin("DELETE", f"/apps/{blog}").status_code == 204
    assert manager.running() == set()


@pytest.mark.processes
def test_deleting_cancels_a_deployment_under_way(admin: Client, blog: str, core: Core, manager: Manager) -> None:
    core.worker.start()
    manager.gate.clear()
    deployment = admin("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]
    until(lambda: Deployment.get_by_id(deployment).step == "fetch")
    threading.Timer(0.2, manager.gate.set).start()
    assert admin("DELETE", f"/apps/{blog}").status_code == 204
    assert Deployment.get_or_none(Deployment.id == deployment) is None
    assert manager.running() == set()


def test_a_removal_that_apply_could_not_do_can_be_asked_for_again(admin: Client, blog: str, manager: Manager) -> None:
    """Else the name stays taken by an app that nobody can see."""
    manager.apply_error = "desired.json must be readable"
    assert admin.code("DELETE", f"/apps/{blog}") == (500, "apply_failed")
    manager.apply_error = None
    assert admin("DELETE", f"/apps/{blog}").status_code == 204
    assert admin("POST", "/apps", {"name": "blog"}).status_code == 201
