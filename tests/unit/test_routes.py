"""Marks for the ingress: what a request meets while they change, and that none outlives its app."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustploy_agent import routes, routing
from rustploy_agent.config import Settings
from rustploy_agent.models import App


def marks(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_first_release_is_open_only_once_its_slot_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its first visitors are sent to the empty slot."""
    seen: list[list[str]] = []
    real = routes._mark

    def mark(path: Path, wanted: bool) -> None:
        seen.append(marks(tmp_path))
        real(path, wanted)

    monkeypatch.setattr(routes, "_mark", mark)
    routes.point(tmp_path, "blog", "b")
    assert [*seen, marks(tmp_path)] == [[], ["blog.b"], ["blog.b", "blog.open"]]


def test_a_switch_back_and_forth_is_one_file(tmp_path: Path) -> None:
    routes.point(tmp_path, "blog", "a")
    assert marks(tmp_path) == ["blog.open"]
    routes.point(tmp_path, "blog", "b")
    assert marks(tmp_path) == ["blog.b", "blog.open"]
    routes.point(tmp_path, "blog", "a")
    assert marks(tmp_path) == ["blog.open"]


def test_only_the_marks_of_an_app_that_goes_are_removed(tmp_path: Path) -> None:
    """Else deleting `blog` switches `blog-two` to its empty slot."""
    for app in ("blog", "blog-two"):
        routes.point(tmp_path, app, "b")
    routes.maintain(tmp_path, "blog", True)
    (tmp_path / "caddy.json").write_text("{}")
    routes.forget(tmp_path, "blog")
    assert marks(tmp_path) == ["blog-two.b", "blog-two.open", "caddy.json"]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("slot", "stopped", "maintenance", "expected"),
    [
        (None, False, False, []),
        ("a", False, False, ["blog.open"]),
        ("b", False, False, ["blog.b", "blog.open"]),
        ("a", True, False, []),
        ("a", False, True, ["blog.maintenance", "blog.open"]),
    ],
)
def test_a_start_brings_the_marks_to_what_the_database_says(
    settings: Settings, slot: str | None, stopped: bool, maintenance: bool, expected: list[str]
) -> None:
    """Else a switch that a crash cut through sends visitors to a slot that is stopped next."""
    directory = settings.paths.routes
    App.create(name="blog", active_slot=slot, stopped=stopped, maintenance=maintenance)
    if slot == "a":
        routes.point(directory, "blog", "b")
    routes.point(directory, "gone", "b")
    routing.mark_all(settings)
    found = [name for name in marks(directory) if not (slot is None or stopped) or name != "blog.b"]
    assert found == expected
