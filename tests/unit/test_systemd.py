"""systemd out of reach: questions are asked again, actions are not done twice, deployments are tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rustploy_agent import systemd, worker
from rustploy_agent.core import Core
from rustploy_agent.errors import SystemdError, SystemdUnavailable
from rustploy_agent.models import Deployment
from tests.unit.manager import Door, Manager, Unit
from tests.unit.test_worker import importable
from tests.unit.waiting import ended

UNIT = "rustploy-task@blog.service"


def glib_error(message: str, domain: str, code: int) -> Exception:
    """As GLib's bindings raise it; recognised by its module, because importing the real one takes memory."""

    class Error(Exception):
        pass

    Error.__module__ = "gi.repository.GLib"
    error: Any = Error(f"{domain}: {message} ({code})")
    error.domain, error.code = domain, code
    raised: Exception = error
    return raised


def closed() -> Exception:
    return glib_error("The connection is closed", "g-io-error-quark", 18)


def remote(name: str) -> Exception:
    return glib_error(f"GDBus.Error:org.freedesktop.DBus.Error.{name}: …", "g-dbus-error-quark", 4)


LOST: dict[str, Callable[[], Exception]] = {
    "a closed connection": closed,
    "a timeout": lambda: glib_error("Timeout was reached", "g-io-error-quark", 24),
    "a systemd that left": lambda: remote("NoReply"),
    "a systemd that is not there": lambda: remote("NameHasNoOwner"),
    "an activation that failed": lambda: remote("Spawn.ChildExited"),
}


class Flaky(Manager):
    """Fails the next calls of a method, before it does what is asked or, with `after`, when it has been done."""

    def __init__(self, state: Path, method: str, error: Callable[[], Exception], times: int, after: bool) -> None:
        super().__init__(state)
        self._method, self._error, self._times, self._after = method, error, times, after
        self.tried = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name[0].isupper() and name == self._method:
            return lambda *arguments, **options: self._call(found, *arguments, **options)
        return found

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.tried += 1
        fails = self.tried <= self._times
        result = method(*arguments, **options) if self._after or not fails else None
        if fails:
            raise self._error()
        return result


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Flaky, Door]]:
    monkeypatch.setattr(systemd, "AGAIN_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(systemd, "AGAIN_SECONDS", 0.5)

    def make(method: str, error: Callable[[], Exception], times: int = 2, *, after: bool = False) -> tuple[Flaky, Door]:
        manager = Flaky(tmp_path, method, error, times, after)
        return manager, Door(manager)

    return make


@pytest.mark.parametrize("how", LOST)
def test_a_question_is_asked_again(flaky: Callable[..., tuple[Flaky, Door]], how: str) -> None:
    """Else a restart of D-Bus or of systemd itself fails whatever is under way."""
    manager, door = flaky("ListUnitsByNames", LOST[how])
    assert door.state(UNIT).active == "inactive"
    assert manager.tried == 3


def test_a_question_is_not_asked_for_ever(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    """Else every thread of the API hangs while D-Bus is away; whoever comes later is told at once."""
    manager, door = flaky("ListUnitsByNames", closed, times=10**6)
    with pytest.raises(SystemdUnavailable, match="did not answer"):
        door.state(UNIT)
    before = manager.tried
    with pytest.raises(SystemdUnavailable):
        door.state(UNIT)
    assert manager.tried == before + 1


def test_a_refusal_is_not_repeated(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    """Else each denied call takes seconds, and a real trouble looks like one that heals by itself."""
    manager, door = flaky("ListUnitsByNames", lambda: remote("AccessDenied"))
    with pytest.raises(SystemdError) as caught:
        door.state(UNIT)
    assert manager.tried == 1 and not isinstance(caught.value, SystemdUnavailable)


def test_a_stop_is_repeated(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    """Stopping twice is stopping; left out, an old release would go on."""
    manager, door = flaky("StopUnit", closed)
    door.stop(UNIT)
    assert manager.tried == 3


@pytest.mark.parametrize("method", ["StartUnit", "RestartUnit"])
def test_a_start_of_what_may_start_twice_is_repeated(flaky: Callable[..., tuple[Flaky, Door]], method: str) -> None:
    """Else a deployment or a restart of an app ends where it could have gone on."""
    manager, door = flaky(method, closed)
    manager.instead["web-a"] = "true"
    (door.start if method == "StartUnit" else door.restart)("rustploy-app@blog-web-a.service")
    assert manager.tried == 3


def test_a_start_that_systemd_never_heard_of_is_repeated(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    manager, door = flaky("StartUnit", LOST["a systemd that is not there"])
    manager.units["rustploy-app@blog-web-a.service"] = Unit("active", "running")
    door.start_once("rustploy-app@blog-web-a.service")
    assert manager.tried == 3


def test_a_start_whose_answer_was_lost_is_not_done_twice(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    """Else migrations run twice in one attempt."""
    manager, door = flaky("StartUnit", closed, after=True)
    manager.units[UNIT] = Unit("active", "running")
    door.start_once(UNIT)
    assert manager.tried == 1


def test_a_start_that_may_be_over_already_is_told_of_as_unknown(flaky: Callable[..., tuple[Flaky, Door]]) -> None:
    """Whether it ran cannot be told, so who asked for it does everything again, or tells the caller."""
    manager, door = flaky("RestartUnit", closed)
    manager.units[UNIT] = Unit()
    with pytest.raises(SystemdUnavailable):
        door.restart_once(UNIT)
    assert manager.tried == 1


@pytest.mark.processes
def test_a_deployment_that_systemd_did_not_answer_is_tried_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one daemon-reexec at the wrong moment fails it for good, although `deployments.attempts` promises tries."""
    monkeypatch.setattr(worker, "BACKOFF_MS", 10)
    app = importable("blog", core)
    manager = core.systemd.manager  # type: ignore[attr-defined]
    restart, failed = manager.RestartUnit, []

    def lost_once(name: str, mode: str, *, timeout: float) -> str:
        if name.startswith("rustploy-fetch@") and not failed:
            failed.append(name)
            raise closed()
        job: str = restart(name, mode, timeout=timeout)
        return job

    manager.RestartUnit = lost_once
    core.worker.start()
    deployment = Deployment(app=app)
    core.worker.enqueue(deployment)
    done = ended(deployment.id)
    assert (done.status, done.attempt) == ("healthy", 2)
