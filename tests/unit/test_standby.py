"""What waits for an app's next deployment serves that one, nobody else, and stands in nobody's way."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rustploy_agent import apps, config, lifecycle, settle, standby, unit_files
from rustploy_agent.builder import job
from rustploy_agent.core import Core
from rustploy_agent.errors import SystemdError
from rustploy_agent.models import App, Deployment
from tests.unit.manager import COMMIT, Manager, Unit
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
FETCH, BUILD = "rustploy-fetch@blog.service", "rustploy-build@blog.service"
WEB = {slot: f"rustploy-app@blog-web-{slot}.service" for slot in "ab"}


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    return dataclasses.replace(settings, standby_minutes=10)


@pytest.fixture
def app(core: Core) -> App:
    core.worker.start()
    return made(core, "blog")


def made(core: Core, name: str) -> App:
    app = apps.create(name, core.settings, core.systemd, core.applier)
    repository = {"clone_url": f"https://git.example.org/anna/{name}.git"}
    App.update(repository=repository, source={}).where(App.id == app.id).execute()
    found: App = App.get_by_id(app.id)
    return found


def deployed(core: Core, app: App) -> Deployment:
    """One that builds, with all that comes after its switch."""
    deployment = Deployment(app=app, force_rebuild=True)
    core.worker.enqueue(deployment)
    found = ended(deployment.id)
    with core.worker.hold(app.id, 10):
        return found


def waiting(manager: Manager) -> set[str]:
    """Units that run, but those of apps."""
    return {name for name in manager.running() if "app@" not in name}


def slot_pipes(core: Core) -> list[str]:
    return sorted(path.name for path in (core.settings.paths.app("blog") / "slots").iterdir() if path.is_fifo())


def asked(manager: Manager, action: Callable[[], object]) -> list[str]:
    before = len(manager.calls)
    action()
    return [f"{verb} {name}" for verb, name in manager.calls[before:] if name in (FETCH, BUILD)]


def test_the_next_deployment_is_handed_to_what_waits(core: Core, manager: Manager, app: App) -> None:
    """Else it sets up two sandboxes and loads two programs first, which is most of what a page takes."""
    assert deployed(core, app).status == "healthy"
    assert waiting(manager) == {FETCH, BUILD}
    calls = asked(manager, lambda: deployed(core, app))
    assert calls == [f"start {FETCH}", f"start {BUILD}"], "nothing but what waits for the one after it"
    assert [sorted(one["app"] for one in manager.jobs), len(manager.jobs)] == [["blog"] * 4, 4]


def test_the_idle_slot_waits_for_the_next_release(core: Core, manager: Manager, app: App) -> None:
    """Else each deployment waits for a sandbox, which takes a small app longer than its start."""
    deployed(core, app)
    assert (manager.running() & set(WEB.values()), slot_pipes(core)) == (set(WEB.values()), ["web-b.env"])
    before = len(manager.calls)
    assert deployed(core, app).status == "healthy"
    assert not {("stop", WEB["b"]), ("start", WEB["b"])} & {*manager.calls[before:]}, "what waited was not used"
    assert App.get_by_id(app.id).active_slot == "b"
    assert (manager.running() & set(WEB.values()), slot_pipes(core)) == (set(WEB.values()), ["web-a.env"])


def test_a_unit_that_was_changed_meanwhile_is_started_anew(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would run with the limits, and log for the deployment, of the time when it was set up."""
    deployed(core, app)
    monkeypatch.setattr(unit_files, "identity", lambda unit: (("changed", 1, 1),))
    before = len(manager.calls)
    assert deployed(core, app).status == "healthy"
    calls = manager.calls[before:]
    assert {("restart", FETCH), ("restart", BUILD), ("stop", WEB["b"])} <= set(calls)
    assert slot_pipes(core) == ["web-a.env"]


def test_what_was_set_up_before_systemd_read_its_files_does_not_wait(core: Core, manager: Manager, app: App) -> None:
    """An operator's change that is loaded a moment later would seem to be in it."""
    manager.outdated = {FETCH, WEB["b"]}
    deployed(core, app)
    assert (manager.running(), slot_pipes(core)) == ({WEB["a"], BUILD}, [])


