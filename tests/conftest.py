"""Fixtures of all tests, and the guard that keeps unit tests from reaching outside by accident."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import Machine, build_deb

RELEASES = (
    ["bookworm", "trixie"]
    if os.environ.get("CI_FULL") == "1"
    else os.environ.get("RUSTPLOY_TEST_RELEASES", "bookworm").split(",")
)
REACHES_OUTSIDE = {
    "subprocess.Popen",
    "os.system",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "socket.connect",
    "socket.bind",
}

#: Niceness of a process that has no tests on the shared machine, as long as there are two.
BESIDE = 10

_guarded = False


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if _guarded and event in REACHES_OUTSIDE:
        raise RuntimeError(f"a unit test caused {event}{arguments!r:.200}; mark it `processes` if that is its purpose")


sys.addaudithook(_guard)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What all tests used is searched for when all have run. Of two processes, one has all tests on the one machine."""
    items.sort(key=lambda item: item.path.name == "test_secrets.py")
    for item in items:
        item.add_marker(pytest.mark.xdist_group("machine" if _on_the_machine(item) else item.path.name))


def _on_the_machine(item: pytest.Item) -> bool:
    return "session_machine" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What runs beside the machine that all share, machines of a test's own too, gives way to what is timed on it."""
    if hasattr(item.config, "workerinput") and not _on_the_machine(item):
        os.setpriority(os.PRIO_PROCESS, 0, BESIDE)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A unit test starts no process and opens no socket, unless it is marked `processes`."""
    global _guarded
    _guarded = "unit" in item.path.relative_to(item.config.rootpath).parts and not item.get_closest_marker("processes")
    try:
        return (yield)
    finally:
        _guarded = False


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the work tree."""
    return build_deb(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Each Debian release that this run covers."""
    return str(request.param)


@pytest.fixture(scope="session")
def session_machine(release: str, deb: Path) -> Iterator[Machine]:
    """One machine for the whole session, with the package installed; tests take `machine`."""
    machine = Machine.create(release)
    try:
        machine.install(deb)
        yield machine
    finally:
        machine.end()


@pytest.fixture
def machine(session_machine: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The booted machine that all tests share: agent running, an admin's token, repositories under /srv/git allowed.

    A test that ends with a failed unit fails, unless it is marked `failed_units("name", …)`.
    """
    yield session_machine
    expected = {name for marker in request.node.iter_markers("failed_units") for name in marker.args}
    failed = set(session_machine.failed_units()) - expected
    if failed:
        session_machine.run(["systemctl", "reset-failed"])
        pytest.fail(f"the test left failed units: {', '.join(sorted(failed))}")


@pytest.fixture
def bare_machine(release: str) -> Iterator[Machine]:
    """A machine of the test's own, without the package."""
    machine = Machine.create(release)
    try:
        yield machine
    finally:
        machine.end()
