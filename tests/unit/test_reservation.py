"""A deployment begins without an apply run, and its app's units carry its id whichever way it got it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rustploy_agent import apps
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes


@pytest.fixture
def app(core: Core) -> App:
    app = apps.create("blog", core.settings, core.systemd, core.applier)
    App.update(repository={"clone_url": "https://git.example.org/anna/blog.git"}, source={}).execute()
    found: App = App.get_by_id(app.id)
    return found


def queued(core: Core, app: App, **wishes: Any) -> Deployment:
    deployment = Deployment(app=app, **wishes)
    core.worker.enqueue(deployment)
    return deployment


def wished(core: Core) -> dict[str, Any]:
    """What apply was told last about the app."""
    wish: dict[str, Any] = json.loads(core.settings.paths.desired.read_bytes())["apps"][0]
    return wish


def carried(core: Core, slot: str) -> str:
    return str(wished(core)["processes"][0]["slots"][slot]["deployment_id"])


def finished(core: Core, deployment: Deployment) -> Deployment:
    """The deployment when everything after its switch is done too."""
    found = ended(deployment.id)
    with core.worker.hold(found.app_id, 10):
        return found


def deployed(core: Core, app: App) -> Deployment:
    deployment = finished(core, queued(core, app, force_rebuild=True))
    assert deployment.status == "healthy"
    return deployment


def test_no_deployment_waits_for_apply(core: Core, app: App, manager: Manager) -> None:
    """apply reloads systemd's units, which costs more than the whole deployment of a page."""
    core.worker.start()
    for slot in ("a", "b", "a"):
        before = len(manager.calls)
        deployment = deployed(core, app)
        calls = [name for verb, name in manager.calls[before:] if verb == "start"]
        assert calls[0] == "rustploy-fetch@blog.service"
        assert set(calls[1:3]) == {"rustploy-build@blog.service", f"rustploy-app@blog-web-{slot}.service"}
        assert carried(core, slot) == deployment.id


def test_a_second_request_has_an_id_of_its_own_and_its_units_carry_it(core: Core, app: App) -> None:
    """One id twice would fail the request; with another one, `journalctl RUSTPLOY_DEPLOYMENT=` finds nothing."""
    first, second = queued(core, app), queued(core, app)
    assert first.id != second.id
    core.worker.start()
    assert finished(core, second).status == "healthy"
    assert carried(core, "a") == second.id


def test_a_failed_deployment_s_id_is_not_given_to_the_next(core: Core, app: App, manager: Manager) -> None:
    core.worker.start()
    manager.built = {"ok": False, "code": "build_failed", "message": "it does not compile"}
    failed = finished(core, queued(core, app))
    manager.built = {}
    assert carried(core, "a") != failed.id
    assert deployed(core, app).id != failed.id


def test_the_release_phase_carries_the_deployment_that_it_belongs_to(core: Core, app: App, manager: Manager) -> None:
    manager.gate.clear()
    core.worker.start()
    deployment = queued(core, app)
    until(lambda: Deployment.get_by_id(deployment.id).step == "fetch")
    assert wished(core)["deployment_id"] == deployment.id
    manager.gate.set()
    assert finished(core, deployment).status == "healthy"
