"""The node buildpack's choices: which node, what is installed, how the app is started."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.programs import BUILDPACKS, SAMPLES, Workshop


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BUILDPACKS / "node" / "lib" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


#: Without a node of the host's the buildpack would fetch one.
needs_node = pytest.mark.skipif(not Path("/usr/bin/node").exists(), reason="the host has no node")
noderange = load("noderange")
plan = load("plan")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("", ["0.1.0", "99.0.0"], []),
        ("*", ["18.0.0"], []),
        (">=18", ["18.0.0", "24.1.0"], ["17.9.9"]),
        (">18", ["19.0.0"], ["18.0.0", "18.5.0"]),
        ("<=20", ["20.9.9", "1.0.0"], ["21.0.0"]),
        ("<20.10", ["20.9.9"], ["20.10.0"]),
        ("20", ["20.0.0", "20.9.1"], ["21.0.0", "19.9.9"]),
        ("20.x", ["20.9.1"], ["21.0.0"]),
        ("v20.10.x", ["20.10.7"], ["20.11.0"]),
        ("=20.1.2", ["20.1.2"], ["20.1.3"]),
        ("^18.17.0 || >=20.5.0", ["18.17.0", "18.99.0", "20.5.0", "24.0.0"], ["18.16.9", "19.0.0", "20.4.0"]),
        ("~20.3.1", ["20.3.1", "20.3.9"], ["20.4.0", "20.3.0"]),
        ("~20", ["20.9.0"], ["21.0.0"]),
        (">=18.0.0 <21", ["18.0.0", "20.99.0"], ["21.0.0"]),
        (">= 18, < 21", ["20.0.0"], ["21.0.0"]),
        ("18 - 20", ["18.0.0", "20.9.0"], ["21.0.0", "17.0.0"]),
        ("18.2 - 20.1.1", ["18.2.0", "20.1.1"], ["20.1.2"]),
    ],
)
def test_ranges_mean_what_npm_means(text: str, inside: list[str], outside: list[str]) -> None:
    intervals = noderange.parse(text)
    for version in inside:
        assert any(noderange.version(version) in interval for interval in intervals), version
    for version in outside:
        assert not any(noderange.version(version) in interval for interval in intervals), version


@given(st.text(max_size=20) | st.from_regex(r"[\^~<>=v0-9x.* |-]{0,20}", fullmatch=True))
def test_any_text_is_a_range_or_a_clear_error(text: str) -> None:
    try:
        noderange.parse(text)
    except ValueError as error:
        assert "version range" in str(error)


def planned(package: dict[str, Any], files: set[str] | None = None, host: str = "20.1.0") -> dict[str, str]:
    found: dict[str, str] = plan.plan(package, frozenset(files or set()), host)
    return found


@pytest.mark.parametrize(
    ("engines", "host", "specifier"),
    [
        (None, "18.20.0", ""),
        (None, "", ">=22"),
        (">=18", "18.20.0", ""),
        (">=18", "", ">=18.0.0"),
        ("22.x", "20.1.0", ">=22.0.0,<23.0.0"),
        ("^20.5 || ^22", "18.1.0", ">=22.0.0,<23.0.0"),
    ],
)
def test_the_hosts_node_is_used_when_it_will_do(engines: str | None, host: str, specifier: str) -> None:
    package = {"engines": {"node": engines}} if engines else {}
    assert planned(package, host=host)["node_specifier"] == specifier


@pytest.mark.parametrize("engines", ["latest", ">=18 <18", "lts/*"])
def test_a_range_that_is_none_names_the_key(engines: str) -> None:
    with pytest.raises(plan.Wrong, match=r"engines\.node"):
        planned({"engines": {"node": engines}})


@pytest.mark.parametrize(
    ("package", "files", "start"),
    [
        ({"scripts": {"start": "node server.js"}}, {"server.js"}, "exec node server.js"),
        ({"scripts": {"start": "next start -p $PORT"}}, set(), "exec next start -p $PORT"),
        ({"scripts": {"start": "npm run serve", "serve": "node x.js"}}, set(), "exec node x.js"),
        ({"scripts": {"start": "npm start"}}, set(), "exec npm start"),
        ({"scripts": {"start": "A=1 node x.js"}}, set(), "A=1 node x.js"),
        ({"scripts": {"start": "node a.js && node b.js"}}, set(), "node a.js && node b.js"),
        ({"scripts": {"start": "cd dist; node x"}}, set(), "cd dist; node x"),
        ({"scripts": {"start": "cd dist"}}, set(), "cd dist"),
        ({"scripts": {"prestart": "node p", "start": "node s"}}, set(), "node p && node s"),
        ({}, {"server.js"}, "exec node server.js"),
        ({"main": "lib/x.js"}, set(), "exec node lib/x.js"),
        ({"main": "x.js; id"}, set(), ""),
        ({"main": "--eval=1"}, {"index.js"}, "exec node index.js"),
        ({}, set(), ""),
    ],
)
def test_how_an_app_is_started(package: dict[str, Any], files: set[str], start: str) -> None:
    assert planned(package, files)["start"] == start


@pytest.mark.parametrize(
    ("package", "files", "wanted"),
    [
        ({}, set(), {"install": "none"}),
        ({}, {"package-lock.json"}, {"install": "none"}),
        ({"dependencies": {"a": "1"}}, set(), {"install": "loose", "cacheable": ""}),
        ({"dependencies": {"a": "1"}}, {"package-lock.json"}, {"install": "locked", "cacheable": "1", "omit_dev": "1"}),
        ({"dependencies": {"a": "file:lib"}}, {"package-lock.json"}, {"cacheable": ""}),
        ({"dependencies": {"a": "1"}, "scripts": {"postinstall": "x"}}, {"package-lock.json"}, {"cacheable": ""}),
        ({"dependencies": {"a": "1"}, "workspaces": ["x"]}, {"package-lock.json"}, {"cacheable": ""}),
        ({"devDependencies": {"a": "1"}, "scripts": {"build": "x"}}, {"yarn.lock"},
         {"manager": "yarn", "prune": "1", "omit_dev": "", "has_build": "1"}),
        ({"dependencies": {"a": "1"}}, {"pnpm-lock.yaml"}, {"manager": "pnpm"}),
    ],
)  # fmt: skip
def test_what_is_installed_and_kept(package: dict[str, Any], files: set[str], wanted: dict[str, str]) -> None:
    found = planned(package, files)
    assert {key: found[key] for key in wanted} == wanted


def test_a_script_does_not_change_the_key_of_the_cache_but_a_dependency_does() -> None:
    base = {"dependencies": {"a": "1"}}
    key = plan.cache_key(base, b"lock")
    assert plan.cache_key(base | {"scripts": {"start": "x"}}, b"lock") == key
    assert plan.cache_key({"dependencies": {"a": "2"}}, b"lock") != key
    assert plan.cache_key(base, b"other") != key


@pytest.mark.processes
@given(start=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
def test_whatever_a_start_script_contains_arrives_in_the_shell_as_it_is(start: str) -> None:
    """The plan is evaluated by a shell; package.json is somebody else's text."""
    command = plan._quoted(start)
    shown = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, check=True).stdout
    assert shown == start.encode()


