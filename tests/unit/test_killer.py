"""A release that kills whatever has its user keeps neither its successor nor the one before it from its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment
from rustploy_agent.settle import settle
from tests.unit.manager import Manager
from tests.unit.test_live import deploy, first  # noqa: F401

pytestmark = pytest.mark.processes
Deploy = Callable[..., Deployment]
OLD, NEW = "rustploy-app@blog-web-a.service", "rustploy-app@blog-web-b.service"


@pytest.fixture
def killer(first: Deployment, manager: Manager) -> str:  # noqa: F811
    manager.killer = OLD
    return OLD


def test_the_fix_takes_the_place_of_a_release_that_kills(killer: str, deploy: Deploy, manager: Manager) -> None:  # noqa: F811
    """Else an app that kills can never be mended, nor rolled back."""
    before = len(manager.calls)
    done = deploy(force_rebuild=True)
    assert (done.status, done.attempt) == ("healthy", 1), done.last_error
    assert manager.running() == {NEW}
    calls = manager.calls[before:]
    assert calls.count(("start", NEW)) >= 2 < calls.index(("stop", OLD)), "it is tried beside the old one first"


def test_a_release_that_is_killed_for_itself_leaves_the_old_one_serving(
    first: Deployment,  # noqa: F811
    deploy: Deploy,  # noqa: F811
    manager: Manager,
) -> None:
    """One that needs more memory than it may have is killed too; that is no reason to stop what serves."""
    manager.instead["web-b"] = "killed"
    before = len(manager.calls)
    done = deploy(force_rebuild=True)
    assert (done.status, done.error_code) == ("failed", "exited")
    assert ("stop", OLD) not in manager.calls[before:]
    assert manager.running() == {OLD}


def test_an_old_release_that_gave_way_in_vain_comes_back(killer: str, deploy: Deploy, manager: Manager) -> None:  # noqa: F811
    """Else a failed deployment is an outage."""
    manager.instead["web-b"] = "false"
    done = deploy(force_rebuild=True)
    assert (done.status, done.error_code) == ("failed", "exited")
    assert manager.running() == {OLD}


def test_an_agent_that_dies_meanwhile_brings_it_back(core: Core, first: Deployment, manager: Manager) -> None:  # noqa: F811
    """Else a crash in these seconds leaves the app down until somebody notices."""
    Deployment(app=App.get(), status="deploying", attempt=3, step="start").save(force_insert=True)
    manager.StopUnit(OLD, "replace", timeout=1)
    settle(core.settings, core.systemd, core.applier)
    assert manager.running() == {OLD}
