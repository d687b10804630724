"""Ended deployments: a host that deploys for years lists and finds them as fast as on its first day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from rustploy_agent import history
from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.config import History, Settings
from rustploy_agent.models import App, Deployment, Release, Slug

pytestmark = pytest.mark.usefixtures("opened")
OLD = now_ms() - 40 * history.DAY_MS
Make = Callable[..., Deployment]


@pytest.fixture
def few(settings: Settings) -> Settings:
    return dataclasses.replace(settings, history=History(keep=10, days=30))


@pytest.fixture
def app() -> App:
    made: App = App.create(name="blog")
    return made


@pytest.fixture
def make(app: App) -> Make:
    def one(number: int, **about: object) -> Deployment:
        found: Deployment = Deployment.create(
            **{"app": app, "status": "failed", "created_at_unix_ms": OLD + number} | about
        )
        return found

    return one


def left(app: App) -> set[int]:
    return {one.created_at_unix_ms - OLD for one in Deployment.select().where(Deployment.app == app)}


def test_the_newest_of_each_app_stay(app: App, make: Make, few: Settings) -> None:
    """Else an app that is deployed once a year shows nothing of it, or a busy one fills the database for ever."""
    other = App.create(name="shop")
    for number in range(25):
        make(number)
    make(1000, app=other)
    history.forget_oldest(app, few)
    history.forget_oldest(other, few)
    assert left(app) == set(range(15, 25))
    assert left(other) == {1000}


def test_young_ones_stay_however_many_there_are(app: App, make: Make, few: Settings) -> None:
    """Else a script that deploys in a loop wipes out what somebody has to look into."""
    for number in range(25):
        make(number, created_at_unix_ms=now_ms() - history.DAY_MS + number)
    history.forget_oldest(app, few)
    assert Deployment.select().count() == 25


def test_what_is_open_or_may_be_rolled_back_to_stays(app: App, make: Make, few: Settings) -> None:
    """Else a rollback to a release that is still kept is refused, or a deployment never ends."""
    slug = Slug.create(app=app, build_mode="auto", state="ready")
    about = {"app": app, "slug": slug, "version": 1, "sealed_env": "", "processes": {}, "health": {}}
    release = Release.create(**about)
    make(0, release_id=release.id, status="healthy")
    make(1, release_id=new_id(), status="healthy")
    make(2, status="retrying")
    for number in range(3, 20):
        make(number)
    history.forget_oldest(app, few)
    assert left(app) == {0, 2, *range(10, 20)}


def test_a_long_history_goes_in_pieces(app: App, make: Make, few: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first deployment after an upgrade keeps everybody from writing while 20 000 rows go."""
    monkeypatch.setattr(history, "MOST_AT_ONCE", 4)
    for number in range(20):
        make(number)
    history.forget_oldest(app, few)
    assert Deployment.select().count() == 16
    history.forget_oldest(app, few)
    history.forget_oldest(app, few)
    assert left(app) == set(range(10, 20))


def test_those_in_a_status_come_newest_first(app: App, make: Make) -> None:
    """Else a newer deployment is superseded by an older one."""
    make(5, status="queued")
    make(9, status="retrying")
    make(7, status="deploying")
    assert [one.created_at_unix_ms - OLD for one in history.in_status(app, "queued", "retrying")] == [9, 5]
