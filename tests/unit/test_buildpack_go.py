"""The go buildpack's choices: which Go builds, what is built, which program is the web process."""

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.unit.programs import BUILDPACKS


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goplan", BUILDPACKS / "go" / "lib" / "plan.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["goplan"] = module
    spec.loader.exec_module(module)
    return module


goplan = load()


@pytest.mark.parametrize(
    ("go_mod", "host", "specifier"),
    [
        ("module a\n\ngo 1.19\n", "go1.19.8", ""),
        ("module a\n\ngo 1.22\n", "go1.19.8", ">=1.22"),
        ("module a\n\ngo 1.22.3\n\ntoolchain go1.23.1\n", "go1.22.2", ">=1.22.3"),
        ("module a\n\ngo 1.22.3\n", "go1.24.4", ""),
        ("module a\n\ngo 1.13\n", "", ">=1.21"),
        ("module a\n", "", ">=1.21"),
        ("", "go1.19.8", ""),
        ("module a\r\n\r\ngo 1.22\r\n", "go1.19.8", ">=1.22"),
        ("// +heroku goVersion go1.20\nmodule a\n\ngo 1.12\n", "go1.19", ">=1.21"),
        ("module a\ngo 1.9\n", "go1.19", ""),
    ],
)
def test_the_hosts_go_builds_when_it_is_new_enough(go_mod: str, host: str, specifier: str) -> None:
    """An older Go refuses the module; a fetched one costs 200 MB where the host has one already."""
    assert goplan.plan(go_mod, host).specifier == specifier


@pytest.mark.parametrize(
    ("go_mod", "packages"),
    [
        ("module a\n", ("./...",)),
        ("// +heroku install ./cmd/...\nmodule a\n", ("./cmd/...",)),
        ("// +heroku install . ./cmd/worker\nmodule a\n", (".", "./cmd/worker")),
        ("// +heroku install -x ../up $(id)\nmodule a\n", ("./...",)),
    ],
)
def test_the_packages_of_heroku_comments_are_built_and_nothing_else_passes(
    go_mod: str, packages: tuple[str, ...]
) -> None:
    assert goplan.plan(go_mod, "").packages == packages


@pytest.mark.parametrize(
    ("module", "programs", "web"),
    [
        ("example.org/blog", ["blog"], "blog"),
        ("example.org/blog", ["tool"], "tool"),
        ("example.org/blog/v3", ["tool", "blog"], "blog"),
        ("example.org/blog", ["migrate", "server"], "server"),
        ("example.org/blog", ["one", "two"], ""),
        ("", ["one", "web"], "web"),
    ],
)
def test_the_web_program_is_named_by_the_module_or_by_custom(module: str, programs: list[str], web: str) -> None:
    """A wrong guess would start a migration tool as the web server."""
    assert goplan.web_program(module, programs) == web
