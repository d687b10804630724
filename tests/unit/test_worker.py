"""The queue and the engine over a played systemd: accepted means it ends, a failure leaves the old release serving."""

from __future__ import annotations

import dataclasses
import http.client
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rustploy_agent import activation, apps, environment, events, routes
from rustploy_agent.clock import now_ms
from rustploy_agent.core import Core
from rustploy_agent.desired import Applier
from rustploy_agent.errors import Conflict
from rustploy_agent.models import App, Deployment, Domain, Process, Release, Slug, database
from rustploy_agent.settle import settle
from rustploy_agent.worker import BACKOFF_MS, Worker
from tests.unit.caddy import Caddy
from tests.unit.manager import Manager, Unit
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
BUILD = "rustploy-build@blog.service"
Deploy = Callable[..., Deployment]


def importable(name: str, core: Core) -> App:
    app = apps.create(name, core.settings, core.systemd, core.applier)
    app.repository, app.source = {"clone_url": f"https://git.example.org/anna/{name}.git"}, {}
    app.save()
    return app


@pytest.fixture
def app(core: Core) -> App:
    return importable("blog", core)


@pytest.fixture
def deploy(core: Core, app: App) -> Deploy:
    """Queues a deployment and waits for its end."""
    core.worker.start()

    def run(**wishes: object) -> Deployment:
        deployment = Deployment(app=app, **wishes)
        core.worker.enqueue(deployment)
        return ended(deployment.id)

    return run


def answer(app: App) -> int:
    """What the app's address answers."""
    connection = http.client.HTTPConnection("127.0.0.1", activation.web_port(App.get_by_id(app.id)), timeout=2)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_deployment_goes_through_its_steps_and_serves(app: App, deploy: Deploy) -> None:
    seen: list[str] = []

    def note(_: object, step: str) -> None:
        seen.append(step)

    with events.step_started.connected_to(note):
        deployment = deploy()
        until(lambda: "prune" in seen)
    assert (deployment.status, deployment.attempt) == ("healthy", 1)
    assert seen == ["fetch", "detect", "build", "start", "health", "switch", "drain", "prune"]
    assert answer(app) == 200


