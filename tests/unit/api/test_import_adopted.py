"""Import after a lost database: the old release runs in slot b, its data lies there, and the agent knows of neither."""

from __future__ import annotations

import pytest

from rustploy_agent import apps
from rustploy_agent.core import Core
from rustploy_agent.errors import ApplyFailed
from rustploy_agent.models import App, Process
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def lost(core: Core, admin: Client, blog: str, manager: Manager) -> None:
    core.worker.start()
    for _ in range(2):
        accepted = admin("POST", f"/apps/{blog}/deployments", {"force_rebuild": True})
        assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-b.service"})
    (core.settings.paths.app("blog") / "data" / "precious").write_text("data")
    with core.worker.hold(blog, 10):
        apps._forget(App.get())


def test_an_import_and_a_failing_deployment_leave_the_old_release_running(admin: Client, manager: Manager) -> None:
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    manager.built = {"ok": False, "code": "build_failed", "message": "no"}
    accepted = admin("POST", "/apps/blog/deployments")
    assert ended(accepted.get_json()["deployment_id"]).error_code == "build_failed"
    assert manager.running() == {"rustploy-app@blog-web-b.service"}


def test_the_next_release_takes_its_place(admin: Client, manager: Manager) -> None:
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    accepted = admin("POST", "/apps/blog/deployments")
    assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-a.service"})


def test_a_refused_import_removes_nothing(admin: Client, core: Core, manager: Manager) -> None:
    """Else a typing error in an address deletes the app's data."""
    manager.fetched = {"ok": False, "code": "repository_not_found", "message": "no"}
    assert admin.code("POST", "/apps/import", {"repository": REPOSITORY}) == (400, "repository_not_found")
    assert (core.settings.paths.app("blog") / "data" / "precious").exists()
    assert manager.running() == {"rustploy-app@blog-web-b.service"}
    assert App.select().count() == 0


def test_a_refusing_apply_removes_nothing(core: Core, manager: Manager) -> None:
    manager.refused = {"blog": "no"}
    with pytest.raises(ApplyFailed):
        apps.create("blog", core.settings, core.systemd, core.applier)
    assert (core.settings.paths.app("blog") / "data" / "precious").exists()


def test_other_processes_of_it_keep_their_units(core: Core) -> None:
    """apply stops the units of process types that are not wished for."""
    (core.settings.paths.app("blog") / "slots" / "clock-b.env").write_text("")
    apps.create("blog", core.settings, core.systemd, core.applier)
    assert {process.type for process in Process.select()} == {"web", "clock"}
