"""Releases: what rollback offers is never pruned, what nobody needs does not fill the disk."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from rustploy_agent import environment, releases
from rustploy_agent.config import Paths, Settings
from rustploy_agent.errors import Conflict, NotFound
from rustploy_agent.models import App, Release, Slug, database

pytestmark = pytest.mark.usefixtures("opened")


@pytest.fixture
def app() -> App:
    made: App = App.create(name="blog")
    return made


def paths() -> Paths:
    return Paths(state=Path(database.database).parents[1])


def released(app: App, healthy: bool = True, size: int = 1, slug: Slug | None = None) -> Release:
    slug = slug or Slug.create(app=app, build_mode="auto", state="ready", bytes=size, processes={"web": "x"})
    release = releases.make_release(app, slug, "/", None, paths())
    if healthy:
        releases.mark_healthy(release)
    return release


def activate(app: App, release: Release) -> None:
    app.active_release_id = release.id
    app.save()


def kept(app: App) -> list[int]:
    return [row.version for row in Release.select().where(Release.app == app).order_by(Release.version)]


def test_versions_count_up_and_the_environment_is_frozen(app: App) -> None:
    environment.change(app, {"A": "1"}, paths())
    first = released(app)
    environment.change(app, {"A": "2"}, paths())
    second = released(app)
    assert (first.version, second.version) == (1, 2)
    kept = [environment.of_release(Release.get_by_id(release.id), paths()) for release in (first, second)]
    assert kept == [{"A": "1"}, {"A": "2"}]


def test_rollback_goes_to_the_newest_healthy_one_before_the_current(app: App) -> None:
    first, second, _, fourth = released(app), released(app), released(app, healthy=False), released(app)
    activate(app, fourth)
    assert releases.rollback_target(app) == second
    activate(app, second)
    assert releases.rollback_target(app) == first
    activate(app, first)
    with pytest.raises(Conflict):
        releases.rollback_target(app)


def test_a_named_release_must_be_healthy_and_of_this_app(app: App) -> None:
    good, bad = released(app), released(app, healthy=False)
    foreign = released(App.create(name="other"))
    activate(app, good)
    assert releases.rollback_target(app, good.id) == good
    for other in (bad.id, foreign.id, "nope"):
        with pytest.raises(Conflict):
            releases.rollback_target(app, other)


def test_an_app_without_release_has_no_target(app: App) -> None:
    with pytest.raises(NotFound):
        releases.rollback_target(app)


def test_pruning_keeps_as_many_as_the_setting_says(app: App, settings: Settings) -> None:
    made = [released(app) for _ in range(8)]
    activate(app, made[-1])
    releases.prune(app, settings)
    assert kept(app) == [4, 5, 6, 7, 8]
    assert Slug.select().where(Slug.state == "removing").count() == 3


def test_after_a_rollback_its_target_and_the_one_before_stay(app: App, settings: Settings) -> None:
    made = [released(app) for _ in range(8)]
    activate(app, made[2])
    releases.prune(app, dataclasses.replace(settings, keep_releases=2))
    assert kept(app) == [2, 3]


def test_the_rollback_target_stays_even_when_the_disk_budget_is_gone(app: App, settings: Settings) -> None:
    made = [released(app, size=2**40) for _ in range(4)]
    activate(app, made[-1])
    releases.prune(app, dataclasses.replace(settings, keep_releases=1))
    assert kept(app) == [3, 4]


def test_the_budget_of_bytes_counts_a_shared_slug_once(app: App, settings: Settings) -> None:
    shared = Slug.create(app=app, build_mode="auto", state="ready", bytes=settings.keep_bytes // 2 + 1)
    made = [released(app, slug=shared) for _ in range(4)]
    activate(app, made[-1])
    releases.prune(app, settings)
    assert kept(app) == [1, 2, 3, 4]


def test_a_slug_that_a_kept_one_links_to_stays_and_counts(app: App, settings: Settings) -> None:
    """Removed, the packages of the release that serves would be gone at its next start."""
    made = [released(app, size=10) for _ in range(8)]
    Slug.update(needs=[made[1].slug_id]).where(Slug.id == made[5].slug_id).execute()
    Slug.update(needs=[made[5].slug_id]).where(Slug.id == made[7].slug_id).execute()
    activate(app, made[-1])
    releases.prune(app, dataclasses.replace(settings, keep_releases=5, keep_bytes=45))
    assert kept(app) == [2, 6, 7, 8]  # the first of them costs nothing: its slug stays anyway
    ready = {slug.id for slug in Slug.select().where(Slug.state == "ready")}
    assert ready == {made[index].slug_id for index in (1, 5, 6, 7)}


def test_failed_releases_do_not_crowd_out_healthy_ones(app: App, settings: Settings) -> None:
    good = released(app)
    for _ in range(10):
        released(app, healthy=False)
    current = released(app)
    activate(app, current)
    releases.prune(app, settings)
    assert kept(app) == [good.version, current.version]


def test_another_app_s_releases_are_not_pruned(app: App, settings: Settings) -> None:
    other = App.create(name="other")
    for _ in range(3):
        released(other)
    activate(app, released(app))
    releases.prune(app, dataclasses.replace(settings, keep_releases=1))
    assert kept(other) == [1, 2, 3]


def test_only_ready_slugs_of_the_same_mode_are_used_again(app: App) -> None:
    for state, mode, commit in (
        ("ready", "auto", "a"),
        ("building", "auto", "b"),
        ("ready", "node", "c"),
        ("removing", "auto", "d"),
    ):
        Slug.create(app=app, build_mode=mode, state=state, commit_sha=commit * 40)
    assert list(releases.reusable_slugs(app, "auto")) == ["a" * 40]


def test_a_slug_whose_build_saw_other_variables_is_not_used_again(app: App) -> None:
    """Else a changed VITE_ variable would never reach a visitor."""
    Slug.create(app=app, build_mode="auto", state="ready", commit_sha="a" * 40, build_variables="VITE_A@1")
    assert list(releases.reusable_slugs(app, "auto", "VITE_A@1")) == ["a" * 40]
    assert list(releases.reusable_slugs(app, "auto", "VITE_A@2")) == []
    assert list(releases.reusable_slugs(app, "auto")) == []


def test_a_sealed_slug_locks_its_builder_out(app: App, tmp_path: Path) -> None:
    slug = releases.make_slug(app, tmp_path, "auto")
    directory = tmp_path / slug.id
    assert stat.S_IMODE(directory.stat().st_mode) == 0o770
    releases.seal(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o705


def test_what_a_broken_off_build_left_is_sealed_until_it_is_removed(app: App, tmp_path: Path) -> None:
    """Else the next build could link its own files into it, and a later one change a sealed release through those."""
    left = releases.make_slug(app, tmp_path, "auto")
    never_made = Slug.create(app=app, build_mode="auto")
    releases.discard_unfinished(app, tmp_path)
    assert stat.S_IMODE((tmp_path / left.id).stat().st_mode) == 0o705
    assert {slug.id: slug.state for slug in Slug.select()} == {left.id: "removing", never_made.id: "removing"}


def test_a_build_that_puts_a_link_in_place_of_its_directory_is_seen(tmp_path: Path) -> None:
    """A link to the app's own data would let the app change its release."""
    (tmp_path / "app").mkdir()
    assert releases.holds_checkout(tmp_path)
    (tmp_path / "app").rmdir()
    (tmp_path / "app").symlink_to("/tmp")
    assert not releases.holds_checkout(tmp_path)


def test_a_build_that_puts_a_link_in_place_of_its_root_is_seen(tmp_path: Path) -> None:
    (tmp_path / "app" / "apps" / "web").mkdir(parents=True)
    assert releases.holds_checkout(tmp_path, "apps/web")
    (tmp_path / "app" / "apps" / "web").rmdir()
    (tmp_path / "app" / "apps" / "web").symlink_to("/tmp")
    assert not releases.holds_checkout(tmp_path, "apps/web")
    assert not releases.holds_checkout(tmp_path, "gone")
