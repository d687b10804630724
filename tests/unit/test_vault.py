"""What the database seals: a copy of it tells no secret, and a lost key is an error, never an empty environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import environment, releases, vault
from rustploy_agent.config import Settings
from rustploy_agent.errors import Conflict
from rustploy_agent.migrations import m0001_initial, migrate
from rustploy_agent.models import App, EnvVar, Meta, Release, Slug, connect, database
from rustploy_agent.vault import Box, Unreadable

SECRET = "correct-horse-battery"
OTHER_KEY = b"ab" * 32 + b"\n"


@pytest.fixture
def app(opened: None, settings: Settings) -> App:
    made: App = App.create(name="blog")
    environment.change(made, {"A": SECRET, "B": "b"}, settings.paths)
    return made


def release_of(app: App, settings: Settings) -> Release:
    slug = Slug.create(app=app, build_mode="auto", state="ready", processes={})
    return releases.make_release(app, slug, "/", None, settings.paths)


def on_disk(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path in settings.paths.database.parent.glob("rustploy.db*"))


def set_key(settings: Settings, content: bytes) -> None:
    settings.paths.vault_key.unlink()
    settings.paths.vault_key.write_bytes(content)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_what_was_sealed_opens_as_it_was(text: str, about: list[str]) -> None:
    box = Box(b"k" * 32)
    sealed = box.seal(text, *about)
    assert box.open(sealed, *about) == text
    assert vault.length(sealed) == len(text.encode())


@pytest.mark.parametrize("about", [("env", "a", "C"), ("env", "b", "B"), ("env", "aB"), ("env", "a", "B", ""), ()])
def test_a_value_opens_only_in_its_own_place(about: tuple[str, ...]) -> None:
    """Else who can write the database gives one app the secrets of another."""
    box = Box(b"k" * 32)
    with pytest.raises(Unreadable):
        box.open(box.seal(SECRET, "env", "a", "B"), *about)


@pytest.mark.parametrize("sealed", ["", "v1:", "v1:!", "v2:AAAA", "plain", "v1:" + "A" * 80, "v1:\u00e9"])
def test_what_is_no_sealed_value_is_refused(sealed: str) -> None:
    with pytest.raises(Unreadable):
        Box(b"k" * 32).open(sealed, "env")


def test_the_files_of_the_database_hold_no_value(app: App, settings: Settings) -> None:
    release_of(app, settings)
    assert b"blog" in on_disk(settings)
    assert SECRET.encode() not in on_disk(settings)


@pytest.mark.parametrize("content", [None, b"", b"ab" * 31, OTHER_KEY, b"x" * 64, OTHER_KEY * 2])
def test_without_the_right_key_nothing_is_read_and_nothing_is_set(
    app: App, settings: Settings, content: bytes | None
) -> None:
    """Else apps start with half their configuration, or values are sealed that the restored key does not open."""
    release = release_of(app, settings)
    settings.paths.vault_key.unlink()
    if content is not None:
        settings.paths.vault_key.write_bytes(content)
    for attempt in (
        lambda: environment.variables(app, settings.paths),
        lambda: environment.change(app, {"C": "c"}, settings.paths),
        lambda: environment.of_release(release, settings.paths),
        lambda: release_of(app, settings),
    ):
        with pytest.raises(Unreadable) as refused:
            attempt()
        assert refused.value.code == "environment_unreadable"
        assert str(settings.paths.vault_key) in refused.value.message
    assert environment.unreadable(settings.paths)
    assert {row.key for row in environment.rows(app)} == {"A", "B"}


def test_a_key_that_is_a_link_is_not_followed(app: App, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(settings.paths.vault_key.read_bytes())
    settings.paths.vault_key.unlink()
    settings.paths.vault_key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable):
        vault.unlock(settings.paths)


def test_the_key_is_the_agent_s_alone_and_is_made_once(settings: Settings, opened: None) -> None:
    before = settings.paths.vault_key.read_bytes()
    assert settings.paths.vault_key.stat().st_mode & 0o7777 == 0o400
    assert not vault.make_key(settings.paths)
    assert settings.paths.vault_key.read_bytes() == before


def test_a_lost_key_is_not_made_again_by_itself(app: App, settings: Settings) -> None:
    """Else an upgrade turns a key that could have been restored into values that are lost without a word."""
    settings.paths.vault_key.unlink()
    with pytest.raises(Conflict):
        vault.make_key(settings.paths)
    assert not settings.paths.vault_key.exists()


def test_after_a_new_key_each_variable_is_named_until_it_is_set_again(app: App, settings: Settings) -> None:
    """Else a lost key means a lost installation."""
    release = release_of(app, settings)
    vault.replace_key(settings.paths)
    assert len(list(settings.paths.vault_key.parent.iterdir())) == 2, "the old key stays beside it"
    environment.change(app, {"A": "again"}, settings.paths)
    with pytest.raises(Unreadable) as refused:
        environment.variables(app, settings.paths)
    assert [detail.field for detail in refused.value.details] == ["B"]
    assert environment.change(app, {"B": None}, settings.paths) == 1
    assert environment.variables(app, settings.paths) == {"A": "again"}
    with pytest.raises(Unreadable):
        environment.of_release(release, settings.paths)


def test_values_of_an_earlier_agent_are_sealed_at_start(settings: Settings) -> None:
    """Values that only look sealed, too; and nothing of the old bytes is left in the files."""
    plain = {"A": SECRET, "B": "v1:" + SECRET}
    earlier_database(settings, plain)
    vault.make_key(settings.paths)
    connect(settings.paths.database)
    try:
        migrate(database)
        with pytest.raises(Unreadable):
            vault.unlock(settings.paths)
        environment.prepare(settings.paths)
        environment.prepare(settings.paths)
        assert environment.variables(App.get(), settings.paths) == plain
        assert environment.of_release(Release.get(), settings.paths) == plain
        assert Release.get().health == {"path": "/"}, "a rollback to it would look at another page"
        assert SECRET.encode() not in on_disk(settings)
    finally:
        database.close()


def earlier_database(settings: Settings, plain: dict[str, str]) -> None:
    """As an agent before migration 6 left it, with its values in the clear."""
    connect(settings.paths.database)
    for statement in filter(str.strip, m0001_initial.SQL.split(";")):
        database.execute_sql(statement)
    database.execute_sql("PRAGMA user_version = 1")
    database.execute_sql("INSERT INTO app (id, name, created_at_unix_ms, updated_at_unix_ms) VALUES ('a', 'b', 1, 1)")
    for key, value in plain.items():
        row = ("a", key, value)
        database.execute_sql("INSERT INTO envvar (app_id, key, value, updated_at_unix_ms) VALUES (?, ?, ?, 1)", row)
    database.execute_sql(
        "INSERT INTO release (id, app_id, version, slug_id, env, processes, health_path, created_at_unix_ms) "
        "VALUES ('r', 'a', 1, 's', ?, '{}', '/', 1)",
        (json.dumps(plain),),
    )
    database.close()


def test_a_first_start_without_a_key_seals_nothing_and_loses_nothing(settings: Settings) -> None:
    earlier_database(settings, {"A": SECRET})
    connect(settings.paths.database)
    try:
        migrate(database)
        with pytest.raises(Unreadable):
            environment.prepare(settings.paths)
        assert Meta.select().where(Meta.key == vault.CHECK).count() == 0
        assert EnvVar.get().sealed == SECRET
        vault.make_key(settings.paths)
        environment.prepare(settings.paths)
        assert environment.variables(App.get(), settings.paths) == {"A": SECRET}
    finally:
        database.close()