def test_what_could_not_be_ended_is_tried_again(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without the bus would else leave it for good, and its pipe would have it start at each boot."""

    def fail(unit: str) -> None:
        raise SystemdError("no bus")

    deployed(core, app)
    standing, later = core.worker.standby, time.monotonic() + 601
    monkeypatch.setattr(standby, "time", SimpleNamespace(monotonic=lambda: later))
    with monkeypatch.context() as patched:
        patched.setattr(core.systemd, "stop", fail)
        standing.tidy()
    assert standing._timer is not None and slot_pipes(core) == ["web-b.env"]
    standing.tidy()
    assert (manager.running(), slot_pipes(core), standing._timer) == ({WEB["a"]}, [], None)


def test_a_starting_agent_ends_what_waits_of_an_app_that_was_only_imported(
    core: Core, manager: Manager, app: App
) -> None:
    """Its first deployment may never come, and its idle slot would start at each boot."""
    with core.worker.hold(app.id, 1):
        core.worker.standby.ready(app, ("fetch",))
    assert manager.running() == {FETCH, WEB["a"]}
    settle.settle(core.settings, core.systemd, core.applier)
    assert (manager.running(), slot_pipes(core)) == (set(), [])


def test_a_rollback_takes_what_waits_in_the_idle_slot(core: Core, manager: Manager, app: App) -> None:
    first = deployed(core, app)
    deployed(core, app)
    before = len(manager.calls)
    core.worker.enqueue(back := Deployment(app=app, kind="rollback", target_release_id=first.release_id))
    assert ended(back.id).status == "healthy"
    assert ("stop", WEB["a"]) not in manager.calls[before:]


def test_a_slot_that_is_not_left_yet_is_left_alone(core: Core, manager: Manager, app: App) -> None:
    """Visitors are on its old release, which could not be stopped; it is tried again later."""
    deployed(core, app)
    standing = core.worker.standby
    with core.worker.hold(app.id, 1):
        manager.StopUnit(WEB["b"], "replace", timeout=1)
        (core.settings.paths.app("blog") / "slots" / "web-b.env").unlink()
        manager.units[WEB["b"]] = Unit("active", "running")
        standing.ready(App.get_by_id(app.id), ())
    assert slot_pipes(core) == []


def test_a_stopped_app_has_nothing_that_waits_in_its_slots(core: Core, manager: Manager, app: App) -> None:
    """Who reads the list of units after a stop finds none of it."""
    deployed(core, app)
    lifecycle.stop(app, core)
    assert (manager.running() & set(WEB.values()), slot_pipes(core)) == (set(), [])
    with core.worker.hold(app.id, 1):
        core.worker.standby.ready(App.get_by_id(app.id), ())
    assert slot_pipes(core) == []


def test_a_failed_deployment_is_followed_by_one_soon(core: Core, manager: Manager, app: App) -> None:
    manager.fetched = {"ok": False, "code": "ref_not_found", "message": "no such branch", "retryable": False}
    assert deployed(core, app).error_code == "ref_not_found"
    assert (manager.running(), slot_pipes(core)) == ({FETCH}, []), "a slot that cannot start would try for ever"
    manager.fetched = {}
    assert deployed(core, app).status == "healthy"


def test_only_the_app_that_was_deployed_last_is_waited_for(core: Core, manager: Manager, app: App) -> None:
    """Else each app takes memory for good."""
    deployed(core, app)
    deployed(core, made(core, "shop"))
    assert waiting(manager) == {"rustploy-fetch@shop.service", "rustploy-build@shop.service"}
    assert not list((core.settings.paths.app("blog") / "jobs").iterdir())


def test_nothing_is_set_up_while_others_want_to_be_deployed(core: Core, manager: Manager, app: App) -> None:
    """Twenty apps at once would set up forty sandboxes that nobody uses."""
    shop = made(core, "shop")
    manager.gate.clear()
    under_way = Deployment(app=shop)
    core.worker.enqueue(under_way)
    until(lambda: Deployment.get_by_id(under_way.id).status == "deploying")
    with core.worker.hold(app.id, 1):
        core.worker.standby.ready(app, ("fetch",))
    assert FETCH not in manager.running()
    manager.gate.set()
    ended(under_way.id)


def test_after_a_while_nothing_waits_any_more(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the memory is gone until the next deployment, which may be next year's."""
    deployed(core, app)
    standing = core.worker.standby
    standing.tidy()
    assert waiting(manager) == {FETCH, BUILD}, "it is not time yet"
    later = time.monotonic() + 601
    with monkeypatch.context() as patched:
        patched.setattr(standby, "time", SimpleNamespace(monotonic=lambda: later))
        with core.worker.hold(app.id, 1):
            standing.tidy()
            assert waiting(manager) == {FETCH, BUILD}, "not while something is done with the app"
            assert standing._timer is not None and standing._timer.interval == standby.AGAIN_SECONDS
        standing.tidy()
        assert (waiting(manager), standing._timer, slot_pipes(core)) == (set(), None, [])
        assert manager.running() == {WEB["a"]}, "what serves is not what waits"
    assert deployed(core, app).status == "healthy"


def test_two_apps_that_end_together_leave_only_the_latest_waiting(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is still held when the other takes its place, and must not be forgotten."""
    monkeypatch.setattr(standby, "AGAIN_SECONDS", 0.05)
    deployed(core, app)
    shop = made(core, "shop")
    with core.worker.hold(app.id, 1):
        deployed(core, shop)
        assert waiting(manager) >= {FETCH, BUILD, "rustploy-fetch@shop.service"}
    until(lambda: waiting(manager) == {"rustploy-fetch@shop.service", "rustploy-build@shop.service"})


def test_what_waits_and_is_killed_is_not_waited_for(core: Core, manager: Manager, app: App) -> None:
    """The pipe alone does not say that anybody is there; the deployment would come to its deadline."""
    deployed(core, app)
    for unit in (FETCH, BUILD):
        manager.StopUnit(unit, "replace", timeout=1)
    assert deployed(core, app).status == "healthy"
    assert waiting(manager) == {FETCH, BUILD}


def test_a_starting_agent_ends_what_waited_for_the_one_before_it(core: Core, manager: Manager, app: App) -> None:
    """It was set up by another version, perhaps, or with other settings."""
    deployed(core, app)
    settle.settle(core.settings, core.systemd, core.applier)
    assert manager.running() == {WEB["a"]}
    assert not list((core.settings.paths.app("blog") / "jobs").iterdir())
    assert slot_pipes(core) == []


def test_a_rollback_leaves_what_waits(core: Core, manager: Manager, app: App) -> None:
    first = deployed(core, app)
    deployed(core, app)
    back = Deployment(app=app, kind="rollback", target_release_id=first.release_id, release_id=first.release_id)
    calls = asked(manager, lambda: (core.worker.enqueue(back), ended(back.id)))
    with core.worker.hold(app.id, 10):
        assert (calls, waiting(manager)) == ([], {FETCH, BUILD})


def test_a_removed_app_leaves_nothing_that_waits(core: Core, manager: Manager, app: App) -> None:
    deployed(core, app)
    apps.delete(app, core.settings, core.systemd, core.applier, core.worker)
    assert waiting(manager) == set()


def test_an_app_made_anew_with_the_name_of_a_removed_one_is_left_alone(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of what waited for the removed one would end the build of the other."""
    deployed(core, app)
    apps.delete(app, core.settings, core.systemd, core.applier, core.worker)
    again = made(core, "blog")
    manager.build_goes_on = True
    deployment = Deployment(app=again, force_rebuild=True)
    core.worker.enqueue(deployment)
    until(lambda: manager.units.get(BUILD, Unit()).active == "active")
    later = time.monotonic() + 601
    with monkeypatch.context() as patched:
        patched.setattr(standby, "time", SimpleNamespace(monotonic=lambda: later))
        core.worker.standby.tidy()
    assert BUILD in manager.running()
    manager.units[BUILD].active = "inactive"
    assert ended(deployment.id).status == "healthy"


def test_a_full_disk_costs_the_next_deployment_a_moment_only(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def full(path: Path) -> None:
        tried.append(path)
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkfifo", full)
        with core.worker.hold(app.id, 1):
            core.worker.standby.ready(app, ("fetch",))
    assert (len(tried), waiting(manager)) == (1, set())
    assert deployed(core, app).status == "healthy"


def test_what_is_still_at_work_is_not_taken_for_something_that_waits(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next job would be left with a program that never looks at it, until its deadline."""
    monkeypatch.setattr(standby, "END_SECONDS", 0.05)
    manager.units[FETCH] = Unit("active", "running")
    with core.worker.hold(app.id, 1):
        core.worker.standby.ready(app, ("fetch",))
    assert not list((core.settings.paths.app("blog") / "jobs").iterdir())


def test_a_job_that_a_crash_left_does_not_lie_about(core: Core, manager: Manager, app: App) -> None:
    """It may hold the repository's token."""
    left = core.settings.paths.app("blog") / "jobs" / "fetch.json"
    left.write_text("{}")
    manager.units[FETCH] = Unit("active", "running")
    settle.settle(core.settings, core.systemd, core.applier)
    assert not left.exists()
    assert waiting(manager) == set()


def opened_by_both(path: Path) -> int:
    """Its other end, once somebody reads."""
    opened: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # ENXIO: nobody yet
            opened.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    until(is_read)
    return opened[0]


def test_the_program_waits_for_its_job_and_takes_nothing_else_for_it(tmp_path: Path) -> None:
    """Nor does it go on when the agent dies between opening the pipe and writing the job."""
    path, found = tmp_path / "fetch.json", []
    os.mkfifo(path)
    waiter = threading.Thread(target=lambda: found.append(job.await_regular(str(path))), daemon=True)
    waiter.start()
    os.close(opened_by_both(path))
    waiter.join(0.05)
    assert waiter.is_alive()
    pipe = opened_by_both(path)
    (tmp_path / "new").write_bytes(COMMIT.encode())
    (tmp_path / "new").rename(path)
    os.close(pipe)
    waiter.join(10)
    assert found == [COMMIT.encode()]
