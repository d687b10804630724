"""A removal that is broken off leaves no app that is neither there nor gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rustploy_agent import removals
from rustploy_agent.core import Core
from rustploy_agent.models import App
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.manager import Manager
from tests.unit.waiting import until

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def listening(core: Core, monkeypatch: pytest.MonkeyPatch) -> Iterator[removals.Removals]:
    monkeypatch.setattr(removals, "FIRST_SECONDS", 0.1)
    yield removals.Removals(core)


def test_a_removal_that_was_broken_off_is_carried_on(admin: Client, blog: str, manager: Manager) -> None:
    """Else the name is taken until somebody thinks of deleting an app that is not there."""
    manager.apply_error = "the disk is full"
    assert admin.code("DELETE", f"/apps/{blog}") == (500, "apply_failed")
    assert App.get().deleting
    again = admin("POST", "/apps", {"name": "blog"}).get_json()["error"]
    assert again["code"] == "app_exists" and "being removed" in again["message"]
    gone = admin("GET", f"/apps/{blog}").get_json()["error"]
    assert gone["code"] == "app_not_found" and "being removed" in gone["message"]
    manager.apply_error = None
    until(lambda: not App.select().exists())
    assert admin("POST", "/apps", {"name": "blog"}).status_code == 201


def test_an_import_that_could_not_be_taken_back_frees_its_name(admin: Client, manager: Manager) -> None:
    """Else `app_exists` on the next import and `app_not_found` on everything else."""
    manager.apply_error = "no"
    assert admin.code("POST", "/apps/import", {"repository": REPOSITORY}) == (500, "apply_failed")
    manager.apply_error = None
    until(lambda: not App.select().exists())
    assert admin("POST", "/apps/import", {"repository": REPOSITORY}).status_code == 201


def test_it_is_tried_again_and_again(admin: Client, blog: str, manager: Manager) -> None:
    manager.apply_error = "no"
    admin("DELETE", f"/apps/{blog}")
    applied = manager.applied
    until(lambda: manager.applied >= applied + 2)
    manager.apply_error = None
    until(lambda: not App.select().exists())