@needs_node
@pytest.mark.processes
def test_a_start_command_arrives_in_the_release_as_it_is(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    start = r"""node -e 'console.log("a\\b $PORT")' `true` # \n %s"""
    result = workshop.build({"package.json": json.dumps({"scripts": {"start": start}})}, "node")
    import yaml

    assert yaml.safe_load(result["release"]) == {"default_process_types": {"web": start}}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"package.json": "{"}, "not valid JSON"),
        ({"package.json": "[]"}, "must be an object"),
        ({"package.json": '{"engines": {"node": "new"}}'}, "engines.node"),
    ],
)
def test_a_package_json_that_cannot_be_used_says_why(tmp_path: Path, files: dict[str, str], says: str) -> None:
    result = Workshop(tmp_path).build(files, "node")
    assert result["code"] == "build_failed"
    assert says in result["message"]


@needs_node
@pytest.mark.processes
def test_an_app_without_dependencies_is_built_without_npm(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    result = workshop.build(SAMPLES / "node", "node")
    assert result["ok"], result
    assert not (workshop.checkout / "node_modules").exists()
    assert not (workshop.root / "cache" / "node" / "npm").exists()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kept", "origin", "shared"),
    [
        ("", "", False),
        ("a", "", False),
        ("", "/x/slugs/a/app/.venv", False),
        ("a", "/x/slugs/a/app/.venv", True),
        ("b a c", "/x/slugs/a/app/deep/node_modules", True),
        ("aa b", "/x/slugs/a/app/.venv", False),
        ("a", "/x/slugs/*/app/.venv", False),
    ],
)
def test_only_what_lies_in_a_kept_slug_is_shared(kept: str, origin: str, shared: bool) -> None:
    script = '. lib/slugs.sh; slugs::kept "$1"'
    environment = {"PATH": "/usr/bin:/bin", "RUSTPLOY_KEPT_SLUGS": kept}
    done = subprocess.run(["bash", "-c", script, "bash", origin], cwd=BUILDPACKS, env=environment, check=False)
    assert (done.returncode == 0) is shared
