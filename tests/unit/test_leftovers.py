"""After a switch nothing is left running, whatever goes wrong at first."""

from __future__ import annotations

import pytest

from rustploy_agent import apps, events, leftovers
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes


def test_an_old_slot_that_could_not_be_stopped_is_stopped_later(
    core: Core, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else both releases run, and work off one queue, until somebody deploys again."""
    monkeypatch.setattr(leftovers, "FIRST_SECONDS", 0.05)
    app = apps.create("blog", core.settings, core.systemd, core.applier)
    App.update(repository={"clone_url": "https://git.example.org/anna/blog.git"}, source={}).execute()
    core.worker.start()
    first = Deployment(app=app)
    core.worker.enqueue(first)
    until(lambda: Deployment.get_by_id(first.id).step == "prune")
    refusals = iter(range(2))

    def refuse(name: str) -> None:
        if name == "rustploy-app@blog-web-a.service" and next(refusals, None) is not None:
            raise TimeoutError("the manager did not answer")

    manager.before_stop = refuse
    second = Deployment(app=app, force_rebuild=True)
    core.worker.enqueue(second)
    assert ended(second.id).status == "healthy"
    until(lambda: Deployment.get_by_id(second.id).step == "drain")
    until(lambda: manager.running() == {"rustploy-app@blog-web-b.service"})
    until(lambda: Deployment.get_by_id(second.id).step == "prune")
    assert next(refusals, None) is None


def test_who_waits_for_an_end_hears_of_every_end(core: Core) -> None:
    """Of a superseded and a cancelled one too; nobody else will tell."""
    app = apps.create("blog", core.settings, core.systemd, core.applier)
    heard: list[tuple[str, str]] = []

    def note(deployment: Deployment) -> None:
        heard.append((deployment.id, deployment.error_code))

    with events.deployment_finished.connected_to(note):
        older, newer = Deployment(app=app), Deployment(app=app)
        core.worker.enqueue(older)
        core.worker.enqueue(newer)
        core.worker.cancel(newer)
    assert heard == [(older.id, "superseded"), (newer.id, "cancelled")]
