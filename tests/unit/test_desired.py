"""The desired state: each app's own units and slugs, and no slower for the apps of others."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rustploy_agent import apps, desired
from rustploy_agent.clock import new_id
from rustploy_agent.config import Settings
from rustploy_agent.core import Core
from rustploy_agent.errors import ApplyFailed
from rustploy_agent.models import App, Process, Slot, Slug, database
from tests.unit.manager import Manager

pytestmark = pytest.mark.usefixtures("opened")


def make(name: str, port: int, **about: Any) -> App:
    app: App = App.create(name=name, **about)
    for letter in ("a", "b"):
        Slot.create(app=app, letter=letter, deployment_id=f"{name}-{letter}")
    for number in (2, 1):
        Process.create(app=app, type="web", number=number, port_a=port + 2 * number, port_b=port + 2 * number + 1)
    Process.create(app=app, type="mail", number=1)
    Slug.create(app=app, id=f"{name}-left", build_mode="auto", state="removing")
    Slug.create(app=app, id=f"{name}-kept", build_mode="auto", state="ready")
    return app


def test_each_app_gets_its_own(settings: Settings) -> None:
    """Else apply gives one app the port of another, or removes a slug that serves."""
    make("shop", 21010, active_slot="a")
    make("blog", 21020)
    make("old", 21030, deleting=True)
    wish = json.loads(desired.render(settings))
    assert wish["remove_apps"] == ["old"]
    assert [app["name"] for app in wish["apps"]] == ["blog", "shop"]
    shop = wish["apps"][1]
    assert (shop["deployment_id"], shop["remove_slugs"]) == ("shop-b", ["shop-left"])
    mail, web = shop["processes"]
    assert (mail["type"], mail["slots"]["a"]) == ("mail", {"port": None, "deployment_id": "shop-a"})
    assert web["slots"]["b"] == {"port": 21013, "deployment_id": "shop-b"}
    assert web["more"] == [
        {slot: {"port": port, "deployment_id": f"shop-{slot}"} for slot, port in (("a", 21014), ("b", 21015))}
    ]


def test_what_holds_for_all_apps_comes_from_the_settings(settings: Settings) -> None:
    """Else what an administrator wrote is read and has no effect."""
    wish = json.loads(desired.render(settings))
    assert wish["closed_ports"] == [settings.listen_port]
    assert "169.254.0.0/16" in wish["deny_addresses"]
    assert wish["totals"]["apps"] == {"memory_percent": 80, "swap_percent": 50, "tasks_percent": 60}
    open_to_all = dataclasses.replace(settings, confinement=dataclasses.replace(settings.confinement, api_open=True))
    assert json.loads(desired.render(open_to_all))["closed_ports"] == []


def test_twenty_apps_take_no_more_queries_than_one(settings: Settings) -> None:
    """Else every deployment takes longer with every app on the host."""

    def queries() -> int:
        asked: list[str] = []
        database.connection().set_trace_callback(asked.append)
        desired.render(settings)
        database.connection().set_trace_callback(None)
        return len(asked)

    make("first", 21000)
    alone = queries()
    for number in range(19):
        make(f"app{number}", 21100 + 10 * number)
    assert queries() == alone


class TestApplier:
    def test_what_others_wait_for_does_not_make_an_app_wait(self, core: Core, manager: Manager) -> None:
        """Else ten deployments at once wait for ten runs of apply each, and the more so the more apps there are."""
        for name in ("blog", "shop"):
            apps.create(name, core.settings, core.systemd, core.applier)
        before = manager.applied
        Slot.update(deployment_id=new_id()).where(Slot.app == App.get(name="shop"), Slot.letter == "b").execute()
        core.applier.ensure("blog")
        assert manager.applied == before
        core.applier.ensure("shop")
        assert manager.applied == before + 1

    def test_what_apply_refused_is_tried_again(self, core: Core, manager: Manager) -> None:
        """Else an app that was refused once, for want of room perhaps, can never be deployed again."""
        apps.create("blog", core.settings, core.systemd, core.applier)
        Slot.update(deployment_id=new_id()).where(Slot.letter == "b").execute()
        manager.refused = {"blog": "no room"}
        for _ in range(2):
            with pytest.raises(ApplyFailed, match="no room"):
                core.applier.ensure("blog")
        manager.refused = {}
        before = manager.applied
        core.applier.ensure("blog")
        assert manager.applied == before + 1

    def test_a_change_back_while_apply_is_on_its_way_is_applied(self, core: Core, manager: Manager) -> None:
        """Else a run that ends too late leaves the units as they were wished for in between."""
        app = apps.create("blog", core.settings, core.systemd, core.applier)
        first = Slot.get(app=app, letter="b").deployment_id
        Slot.update(deployment_id=new_id()).where(Slot.letter == "b").execute()
        manager.apply_error = "killed"
        with pytest.raises(ApplyFailed):
            core.applier.ensure("blog")
        manager.apply_error = None
        Slot.update(deployment_id=first).where(Slot.letter == "b").execute()
        before = manager.applied
        core.applier.ensure("blog")
        assert manager.applied == before + 1

    def test_slugs_that_shall_go_are_removed_by_who_asks_for_it(self, core: Core, manager: Manager) -> None:
        """Else old releases fill the disk."""
        app = apps.create("blog", core.settings, core.systemd, core.applier)
        slug = Slug.create(app=app, id=new_id(), build_mode="auto", state="removing")
        before = manager.applied
        core.applier.ensure("blog", removals=False)
        assert manager.applied == before
        core.applier.ensure("blog")
        assert not Slug.select().where(Slug.id == slug.id).exists()
