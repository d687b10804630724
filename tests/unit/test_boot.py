"""rustploy-boot without a machine: which apps it starts after a boot, in which order, and how many at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rustploy_agent.apply import boot, rendering, steps
from rustploy_agent.apply.host import Host
from rustploy_agent.apply.wish import Refused

UP = "ActiveState=active\nJob=\n\nActiveState=active\nJob=\n"


class Booting(Host):
    """A root of its own; systemd answers what a test gives it, and its starts are noted."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.answers = [UP]
        self.started: list[tuple[str, ...]] = []
        self.refused: set[str] = set()
        (root / steps.UNITS[1:]).mkdir(parents=True)

    def ask(self, *argv: str) -> str:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def run(self, *argv: str) -> None:
        assert argv[:4] == ("/usr/bin/timeout", boot.BATCH_SECONDS, "/usr/bin/systemctl", "start")
        self.started.append(argv[4:])
        if self.refused & set(argv):
            raise Refused("it failed")

    def add(self, app: str, instance: str, written: float | None = None) -> Path:
        """Render a unit of the app and, with a time, write its slot file."""
        unit = f"rustploy-app@{app}-{instance}.service"
        Path(self.root + rendering.drop_in_path(unit)).parent.mkdir()
        slot = Path(f"{self.root}{rendering.STATE}/apps/{app}/slots/{instance}.env")
        slot.parent.mkdir(parents=True, exist_ok=True)
        if written is not None:
            slot.write_text("")
            os.utime(slot, (written, written))
        return slot

    def all(self) -> list[str]:
        return [unit.removeprefix("rustploy-app@").removesuffix(".service") for one in self.started for unit in one]


@pytest.fixture
def host(tmp_path: Path) -> Booting:
    return Booting(tmp_path)


def test_what_was_started_last_is_started_first(host: Booting) -> None:
    """Else an app that is in use waits for a hundred that nobody has touched for a year."""
    for app, written in (("old", 1.0), ("new", 3.0), ("a-b", 2.0)):
        host.add(app, "web-a", written)
        host.add(app, "web-b")
    host.add("new", "worker-a2", 2.5)
    assert boot.main(host) == 0
    assert host.all() == ["new-web-a", "new-worker-a2", "a-b-web-a", "old-web-a"]


def test_no_more_than_a_few_are_set_up_at_once(host: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else 150 sandboxes are set up at once, and nothing is served for half a minute."""
    monkeypatch.setattr(boot, "AT_ONCE", 4)
    for number in range(10):
        host.add(f"app{number}", "web-a", 100.0 - number)
    boot.main(host)
    assert [len(one) for one in host.started] == [4, 4, 2]
    assert host.all() == [f"app{number}-web-a" for number in range(10)]


def test_what_is_no_regular_file_starts_nothing(host: Booting) -> None:
    """Else half a deployment of before the reboot is started, or whatever a link points to decides."""
    os.mkfifo(host.add("pipe", "web-a"))
    host.add("link", "web-a").symlink_to("/etc/passwd")
    host.add("directory", "web-a").mkdir()
    host.add("fine", "web-a", 1.0)
    (Path(host.root + rendering.STATE) / "apps/fine/slots/task.env").write_text("")
    boot.main(host)
    assert host.all() == ["fine-web-a"]


def test_an_app_that_cannot_start_keeps_no_other_from_it(host: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one broken app is an outage of all of them."""
    monkeypatch.setattr(boot, "AT_ONCE", 1)
    host.add("broken", "web-a", 2.0)
    host.add("fine", "web-a", 1.0)
    host.refused = {"rustploy-app@broken-web-a.service"}
    assert boot.main(host) == 0
    assert host.all() == ["broken-web-a", "fine-web-a"]


@pytest.mark.parametrize("state", ["ActiveState=activating\nJob=\n", "ActiveState=inactive\nJob=17\n"])
def test_the_ingress_and_the_agent_come_first(host: Booting, state: str) -> None:
    """Else the apps take the processors from what serves all of them."""
    host.answers = [f"{state}\n{UP}", f"{UP}\n{state}", UP]
    host.add("blog", "web-a", 1.0)
    boot.main(host)
    assert host.answers == [UP]
    assert host.all() == ["blog-web-a"]


def test_apps_come_up_without_the_ingress_and_the_agent(host: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an agent that hangs at its start, or systemd that does not answer, is an outage of all apps."""
    monkeypatch.setattr(boot, "FIRST_SECONDS", 0.2)
    host.add("blog", "web-a", 1.0)
    host.answers = ["ActiveState=failed\nJob=\n\nActiveState=activating\nJob=9\n"]
    boot.main(host)
    assert host.all() == ["blog-web-a"]
