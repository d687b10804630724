"""A deployment of what serves already: nothing is stopped, started or built, unless something would be different."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from rustploy_agent import apps, environment, vault
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Release
from tests.unit.manager import Manager, Unit
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
Deploy = Callable[..., Deployment]
SERVING = "rustploy-app@blog-web-a.service"
BUILD = ("start", "rustploy-build@blog.service")


@pytest.fixture
def deploy(core: Core) -> Deploy:
    """Queues a deployment of the app and waits until it is settled."""
    app = apps.create("blog", core.settings, core.systemd, core.applier)
    App.update(repository={"clone_url": "https://git.example.org/anna/blog.git"}, source={}).execute()
    core.worker.start()

    def run(**wishes: object) -> Deployment:
        deployment = Deployment(app=app, **wishes)
        core.worker.enqueue(deployment)
        found = ended(deployment.id)
        until(lambda: Deployment.get_by_id(found.id).step == "prune" or found.status == "failed")
        with core.worker.hold(app.id, 10):
            pass
        return found

    return run


@pytest.fixture
def first(deploy: Deploy) -> Deployment:
    found = deploy()
    assert (found.status, found.outcome) == ("healthy", "released")
    return found


def test_the_same_again_changes_nothing(first: Deployment, deploy: Deploy, manager: Manager) -> None:
    """Else each push of a tag, and each run of a pipeline again, restarts the app."""
    calls = len(manager.calls)
    again = deploy(requested_commit=first.commit_sha)
    assert (again.status, again.outcome, again.commit_sha) == ("healthy", "unchanged", first.commit_sha)
    units = [name for _, name in manager.calls[calls:]]
    idle = "rustploy-app@blog-web-b.service"
    assert set(units) <= {"rustploy-fetch@blog.service", "rustploy-apply.service", idle}
    assert manager.running() == {SERVING}, "what waited to take its place is stopped"
    assert Release.select().count() == 1
    assert again.release_id == first.release_id, "a rollback to either goes to the release that served"


def changed_environment(core: Core, manager: Manager) -> None:
    environment.change(App.get(), {"A": "1"}, core.settings.paths)


def changed_health_path(core: Core, manager: Manager) -> None:
    App.update(runtime={"healthcheck_path": "/other"}).execute()


def changed_health_status(core: Core, manager: Manager) -> None:
    App.update(runtime={"healthcheck_status": 200}).execute()


def ended_process(core: Core, manager: Manager) -> None:
    manager.StopUnit(SERVING, "replace", timeout=1)


def restarting_process(core: Core, manager: Manager) -> None:
    manager.StopUnit(SERVING, "replace", timeout=1)
    manager.units[SERVING] = Unit("activating", "auto-restart")


def crash_loop(core: Core, manager: Manager) -> None:
    """It has just been started again, for the third time, and answers for a moment."""
    manager.units[SERVING].restarts, manager.units[SERVING].started = 3, time.monotonic()


def silent_process(core: Core, manager: Manager) -> None:
    server = manager.units[SERVING].server
    assert server is not None
    server.shutdown()
    server.server_close()


def lost_slot_file(core: Core, manager: Manager) -> None:
    (core.settings.paths.app("blog") / "slots" / "web-a.env").unlink()


def replaced_key(core: Core, manager: Manager) -> None:
    vault.replace_key(core.settings.paths)


def named_buildpack(core: Core, manager: Manager) -> None:
    """The one that was detected before: the same build."""
    App.update(build_mode="static").execute()
    changed_environment(core, manager)


@pytest.mark.parametrize(
    "change",
    [
        changed_environment,
        changed_health_path,
        changed_health_status,
        ended_process,
        restarting_process,
        crash_loop,
        silent_process,
        lost_slot_file,
        replaced_key,
        named_buildpack,
    ],
)
def test_another_configuration_or_an_app_that_is_down_is_restarted_without_a_build(
    change: Callable[[Core, Manager], None], core: Core, first: Deployment, deploy: Deploy, manager: Manager
) -> None:
    builds = manager.calls.count(BUILD)
    change(core, manager)
    again = deploy()
    assert (again.status, again.outcome) == ("healthy", "restarted"), again.last_error
    assert manager.calls.count(BUILD) == builds
    assert manager.running() == {"rustploy-app@blog-web-b.service"}


def test_a_forced_rebuild_builds_and_empties_the_cache(first: Deployment, deploy: Deploy, manager: Manager) -> None:
    assert deploy(force_rebuild=True).outcome == "released"
    assert manager.jobs[-1]["build"]["empty_cache"] is True
    assert manager.jobs[-1]["build"]["kept_slugs"] == []


def test_after_a_crash_loop_a_first_answer_is_not_enough(first: Deployment, deploy: Deploy, manager: Manager) -> None:
    """Else an app that answers for half a second after each start is called healthy, and visitors get 502."""
    crash_loop(None, manager)  # type: ignore[arg-type]
    idle = "rustploy-app@blog-web-b.service"

    def crash() -> None:
        until(lambda: Deployment.select().where(Deployment.step == "health").exists() and idle in manager.running())
        time.sleep(0.5)  # it has answered by then
        manager.units[idle].active, manager.units[idle].sub = "activating", "auto-restart"

    thread = threading.Thread(target=crash)
    thread.start()
    again = deploy()
    thread.join()
    assert (again.status, again.error_code) == ("failed", "exited")


def test_what_crashed_once_and_has_run_since_is_left_alone(first: Deployment, deploy: Deploy, manager: Manager) -> None:
    """Else an app that recovered months ago is restarted by each push of a tag."""
    manager.units[SERVING].restarts, manager.units[SERVING].started = 1, time.monotonic() - 60
    assert deploy().outcome == "unchanged"


def test_another_commit_is_released(first: Deployment, deploy: Deploy, manager: Manager) -> None:
    assert deploy(requested_commit="2" * 40).outcome == "released"
    assert manager.jobs[-1]["build"]["empty_cache"] is False
    assert manager.jobs[-2]["fetch"]["inspect_only"] is False, "a deployment's fetch builds what it can"


def test_a_rollback_after_an_unchanged_one_goes_one_release_back(
    first: Deployment, deploy: Deploy, manager: Manager
) -> None:
    deploy(requested_commit="2" * 40)
    assert deploy(requested_commit="2" * 40).outcome == "unchanged"
    back = deploy(kind="rollback", target_release_id=first.release_id, release_id=first.release_id)
    assert (back.status, back.outcome) == ("healthy", "restarted")
    assert App.get().active_release_id == first.release_id


def test_without_its_key_nothing_is_deployed_and_the_old_release_serves(
    core: Core, first: Deployment, deploy: Deploy, manager: Manager
) -> None:
    """Never an app with an empty environment."""
    core.settings.paths.vault_key.unlink()
    for wish in ({}, {"force_rebuild": True}, {"kind": "rollback", "target_release_id": first.release_id}):
        failed = deploy(**wish)
        assert (failed.status, failed.error_code) == ("failed", "environment_unreadable")
        assert manager.running() == {SERVING}
