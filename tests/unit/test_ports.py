"""Ports: two apps on one port would mean that one is asked for the other's pages."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from rustploy_agent import ports
from rustploy_agent.config import Settings
from rustploy_agent.errors import Unavailable
from rustploy_agent.models import App, Process

pytestmark = pytest.mark.usefixtures("opened")


def given_ports(app: App) -> dict[str, tuple[int | None, int | None]]:
    return {row.type: (row.port_a, row.port_b) for row in Process.select().where(Process.app == app)}


def pair(settings: Settings, first: int, second: int) -> tuple[int, int]:
    return settings.first_port + first, settings.first_port + second


def test_only_the_process_that_serves_http_gets_ports(settings: Settings) -> None:
    app = App.create(name="a")
    ports.allocate(settings, app, {"web", "worker"})
    assert given_ports(app) == {"web": pair(settings, 0, 1), "worker": (None, None)}


def test_ports_stay_with_the_app_while_its_processes_change(settings: Settings) -> None:
    app = App.create(name="a")
    for types in ({"web"}, {"web", "worker"}, {"web"}):
        ports.allocate(settings, app, types)
        assert given_ports(app)["web"] == pair(settings, 0, 1)
        assert set(given_ports(app)) == types


def test_no_two_apps_share_a_port(settings: Settings) -> None:
    for name in "abc":
        ports.allocate(settings, App.create(name=name), {"web"})
    found = [port for row in Process.select() for port in (row.port_a, row.port_b)]
    assert len(set(found)) == 6


@pytest.mark.processes
def test_a_port_that_somebody_listens_on_is_passed_over(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.first_port + 1)):
        app = App.create(name="a")
        ports.allocate(settings, app, {"web"})
    assert given_ports(app)["web"] == pair(settings, 0, 2)


def test_the_agent_s_own_port_is_never_given_away(settings: Settings) -> None:
    app = App.create(name="a")
    ports.allocate(dataclasses.replace(settings, listen_port=settings.first_port), app, {"web"})
    assert given_ports(app)["web"] == pair(settings, 1, 2)


def test_when_none_are_left_the_setting_is_named_and_nothing_is_kept(settings: Settings) -> None:
    few = dataclasses.replace(settings, last_port=settings.first_port + 2)
    ports.allocate(few, App.create(name="a"), {"web"})
    app = App.create(name="b")
    with pytest.raises(Unavailable, match=r"apps\.ports\.first and apps\.ports\.last"):
        ports.allocate(few, app, {"clock", "web"})
    assert given_ports(app) == {}


def test_each_instance_has_ports_of_its_own_that_stay(settings: Settings) -> None:
    """Else two instances meet on one port, or a deployment changes what the ingress has."""
    app = App.create(name="a", scale={"web": 3, "worker": 2})
    assert ports.allocate(settings, app, {"web", "worker"}) is True
    assert ports.allocate(settings, app, {"web", "worker"}) is False
    rows = Process.select().where(Process.app == app).order_by(Process.type, Process.number)
    assert [(row.type, row.number, row.port_a, row.port_b) for row in rows] == [
        *(("web", number, *pair(settings, 2 * number - 2, 2 * number - 1)) for number in (1, 2, 3)),
        ("worker", 1, None, None),
        ("worker", 2, None, None),
    ]
    assert ports.allocate(settings, app, {"web", "worker"}, {"web": 1, "worker": 0}) is True
    assert given_ports(app) == {"web": pair(settings, 0, 1), "worker": (None, None)}
