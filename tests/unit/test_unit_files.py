"""What an operator or apply changes of a unit must be seen: what waits would else run by what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustploy_agent import unit_files

UNIT = "rustploy-app@blog-web-a.service"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "etc", tmp_path / "lib"
    for place in found:
        place.mkdir()
    monkeypatch.setattr(unit_files, "PATHS", tuple(map(str, found)))
    (found[1] / "rustploy-app@.service").write_text("[Service]\n")
    return found


@pytest.mark.parametrize(
    "changed",
    [
        "rustploy-app@.service",
        "rustploy-app@blog-web-a.service",
        "rustploy-app@blog-web-a.service.d/50-rustploy.conf",
        "rustploy-app@.service.d/10-all.conf",
        "rustploy-app@blog-.service.d/10-blog.conf",
        "rustploy-.service.d/10-ours.conf",
        "service.d/10-every.conf",
    ],
)
def test_each_file_that_systemd_reads_for_a_unit_counts(places: tuple[Path, Path], changed: str) -> None:
    before = unit_files.identity(UNIT)
    (places[0] / changed).parent.mkdir(exist_ok=True)
    (places[0] / changed).write_text("[Service]\nTasksMax=7\n")
    added = unit_files.identity(UNIT)
    (places[0] / "new").write_text("[Service]\nTasksMax=7\n")
    (places[0] / "new").rename(places[0] / changed)
    assert len({before, added, unit_files.identity(UNIT)}) == 3, "or who replaces it in the same second is not seen"


@pytest.mark.parametrize("other", ["rustploy-app@shop-web-a.service.d/50-rustploy.conf", "timer.d/x.conf", "x.service"])
def test_what_is_of_other_units_does_not(places: tuple[Path, Path], other: str) -> None:
    """Else each deployment of another app would have this one's sandbox set up anew."""
    before = unit_files.identity(UNIT)
    (places[0] / other).parent.mkdir(exist_ok=True)
    (places[0] / other).write_text("[Service]\n")
    assert unit_files.identity(UNIT) == before
