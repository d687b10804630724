"""A slug that another Debian or interpreter made is not used again, and everybody is told before it breaks."""

from __future__ import annotations

import pytest

from rustploy_agent import releases, stack
from rustploy_agent.errors import Conflict
from rustploy_agent.models import App, Release, Slug

pytestmark = pytest.mark.usefixtures("opened")
COMMIT = "c" * 40
OTHER_DEBIAN = {"stack": "debian-1"}
OTHER_PYTHON = {"runtimes": {stack.PYTHON: "2.7"}}


def slug_of(app: App, **about: object) -> Slug:
    about = {"stack": stack.of_host(), **about}
    made: Slug = Slug.create(
        app=app, build_mode="auto", state="ready", commit_sha=COMMIT, processes={"web": "x"}, **about
    )
    return made


@pytest.fixture
def app() -> App:
    made: App = App.create(name="blog")
    return made


def released(app: App, slug: Slug) -> Release:
    made: Release = Release.create(
        app=app,
        version=Release.select().count() + 1,
        slug=slug,
        commit_sha=COMMIT,
        sealed_env="",
        processes={"web": "x"},
        health={},
        healthy_at_unix_ms=1,
    )
    return made


def test_the_host_is_known_by_its_release_and_its_interpreters() -> None:
    assert stack.of_host().startswith("debian-")
    versions = stack.runtimes([stack.PYTHON, "/usr/bin/perl"])
    assert set(versions) == {stack.PYTHON} and versions[stack.PYTHON].startswith("3.")


@pytest.mark.parametrize("about", [OTHER_DEBIAN, OTHER_PYTHON])
def test_what_another_system_built_is_neither_used_again_nor_shared(app: App, about: dict[str, object]) -> None:
    """Else a deployment after an upgrade of Debian starts an environment of the old Python, and fails."""
    slug_of(app, **about)
    assert (releases.reusable_slugs(app, "auto"), releases.finished_slugs(app)) == ({}, [])
    assert releases.has_outdated_slugs(app)  # so the build cache is emptied as well


def test_what_fits_is_used_again(app: App) -> None:
    slug = slug_of(app, runtimes=stack.runtimes([stack.PYTHON]))
    assert list(releases.reusable_slugs(app, "auto")) == [COMMIT]
    assert releases.finished_slugs(app) == [slug.id] and not releases.has_outdated_slugs(app)


def test_slugs_of_an_older_agent_are_taken_for_those_of_this_debian(app: App) -> None:
    slug = slug_of(app, stack="")
    stack.adopt()
    assert Slug.get_by_id(slug.id).stack == stack.of_host()


@pytest.mark.parametrize("about", [OTHER_DEBIAN, OTHER_PYTHON])
def test_a_rollback_to_it_is_refused_and_says_what_to_do(app: App, about: dict[str, object]) -> None:
    """Else the way back is a deployment that fails after all the time that it takes."""
    released(app, slug_of(app, **about))
    app.active_release_id = released(app, slug_of(app)).id
    app.save()
    with pytest.raises(Conflict) as refused:
        releases.rollback_target(app)
    assert refused.value.code == "release_outdated"
    assert COMMIT in refused.value.message and stack.of_host() in refused.value.message


def test_the_app_says_what_it_was_built_with_and_what_there_is(app: App) -> None:
    assert stack.rebuild_needed(app) is None
    app.active_release_id = released(app, slug_of(app, **OTHER_PYTHON)).id
    app.save()
    said = str(stack.rebuild_needed(app))
    assert "python3 2.7" in said and "rustploy-agent rebuild blog" in said


def test_an_interpreter_that_is_gone_does_not_fit(app: App) -> None:
    assert not stack.fits(slug_of(app, runtimes={"/usr/bin/gone": "1"}))
