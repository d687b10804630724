"""An agent that has nothing to do holds on to nothing: it shares a small server with the apps."""

from __future__ import annotations

import gc
import sqlite3
import threading

import pytest
from flask import Flask

from rustploy_agent import memory, models
from rustploy_agent.auth import create_token
from tests.unit.api.conftest import Client


@pytest.mark.usefixtures("opened")
def test_a_request_leaves_no_connection_to_the_database_behind(api: Flask) -> None:
    """Each of the server's threads else keeps half a megabyte from its first request on."""
    secret, _ = create_token("reader", ["read"], None)
    left: list[bool] = []

    def ask() -> None:
        assert Client(api, secret)("GET", "/apps").status_code == 200
        left.append(models.database.is_closed())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    assert left == [True]


@pytest.mark.usefixtures("opened")
def test_a_transaction_is_not_ended_by_giving_the_connection_back() -> None:
    with models.database.atomic():
        models.rest()
        assert not models.database.is_closed()
        models.Meta.create(key="kept", value="yes")
    assert models.Meta.get_by_id("kept").value == "yes"


@pytest.mark.usefixtures("opened")
def test_connections_of_threads_that_have_ended_are_closed() -> None:
    """Every deployment has threads of its own."""

    def read() -> None:
        list(models.App.select())

    before = connections()
    for _ in range(5):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(20)
    memory.give_back()
    assert connections() <= before


def connections() -> int:
    return sum(isinstance(one, sqlite3.Connection) for one in gc.get_objects())


def test_an_import_leaves_no_idle_connections_behind(api: Flask) -> None:
    """Each keeps pages of the database, up to half a megabyte, and the more the more apps there are."""
    barrier = threading.Barrier(4)

    def read() -> None:
        list(models.App.select())
        barrier.wait(20)
        models.rest()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    before, secret = connections(), create_token("admin", ["admin"], None)[0]
    assert Client(api, secret)("POST", "/apps", {"name": "blog"}).status_code == 201
    assert connections() <= before - 3