def test_the_new_process_is_set_up_while_the_source_is_fetched(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    """Else a deployment takes a sandbox's time longer; what waits must run nothing, and be gone if it was in vain."""
    assert deploy().status == "healthy"
    manager.gate.clear()
    deployment = Deployment(app=app, force_rebuild=True)
    core.worker.enqueue(deployment)
    until(lambda: "rustploy-app@blog-web-b.service" in manager.running())
    assert Deployment.get_by_id(deployment.id).step == "fetch"
    assert (core.settings.paths.app("blog") / "slots" / "web-b.env").is_fifo()
    core.worker.cancel(deployment)
    manager.gate.set()
    assert ended(deployment.id).error_code == "cancelled"
    until(lambda: manager.running() == {"rustploy-app@blog-web-a.service"})
    assert not (core.settings.paths.app("blog") / "slots" / "web-b.env").exists()


def building(core: Core, app: App, manager: Manager) -> Deployment:
    """A deployment whose build has left its result, and goes on until `built`."""
    manager.build_goes_on = True
    deployment = Deployment(app=app)
    core.worker.enqueue(deployment)
    until(lambda: manager.units.get(BUILD, Unit()).active == "active")
    return deployment


def built(manager: Manager, deployment: Deployment) -> Deployment:
    manager.units[BUILD].active = "inactive"
    return ended(deployment.id)


def test_a_builds_result_is_not_used_before_its_unit_has_ended(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    """Else a build that goes on after its result could change what was sealed after it was looked at."""
    deployment = building(core, app, manager)
    time.sleep(0.5)
    assert Deployment.get_by_id(deployment.id).step == "build"
    assert built(manager, deployment).status == "healthy"


def test_a_result_that_a_build_leaves_early_does_not_have_systemd_asked_all_the_time(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    """PID 1, which every app of the host needs, would be busy as long as a hostile build wants it to."""
    deployment = building(core, app, manager)
    before = manager.asked
    time.sleep(0.5)
    assert manager.asked - before < 200
    assert built(manager, deployment).status == "healthy"


def test_a_fetchs_result_is_used_at_once(core: Core, app: App, deploy: Deploy, manager: Manager) -> None:
    """It ran nothing of anybody, and its unit's end takes systemd a moment that everybody would wait for."""
    manager.gate.clear()
    deployment = Deployment(app=app)
    core.worker.enqueue(deployment)
    until(lambda: manager.units.get("rustploy-fetch@blog.service", Unit()).active == "activating")
    manager._fetch("blog")
    assert ended(deployment.id).status == "healthy"
    manager.units["rustploy-fetch@blog.service"] = Unit()


def test_what_a_build_leaves_in_the_place_of_a_fetchs_result_is_not_taken_for_it(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    """A directory that the fetch must clear away first changes as it does so; each deployment after it would fail."""
    manager.gate.clear()
    result = core.settings.paths.app("blog") / "results" / "fetch.json"
    result.mkdir()
    (result / "something").touch()
    deployment = Deployment(app=app)
    core.worker.enqueue(deployment)
    until(lambda: manager.units.get("rustploy-fetch@blog.service", Unit()).active == "activating")
    (result / "something").unlink()
    time.sleep(0.1)
    result.rmdir()
    manager.gate.set()
    assert ended(deployment.id).status == "healthy"


def test_only_steps_are_not_waited_for_on_disk(core: Core, app: App, deploy: Deploy) -> None:
    """Else a power cut right after `healthy` forgets the release that serves."""
    seen: dict[str, int] = {}

    def note(_: object, step: str = "healthy") -> None:
        seen[step] = database.execute_sql("PRAGMA synchronous").fetchone()[0]

    with events.step_started.connected_to(note), events.deployment_finished.connected_to(note):
        assert deploy().status == "healthy"
        until(lambda: "healthy" in seen)
    full, normal = 2, 1
    assert (seen["build"], seen["switch"], seen["healthy"]) == (normal, full, full)


def test_a_process_that_a_release_no_longer_has_does_not_go_on_waiting(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    manager.built = {"procfile": "web: answer 200\nworker: answer 200"}
    assert deploy().status == "healthy"
    assert "rustploy-app@blog-worker-a.service" in manager.running()
    manager.built = {}
    assert deploy(force_rebuild=True).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-b.service"})
    assert [path.name for path in (core.settings.paths.app("blog") / "slots").iterdir()] == ["web-b.env"]


def test_each_deployment_takes_the_other_slot_and_stops_the_old_one(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    for slot in ("a", "b", "a"):
        assert deploy(force_rebuild=True).status == "healthy"
        until(lambda slot=slot: manager.running() == {f"rustploy-app@blog-web-{slot}.service"})
        files = core.settings.paths.app("blog") / "slots"
        assert [path.name for path in files.glob("web-*.env")] == [f"web-{slot}.env"]


def test_a_commit_that_is_built_is_not_built_again_unless_asked(deploy: Deploy, manager: Manager) -> None:
    build = ("start", "rustploy-build@blog.service")
    for wish, builds in (({}, 1), ({}, 1), ({"force_rebuild": True}, 2)):
        assert deploy(**wish).status == "healthy"
        assert manager.calls.count(build) == builds


FAILURES = {
    "build_failed": {"built": {"ok": False, "code": "build_failed", "message": "no such package"}},
    "exited": {"built": {"release": "default_process_types: {web: missing}"}},
    "unhealthy": {"built": {"release": "default_process_types: {web: answer 500}"}},
    "no_process": {"built": {"release": "", "procfile": "release: true"}},
    "release_failed": {"built": {"procfile": "web: answer 200\nrelease: false"}},
    "no_buildpack": {"fetched": {"buildpack": None}},
    "ref_not_found": {"fetched": {"ok": False, "code": "ref_not_found", "message": "no such branch"}},
    "invalid_manifest": {"fetched": {"manifest": "version: 1\nbuild: {mode: 7}"}},
    "fetch_failed": {"fetched": {"commit": "not a commit"}},
    "build_out": {"built": {"ok": False, "code": "build_out", "message": "\ud800"}},
}


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_has_its_code_and_leaves_the_old_release_serving(
    code: str, core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    object.__setattr__(core.settings, "timeouts", dataclasses.replace(core.settings.timeouts, health=1))
    good = deploy()
    assert good.status == "healthy"
    until(lambda: Deployment.get_by_id(good.id).step == "prune")
    for name, value in FAILURES[code].items():
        setattr(manager, name, value)
    failed = deploy(force_rebuild=True)
    assert (failed.status, failed.error_code) == ("failed", code), failed.last_error
    assert failed.last_error
    assert answer(app) == 200
    assert manager.running() == {"rustploy-app@blog-web-a.service"}
    assert App.get().active_release_id == good.release_id
    assert not list((core.settings.paths.app("blog") / "slots").glob("web-b.env"))
    assert Slug.select().where(Slug.state == "building").count() == 0


def test_a_release_keeps_the_health_check_it_was_made_with(app: App, deploy: Deploy, manager: Manager) -> None:
    """Else a rollback in trouble fails by a check that was changed for the release that made the trouble."""
    App.update(runtime={"healthcheck_status": 503}).execute()
    manager.built = {"release": "default_process_types: {web: answer 503}"}
    first = deploy()
    assert (first.status, answer(app)) == ("healthy", 503), first.last_error
    App.update(runtime={"healthcheck_timeout_seconds": 1}).execute()
    failed = deploy(force_rebuild=True)
    assert failed.error_code == "unhealthy"
    assert " was not healthy within 1 s; " in failed.last_error and "the last: status 503" in failed.last_error
    manager.built = {"release": "default_process_types: {web: answer 200}"}
    assert deploy(force_rebuild=True).status == "healthy"
    back = deploy(kind="rollback", target_release_id=first.release_id)
    assert (back.status, answer(app)) == ("healthy", 503), back.last_error


def test_a_failed_clean_up_still_ends_the_deployment(core: Core, deploy: Deploy, manager: Manager) -> None:
    """A full disk fails the deployment and then its clean-up; the app must not be `deploying` for ever."""
    manager.built = {"ok": False, "code": "disk_full", "message": "no space left on device"}

    def refuse_writing(_: object, step: str) -> None:
        if step == "build":
            core.settings.paths.desired.unlink()
            core.settings.paths.desired.mkdir()

    with events.step_started.connected_to(refuse_writing):
        assert deploy().error_code == "disk_full"


def test_what_may_heal_is_tried_again_later(core: Core, app: App, manager: Manager) -> None:
    manager.fetched = {"ok": False, "code": "host_unreachable", "message": "no route", "retryable": True}
    core.worker.start()
    deployment = Deployment(app=app)
    core.worker.enqueue(deployment)
    until(lambda: Deployment.get_by_id(deployment.id).status == "retrying")
    found = Deployment.get_by_id(deployment.id)
    assert (found.error_code, found.attempt) == ("host_unreachable", 1)
    assert found.not_before_unix_ms - found.updated_at_unix_ms == pytest.approx(BACKOFF_MS, abs=1000)
    manager.fetched = {}
    Deployment.update(not_before_unix_ms=0).execute()
    core.worker.wake()
    assert ended(deployment.id).status == "healthy"


def test_it_is_not_tried_for_ever(core: Core, app: App, manager: Manager) -> None:
    manager.fetched = {"ok": False, "code": "host_unreachable", "message": "no route", "retryable": True}
    core.worker.start()
    deployment = Deployment(app=app, attempt=core.settings.attempts - 1)
    core.worker.enqueue(deployment)
    assert ended(deployment.id).error_code == "host_unreachable"


def test_an_older_deployment_gives_way_instead_of_being_tried_again_after_a_newer(
    core: Core, app: App, manager: Manager
) -> None:
    manager.fetched = {"ok": False, "code": "host_unreachable", "message": "no route", "retryable": True}
    manager.gate.clear()
    core.worker.start()
    older, newer = Deployment(app=app), Deployment(app=app)
    core.worker.enqueue(older)
    until(lambda: Deployment.get_by_id(older.id).step == "fetch")
    core.worker.enqueue(newer)
    manager.gate.set()
    assert ended(older.id).error_code == "superseded"


def test_one_app_is_never_deployed_twice_at_once(core: Core, app: App, manager: Manager) -> None:
    manager.gate.clear()
    core.worker.start()
    first, second = Deployment(app=app), Deployment(app=app)
    core.worker.enqueue(first)
    until(lambda: Deployment.get_by_id(first.id).step == "fetch")
    core.worker.enqueue(second)
    assert Deployment.get_by_id(second.id).status == "queued"
    with pytest.raises(Conflict), core.worker.hold(app.id, 0.1):
        pass
    manager.gate.set()
    assert ended(first.id).status == ended(second.id).status == "healthy"


def test_a_rollback_does_not_wait_for_other_apps_builds(core: Core, app: App, deploy: Deploy, manager: Manager) -> None:
    """Somebody's visitors get errors meanwhile; a fetch or a build may take its whole deadline."""
    first = deploy()
    assert first.status == deploy(force_rebuild=True).status == "healthy"
    manager.gate.clear()
    slow = [Deployment(app=importable(f"slow{number}", core)) for number in range(core.settings.concurrency)]
    for deployment in slow:
        core.worker.enqueue(deployment)
    for deployment in slow:
        until(lambda which=deployment.id: Deployment.get_by_id(which).step == "fetch")
    more = Deployment(app=importable("more", core))
    core.worker.enqueue(more)
    assert deploy(kind="rollback", target_release_id=first.release_id).status == "healthy"
    assert Deployment.get_by_id(more.id).status == "queued"
    manager.gate.set()
    assert {ended(deployment.id).status for deployment in [*slow, more]} == {"healthy"}


def test_the_place_of_a_deployment_is_free_at_the_switch(
    core: Core, app: App, deploy: Deploy, manager: Manager
) -> None:
    """Else requests that take their time on the old releases of two apps keep everybody else from deploying."""
    go_on = threading.Event()

    def deployed(one: App) -> None:
        deployment = Deployment(app=one, force_rebuild=True)
        core.worker.enqueue(deployment)
        assert ended(deployment.id).status == "healthy"

    draining = [app, *(importable(f"old{number}", core) for number in range(core.settings.concurrency - 1))]
    for one in draining:
        deployed(one)
    manager.before_stop = lambda name: None if go_on.wait(20 if "-web-a" in name else 0) else None
    for one in draining:
        deployed(one)
        until(lambda old=f"rustploy-app@{one.name}-web-a.service": ("stop", old) in manager.calls)
    deployed(importable("more", core))
    following = Deployment(app=app, force_rebuild=True)
    core.worker.enqueue(following)
    time.sleep(0.2)
    assert Deployment.get_by_id(following.id).status == "queued", "two deployments of one app at once"
    go_on.set()
    assert ended(following.id).status == "healthy"


def test_an_app_s_environment_reaches_its_slot_and_nothing_else(core: Core, app: App, deploy: Deploy) -> None:
    environment.change(app, {"SECRET": "it's"}, core.settings.paths)
    assert deploy().status == "healthy"
    home = core.settings.paths.app("blog")
    holding = [path for path in home.rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()]
    assert holding == [home / "slots" / "web-a.env"]
    assert b"SECRET" not in core.settings.paths.desired.read_bytes()


class TestAfterACrash:
    """The agent was killed; what it left is put into the database and on the disk by hand, then it starts."""

    @pytest.mark.parametrize("step", ["fetch", "build", "start", "health"])
    def test_a_deployment_before_its_switch_is_done_again(
        self, step: str, core: Core, app: App, deploy: Deploy, manager: Manager
    ) -> None:
        assert deploy().status == "healthy"
        core.worker.stop()
        broken = Deployment.create(app=app, status="deploying", step=step, attempt=1)
        manager.units["rustploy-app@blog-web-b.service"] = dataclasses.replace(
            manager.units["rustploy-app@blog-web-a.service"], server=None
        )
        settle(core.settings, core.systemd, core.applier)
        found = Deployment.get_by_id(broken.id)
        assert (found.status, found.error_code) == ("retrying", "interrupted")
        assert manager.running() == {"rustploy-app@blog-web-a.service"}
        worker = Worker(core.settings, core.systemd, core.applier)
        worker.start()
        assert ended(broken.id).status == "healthy"
        worker.stop()

    def test_one_that_keeps_being_interrupted_fails(self, core: Core, app: App) -> None:
        broken = Deployment.create(app=app, status="deploying", step="build", attempt=core.settings.attempts)
        settle(core.settings, core.systemd, core.applier)
        assert Deployment.get_by_id(broken.id).status == "failed"

    def test_one_that_was_being_cancelled_stays_cancelled(self, core: Core, app: App) -> None:
        broken = Deployment.create(app=app, status="deploying", step="build", attempt=1, cancel_requested=True)
        settle(core.settings, core.systemd, core.applier)
        assert Deployment.get_by_id(broken.id).error_code == "cancelled"

    @pytest.mark.parametrize("followed", [False, True])
    def test_an_old_slot_that_was_still_draining_is_stopped(
        self, followed: bool, core: Core, app: App, deploy: Deploy, manager: Manager
    ) -> None:
        """Else its workers run twice, also when another deployment has ended since, without ever having begun."""
        good = deploy()
        until(lambda: Deployment.get_by_id(good.id).step == "prune")
        manager.units["rustploy-app@blog-web-b.service"] = dataclasses.replace(
            manager.units["rustploy-app@blog-web-a.service"], server=None
        )
        Deployment.update(step="drain").execute()
        if followed:
            Deployment.create(app=app, status="failed", error_code="cancelled")
        settle(core.settings, core.systemd, core.applier)
        assert manager.running() == {"rustploy-app@blog-web-a.service"}
        assert answer(app) == 200

    def test_systemd_is_asked_once_about_all_apps(self, core: Core, app: App, manager: Manager) -> None:
        """Else a start of the agent takes longer with each app, and nobody deploys meanwhile."""
        for number in range(5):
            importable(f"more{number}", core)
        before = manager.asked
        settle(core.settings, core.systemd, core.applier)
        assert manager.asked == before + 1

    def test_what_was_left_is_stopped_though_systemd_does_not_list_units(
        self, core: Core, app: App, deploy: Deploy, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else an old release goes on beside the new one."""
        assert deploy().status == deploy(force_rebuild=True).status == "healthy"
        with core.worker.hold(app.id, 20):
            old = "rustploy-app@blog-web-a.service"
            manager.units[old] = Unit(active="active", sub="running")
            monkeypatch.setattr(manager, "ListUnitsByPatterns", None)
            settle(core.settings, core.systemd, core.applier)
        assert manager.running() == {"rustploy-app@blog-web-b.service"}

    def test_a_removal_is_carried_on(self, core: Core, app: App) -> None:
        App.update(deleting=True).execute()
        settle(core.settings, core.systemd, core.applier)
        assert App.select().count() == 0
        assert not core.settings.paths.app("blog").exists()

    def test_nothing_that_cannot_be_settled_keeps_the_agent_from_starting(
        self, core: Core, app: App, manager: Manager
    ) -> None:
        broken = Deployment.create(app=app, status="deploying", step="build", attempt=1)
        core.settings.paths.desired.unlink()
        core.settings.paths.desired.mkdir()
        App.update(limits={"tasks_max": 9}).execute()
        settle(core.settings, core.systemd, core.applier)
        assert Deployment.get_by_id(broken.id).status == "retrying"

    def test_what_waited_goes_on_with_a_new_worker(self, core: Core, app: App) -> None:
        waiting = Deployment(app=app)
        core.worker.enqueue(waiting)
        worker = Worker(core.settings, core.systemd, Applier(core.settings, core.systemd))
        worker.start()
        assert ended(waiting.id).status == "healthy"
        worker.stop()
        assert Release.select().count() == 1
        assert Process.select().count() == 1


def test_a_switch_that_fails_at_its_last_moment_is_taken_back(
    core: Core, app: App, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else visitors are sent to a release that is stopped next, because its deployment failed."""
    assert deploy().status == "healthy"
    directory, point = core.settings.paths.routes, routes.point

    def cut(*arguments: Any) -> None:
        monkeypatch.setattr(routes, "point", point)
        point(*arguments)
        assert (directory / "blog.b").exists()
        raise OSError("no space left on device")

    monkeypatch.setattr(routes, "point", cut)
    assert deploy(force_rebuild=True).status == "failed"
    assert not (directory / "blog.b").exists() and (directory / "blog.open").exists()
    assert answer(app) == 200


def test_process_types_that_come_and_go_reach_the_ingress(core: Core, app: App, ingress: Caddy) -> None:
    """Else an app that becomes a web app has no route at its switch."""
    Domain.create(app=app, name="www.example.org")
    events.processes_changed.send(app)
    assert "www.example.org" in str(ingress.document)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_clock_that_was_set_back_makes_no_end_before_its_beginning(
    core: Core, app: App, deploy: Deploy, manager: Manager, monkeypatch: pytest.MonkeyPatch, succeeds: bool
) -> None:
    """Else dashboards show deployments of minus an hour, and lists have their order from nowhere."""
    if not succeeds:
        manager.built = {"ok": False, "code": "build_failed", "message": "no"}
    real = time.time_ns
    core.worker.enqueue(later := Deployment(app=app, created_at_unix_ms=0))
    ended(later.id)
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    done = Deployment.get_by_id(deploy().id)
    assert done.status == ("healthy" if succeeds else "failed")
    assert done.created_at_unix_ms <= done.updated_at_unix_ms <= done.finished_at_unix_ms


def test_a_pause_before_a_retry_does_not_grow_with_a_clock_that_was_set_back(core: Core, app: App) -> None:
    """Else a deployment that waits five seconds waits as long as the clock was wrong."""
    deployment = Deployment(app=app, status="retrying", attempt=1, not_before_unix_ms=now_ms() + 3_600_000)
    deployment.save(force_insert=True)
    core.worker.start()
    assert ended(deployment.id).status == "healthy"
