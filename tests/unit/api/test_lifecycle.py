"""POST /apps/{app}/start, /stop, /restart, and what a visitor meets meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import App, Slug, Token
from rustploy_agent.settle import settle
from rustploy_agent.shares import Holder
from tests.unit.api.conftest import Client
from tests.unit.caddy import Caddy
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

UNIT = "rustploy-app@blog-web-a.service"
pytestmark = pytest.mark.processes


@pytest.fixture
def deployed(admin: Client, blog: str, core: Core) -> str:
    core.worker.start()
    assert ended(admin("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]).status == "healthy"
    with core.worker.hold(blog, 30):
        pass
    return blog


def marks(core: Core) -> list[str]:
    return sorted(path.name for path in core.settings.paths.routes.iterdir() if path.suffix != ".json")


def slot_files(core: Core) -> list[Path]:
    return list((core.settings.paths.app("blog") / "slots").glob("web-*.env"))


def test_a_stopped_app_runs_nothing_until_it_is_started(
    deployer: Client, deployed: str, core: Core, manager: Manager
) -> None:
    """Also not at the next boot: without its slot file the unit does not start."""
    assert marks(core) == ["blog.open"]
    shown = deployer("POST", f"/apps/{deployed}/stop").get_json()
    assert (shown["stopped"], shown["processes"][0]["state"]) == (True, "inactive")
    assert marks(core) == [] and slot_files(core) == [] and UNIT not in manager.running()
    shown = deployer("POST", f"/apps/{deployed}/start").get_json()
    assert (shown["stopped"], shown["processes"][0]["state"]) == (False, "active")
    assert marks(core) == ["blog.open"] and [path.name for path in slot_files(core)] == ["web-a.env"]


def test_a_stop_that_a_crash_cut_through_is_completed(deployed: str, core: Core, manager: Manager) -> None:
    App.update(stopped=True).execute()
    settle(core.settings, core.systemd, core.applier)
    assert UNIT not in manager.running() and marks(core) == [] and slot_files(core) == []


def test_stop_and_start_may_be_said_twice(deployer: Client, deployed: str) -> None:
    for what in ("start", "stop", "stop", "start"):
        assert deployer("POST", f"/apps/{deployed}/{what}").status_code == 200


def test_a_restart_starts_the_same_release_anew(deployer: Client, deployed: str, manager: Manager) -> None:
    shown = deployer("POST", f"/apps/{deployed}/restart").get_json()
    assert shown["active_release"]["version"] == 1 and ("restart", UNIT) in manager.calls
    deployer("POST", f"/apps/{deployed}/stop")
    assert deployer.code("POST", f"/apps/{deployed}/restart") == (409, "app_stopped")


@pytest.mark.parametrize("what", ["start", "restart"])
def test_what_its_interpreter_cannot_start_any_more_is_left_as_it_is(
    deployer: Client, deployed: str, manager: Manager, what: str
) -> None:
    """Else a restart after an upgrade of Debian ends an app that ran, and it does not come back."""
    Slug.update(runtimes={"/usr/bin/python3": "2.7"}).execute()
    begun = len(manager.calls)
    assert deployer.code("POST", f"/apps/{deployed}/{what}") == (409, "release_outdated")
    assert UNIT in manager.running()
    assert not any(name == UNIT for verb, name in manager.calls[begun:])
    assert "python3 2.7" in deployer("GET", f"/apps/{deployed}").get_json()["rebuild_needed"]


def test_another_debian_alone_is_said_and_keeps_nothing_from_starting(deployer: Client, deployed: str) -> None:
    assert deployer("GET", f"/apps/{deployed}").get_json()["rebuild_needed"] is None
    Slug.update(stack="debian-1").execute()
    shown = deployer("POST", f"/apps/{deployed}/restart").get_json()
    assert "debian-1" in shown["rebuild_needed"]


def test_the_same_commit_is_built_anew_after_an_upgrade_of_debian(
    admin: Client, deployed: str, manager: Manager
) -> None:
    """Else the slug of the old system is used again, and does not start."""
    Slug.update(stack="debian-1").execute()
    queued = admin("POST", f"/apps/{deployed}/deployments").get_json()
    assert ended(queued["deployment_id"]).status == "healthy"
    build = manager.jobs[-1]["build"]
    assert (build["empty_cache"], build["kept_slugs"]) == (True, [])
    assert admin("GET", f"/apps/{deployed}").get_json()["rebuild_needed"] is None


@pytest.mark.parametrize("what", ["start", "restart", "scale"])
@pytest.mark.parametrize("wish", ["stop", "delete"])
def test_what_waits_for_an_unhealthy_app_gives_way(
    admin: Client, deployed: str, manager: Manager, what: str, wish: str
) -> None:
    """Else nobody can stop or delete an app whose health check may take an hour, which its repository decides."""
    answers: list[tuple[int, str]] = []
    asked = {
        "start": ("POST", f"/apps/{deployed}/start", None),
        "restart": ("POST", f"/apps/{deployed}/restart", None),
        "scale": ("PATCH", f"/apps/{deployed}/scale", {"web": 2}),
    }
    if what == "start":
        admin("POST", f"/apps/{deployed}/stop")
    manager.instead = {"web-a": "answer 500", "web-a2": "answer 500"}
    begun = len(manager.calls)
    waiting = threading.Thread(target=lambda: answers.append(admin.code(*asked[what])))
    waiting.start()
    until(lambda: any(verb in ("start", "restart") and "rustploy-app" in name for verb, name in manager.calls[begun:]))
    answer = admin("DELETE", f"/apps/{deployed}") if wish == "delete" else admin("POST", f"/apps/{deployed}/stop")
    assert answer.status_code == (204 if wish == "delete" else 200)
    waiting.join(10)
    assert answers == [(409, "app_stopped")]
    assert not [name for name in manager.running() if name.startswith("rustploy-app")]


def test_a_deployment_starts_a_stopped_app(admin: Client, deployed: str, core: Core) -> None:
    admin("POST", f"/apps/{deployed}/stop")
    assert ended(admin("POST", f"/apps/{deployed}/deployments").get_json()["deployment_id"]).status == "healthy"
    assert not App.get_by_id(deployed).stopped and "blog.open" in marks(core)


@pytest.mark.parametrize("what", ["start", "stop", "restart"])
def test_what_was_never_deployed_cannot_be(deployer: Client, reader: Client, blog: str, what: str) -> None:
    assert deployer.code("POST", f"/apps/{blog}/{what}") == (409, "no_release")
    assert deployer.code("POST", f"/apps/nope/{what}") == (404, "app_not_found")
    assert reader.code("POST", f"/apps/{blog}/{what}") == (403, "insufficient_scope")


def test_maintenance_shows_a_page_without_touching_the_ingress(
    admin: Client, blog: str, core: Core, ingress: Caddy
) -> None:
    """A new configuration would end the websockets of all apps."""
    core.routing.update()
    before = ingress.loaded
    assert admin("PATCH", f"/apps/{blog}", {"maintenance": True}).get_json()["maintenance"] is True
    assert marks(core) == ["blog.maintenance"]
    assert admin("PATCH", f"/apps/{blog}", {"limits": {"tasks_max": 64}}).get_json()["maintenance"] is True
    assert admin("PATCH", f"/apps/{blog}", {"maintenance": False}).get_json()["maintenance"] is False
    assert marks(core) == [] and ingress.loaded == before


def test_limits_of_requests_change_one_by_one(admin: Client, blog: str) -> None:
    admin("PATCH", f"/apps/{blog}", {"ingress": {"max_body_bytes": 4096}})
    shown = admin("PATCH", f"/apps/{blog}", {"ingress": {"timeout_seconds": 5}}).get_json()["ingress"]
    assert shown == {"max_body_bytes": 4096, "timeout_seconds": 5}
    shown = admin("PATCH", f"/apps/{blog}", {"ingress": {"max_body_bytes": None}}).get_json()["ingress"]
    assert shown == {"max_body_bytes": 100 << 20, "timeout_seconds": 5}


@pytest.mark.parametrize(
    "change",
    [{"maintenance": 1}, {"ingress": {"timeout_seconds": 0}}, {"ingress": {"max_body": 1}}, {"ingress": []}, {}],
)
def test_a_wrong_change_of_the_ingress_changes_nothing(admin: Client, blog: str, change: dict[str, object]) -> None:
    before = admin("GET", f"/apps/{blog}").get_json()
    assert admin.code("PATCH", f"/apps/{blog}", change | {"limits": {"tasks_max": 99}} if change else {})[0] == 400
    assert admin("GET", f"/apps/{blog}").get_json() == before


def test_one_caller_does_not_take_all_places_for_slow_requests(
    deployer: Client, admin: Client, deployed: str, core: Core, token: Callable[..., str]
) -> None:
    """Else ten restarts with a deploy token make everybody else's fail."""
    other = Client(deployer.app, token("deploy"))
    with contextlib.ExitStack() as stack:
        caller = Holder(f"token:{Token.get(Token.name == 'deploy token').id}")
        for _ in range(core.slow.most // 2):
            stack.enter_context(core.slow_request(caller))
        answers = {client.code("POST", f"/apps/{deployed}/restart") for client in (deployer,)}
        assert answers == {(429, "too_many_requests")}
        assert admin("POST", f"/apps/{deployed}/restart").status_code == 200
    assert other("POST", f"/apps/{deployed}/restart").status_code == 200
    assert deployer("POST", f"/apps/{deployed}/restart").status_code == 200
