"""What fetch sees in a checkout: which directory of it is the app, and what can build that."""

from pathlib import Path

import pytest

from rustploy_agent.builder import inspection, root
from rustploy_agent.builder.job import Refused
from tests.unit.programs import BUILDPACKS

pytestmark = pytest.mark.processes
FLASK = "requirements.txt"


def inspect(checkout: Path, files: dict[str, str], asked: str | None = None) -> inspection.Inspection:
    for name, text in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return inspection.inspect(str(checkout), "auto", str(BUILDPACKS), asked)


def test_an_app_at_the_top_is_taken_before_any_directory(tmp_path: Path) -> None:
    found = inspect(tmp_path, {FLASK: "flask", "web/package.json": '{"main": "x.js"}'})
    assert (found.root, found.buildpack, found.candidates) == ("", "python", [])


def test_the_only_directory_with_an_app_is_the_app(tmp_path: Path) -> None:
    """A repository of docs and one server deploys unedited."""
    found = inspect(tmp_path, {"README.md": "x", "docs/index.html": "x", f"server/{FLASK}": "flask"})
    assert (found.root, found.buildpack, found.detection["framework"]) == ("server", "python", "flask")


def test_of_several_none_is_guessed_and_all_are_named(tmp_path: Path) -> None:
    """A guess would put the wrong half of a repository live."""
    files = {f"server/{FLASK}": "flask", "apps/web/package.json": '{"main": "x.js"}', "apps/README.md": "x"}
    found = inspect(tmp_path, files)
    assert (found.root, found.buildpack) == ("", None)
    assert found.candidates == ["apps/web (node)", "server (python)"]


@pytest.mark.parametrize("said", ["apps/web", "./apps/web", "apps/web/"])
def test_the_manifest_names_the_directory(tmp_path: Path, said: str) -> None:
    manifest = f"version: 1\nbuild:\n  root: {said}\n"
    found = inspect(tmp_path, {"rustploy.yaml": manifest, FLASK: "x", "apps/web/package.json": '{"main": "x.js"}'})
    assert (found.root, found.buildpack, found.manifest) == ("apps/web", "node", manifest)


def test_a_request_wins_over_the_manifest_and_its_directory_may_bring_its_own(tmp_path: Path) -> None:
    files = {"rustploy.yaml": "build: {root: b}\n", "a/rustploy.yaml": "version: 1\n", f"a/{FLASK}": "x", "b/x": ""}
    found = inspect(tmp_path, files, "a")
    assert (found.root, found.buildpack, found.manifest) == ("a", "python", "version: 1\n")
    assert inspect(tmp_path, {}, "").root == ""


def test_a_directory_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no directory srv; directories at its top: docs, server") as refused:
        inspect(tmp_path, {"server/x": "", "docs/x": ""}, "srv")
    assert refused.value.code == "build_root_not_found"


def test_no_link_leads_out_of_the_checkout(tmp_path: Path) -> None:
    """A committed link to another app's directory would be built from."""
    (tmp_path / "out").mkdir()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "link").symlink_to("../out")
    (checkout / "docs").mkdir()
    for asked in ("link", "docs/../../out"):
        with pytest.raises(Refused):
            inspect(checkout, {"docs/x": ""}, asked)


@pytest.mark.parametrize(
    "value", ["/etc", "..", "a/../b", "a//b", "-x", "a b", "a\n", "", None, 7, ["a"], "a" * 256, "$(id)", "~", "a/."]
)
def test_what_is_no_directory_of_a_repository_is_none(value: object) -> None:
    assert root.parse(value) == ("" if value == "" else None)


@pytest.mark.parametrize(
    "manifest", ["build: [", "build: {root: 7}", "root: x", "build: {root: ../x}", "[" * 5000 + "root"]
)
def test_a_manifest_that_is_wrong_is_left_to_the_agent_to_tell_of(tmp_path: Path, manifest: str) -> None:
    found = inspect(tmp_path, {"rustploy.yaml": manifest, FLASK: "x"})
    assert (found.root, found.buildpack) == ("", "python")


def test_an_import_tells_what_a_node_build_would_stop_at(tmp_path: Path) -> None:
    """Else "no start command" comes after a minute of building."""
    told = inspect(tmp_path, {"package.json": '{"main": "gone.js", "engines": {"node": "20.x"}}'}).detection
    assert (told["runtime"], told["processes"]) == ("node 20.x", {})
    assert ["start" in warning for warning in told["warnings"]] == [True]


def test_an_import_of_a_node_app_tells_its_processes(tmp_path: Path) -> None:
    files = {"package.json": '{"scripts": {"start": "node s.js"}}', "Procfile": "worker: node w.js\n"}
    told = inspect(tmp_path, files).detection
    assert told["processes"] == {"web": "exec node s.js", "worker": "node w.js"}
    assert told["warnings"] == []
