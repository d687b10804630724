"""A damaged database is put aside and told of."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

import pytest

from rustploy_agent import certificates, damage, models, orphans
from rustploy_agent.caddy import Host, Limits, Site
from rustploy_agent.config import Settings
from rustploy_agent.models import App
from tests.unit.certificate_authority import issue


def fill(path: Path) -> None:
    """A database with a thousand rows, all of it in its file."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE app (name TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO app VALUES (?)", [(f"app-{number:0100}",) for number in range(1000)])
    connection.close()


def scribble(path: Path) -> None:
    """Over the middle of the file, as a disk that fails does it."""
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(6 * 4096))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    path.write_bytes(b"\0" * 8192)


@pytest.mark.parametrize("harm", [scribble, cut, replace])
def test_a_damaged_database_is_put_aside(settings: Settings, caplog: pytest.LogCaptureFixture, harm: object) -> None:
    """Else every request is a 500 until somebody who knows SQLite comes by."""
    fill(settings.paths.database)
    harm(settings.paths.database)  # type: ignore[operator]
    before = settings.paths.database.read_bytes()
    with caplog.at_level(logging.CRITICAL):
        damage.put_aside(settings.paths)
    (aside,) = damage.aside(settings.paths)
    assert aside.read_bytes() == before and not settings.paths.database.exists()
    assert str(aside) in caplog.text and damage.MANUAL in caplog.text
    models.open_database(settings.paths.database)
    assert App.select().count() == 0
    models.database.close()


def test_a_whole_database_stays(settings: Settings) -> None:
    fill(settings.paths.database)
    damage.put_aside(settings.paths)
    damage.check(settings.paths)
    assert settings.paths.database.exists() and damage.aside(settings.paths) == []


def test_a_log_whose_database_is_gone_is_not_written_into_the_next_one(settings: Settings) -> None:
    """Else a crash between two renames, or an operator who removes one file of three, makes another damaged one."""
    log = settings.paths.database.with_name("rustploy.db-wal")
    log.write_bytes(b"old")
    damage.put_aside(settings.paths)
    assert not log.exists() and list(log.parent.glob("rustploy.db.damaged-*-wal"))


def test_a_database_that_is_only_locked_is_not_moved(settings: Settings) -> None:
    """Else root's command line, at the wrong moment, empties the agent."""
    fill(settings.paths.database)
    with sqlite3.connect(settings.paths.database) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError):
            damage.put_aside(settings.paths)
    connection.close()
    assert settings.paths.database.exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b'[{"app": "blog"}]', b"\xff"])
def test_an_unreadable_memory_of_sites_stops_nothing(settings: Settings, content: bytes) -> None:
    settings.paths.sites.write_bytes(content)
    assert orphans.sites(settings.paths, set(), set()) == []


@pytest.mark.processes
def test_a_certificate_that_the_ingress_refuses_does_not_come_back_from_the_memory(settings: Settings) -> None:
    """Else one app that the database does not know keeps every other app's changes from being served."""
    pair = issue("gone.example.org")
    host = Host("gone.example.org", None, pair.certificate, pair.key, custom=True)
    settings.paths.app("gone").mkdir(parents=True)
    orphans.keep(settings.paths, [Site("gone", (host,), {"a": (20000,), "b": (20001,)}, Limits(1, 1))])
    assert orphans.sites(settings.paths, set(), set())[0].hosts == (host,)
    certificates.refuse(pair.certificate, pair.key, "x509: no")
    (left,) = orphans.sites(settings.paths, set(), set())[0].hosts
    assert (left.name, left.certificate, left.private_key) == ("gone.example.org", None, None)
