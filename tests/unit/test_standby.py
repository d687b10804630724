"""What waits for an app's next deployment serves that one, nobody else, and stands in nobody's way."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rustploy_agent import apps, config, settle
from rustploy_agent.builder import job
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment
from tests.unit.manager import COMMIT, Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
FETCH, BUILD = "rustploy-fetch@blog.service", "rustploy-build@blog.service"


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
    return {name for name in manager.running() if "app@" not in name}


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


def test_a_failed_deployment_is_followed_by_one_soon(core: Core, manager: Manager, app: App) -> None:
    manager.fetched = {"ok": False, "code": "ref_not_found", "message": "no such branch", "retryable": False}
    assert deployed(core, app).error_code == "ref_not_found"
    assert waiting(manager) == {FETCH}
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
        core.worker.stand_by(app)
    assert FETCH not in manager.running()
    manager.gate.set()
    ended(under_way.id)


def test_after_a_while_nothing_waits_any_more(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the memory is gone until the next deployment, which may be next year's."""
    timers: list[threading.Timer] = []
    real = threading.Timer

    def timer(seconds: float, *rest: object) -> threading.Timer:
        assert seconds == 600
        timers.append(real(0.3, *rest))  # type: ignore[arg-type]
        return timers[-1]

    monkeypatch.setattr(threading, "Timer", timer)
    deployed(core, app)
    assert waiting(manager) == {FETCH, BUILD}
    with core.worker.hold(app.id, 1):
        timers[0].join()
        assert waiting(manager) == {FETCH, BUILD}, "not while something is done with the app"
    until(lambda: waiting(manager) == set())
    assert deployed(core, app).status == "healthy"


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
    assert waiting(manager) == set()
    assert not list((core.settings.paths.app("blog") / "jobs").iterdir())


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


def test_a_full_disk_costs_the_next_deployment_a_moment_only(
    core: Core, manager: Manager, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "mkfifo", full)
    with core.worker.hold(app.id, 1):
        core.worker.stand_by(app)
    assert waiting(manager) == set()


def test_the_program_waits_for_its_job_and_takes_nothing_else_for_it(tmp_path: Path) -> None:
    """Nor does it go on when the agent dies between opening the pipe and writing the job."""
    path, found = tmp_path / "fetch.json", []
    os.mkfifo(path)
    waiter = threading.Thread(target=lambda: found.append(job.await_regular(str(path))), daemon=True)
    waiter.start()
    os.close(os.open(path, os.O_RDWR))
    waiter.join(0.1)
    assert waiter.is_alive()
    pipe = os.open(path, os.O_RDWR)
    (tmp_path / "new").write_bytes(COMMIT.encode())
    (tmp_path / "new").rename(path)
    os.close(pipe)
    waiter.join(10)
    assert found == [COMMIT.encode()]
