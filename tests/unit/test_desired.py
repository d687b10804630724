"""The desired state: each app's own units and slugs, and no slower for the apps of others."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from rustploy_agent import desired
from rustploy_agent.config import Settings
from rustploy_agent.models import App, Process, Slot, Slug, database

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
