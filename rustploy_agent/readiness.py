"""Waits until processes that were started are ready to serve, or says why they are not."""

from __future__ import annotations

import pwd
import time
from typing import Any
from urllib.parse import urlsplit

from rustploy_agent import health, instances, journal, routing, sockets
from rustploy_agent.errors import DeploymentFailed, Killed
from rustploy_agent.models import Process, Release
from rustploy_agent.run import Run
from rustploy_agent.unit_state import ExitState

#: A process without a port counts as healthy when it has stayed up so long.
STAY_UP_SECONDS = 3
#: A process that systemd had to start again counts as running when it has run so long; a crash loop seldom does.
SETTLED_SECONDS = 10
#: How long the next end of a process that was started again is waited for: mostly it is like the one before.
NEXT_END_SECONDS = 3
#: Lines of an app quoted in a failure, and how long journald may take to store those of a process that just ended.
LAST_LINES, JOURNAL_SECONDS = 10, 0.3
READ_ONLY_ERRORS = ("Read-only file system", "EROFS")
READ_ONLY_HINT = (
    "it may write to $RUSTPLOY_DATA_DIR and /tmp; with app.filesystem: ephemeral in rustploy.yaml "
    "also into a copy of its release"
)
EXPOSED = (
    "the app listens on port {port} of every address of this host, so it can be reached from outside without the "
    "ingress; have it listen on 127.0.0.1"
)


def become_healthy(run: Run, release: Release, slot: str, only: list[Process] | None = None) -> None:
    """All instances of the release, or `only` these."""
    processes = instances.of_release(run.app, release) if only is None else only
    wait_until_healthy(run, processes, release, slot)
    tell_of_exposure(run, processes, slot)


def wait_until_healthy(run: Run, processes: list[Process], release: Release, slot: str) -> None:
    silent = []
    for process in processes:
        unit, port = instances.unit(run.app, process, slot), process.port(slot)
        if port is None:
            silent.append(unit)
            continue
        try:
            run.log(_check(run, release, port).wait(_Watch(run, unit)))
        except health.Unhealthy as error:
            which = f"instance {process.number} of {process.type}: " if process.number > 1 else ""
            raise DeploymentFailed("unhealthy", with_last_lines(run, f"{which}{error}", unit)) from None
    if silent:
        _stay_up(run, silent)
    for unit, state in run.systemd.states([instances.unit(run.app, process, slot) for process in processes]).items():
        if state.active != "active" or state.restarting:  # it answered once and ended, while others were waited for
            raise exited(run, unit)


def _check(run: Run, release: Release, port: int) -> health.HealthCheck:
    owner = pwd.getpwnam(f"rp-{run.app.name}").pw_uid
    rows = instances.of(run.app)
    others = [port for slot in instances.SLOTS for port in instances.ports(rows, slot)]
    wishes: dict[str, Any] = {"timeout_seconds": run.settings.timeouts.health, **_visitor(run)} | release.health
    return health.HealthCheck(port, owner, other_ports=others, **wishes)


def _visitor(run: Run) -> dict[str, str]:
    """Return the name and the scheme by which visitors reach the app; nothing when it has no name yet."""
    urls = routing.urls(run.app, run.settings)
    if not urls:
        return {}
    first = urlsplit(urls[0])
    return {"host": first.netloc.replace("*", "www", 1), "scheme": first.scheme}


def serves(run: Run, process: Process, release: Release, slot: str) -> bool:
    """Whether a process of a release that runs is in no crash loop and, if it serves HTTP, answers."""
    return not crashes(run, process, slot) and _answers(run, process, release, slot)


def crashes(run: Run, process: Process, slot: str) -> bool:
    """Whether systemd has just had to start it again, or is about to."""
    unit = instances.unit(run.app, process, slot)
    return run.systemd.state(unit).restarting or run.systemd.crashed_within(unit, SETTLED_SECONDS)


def stay_healthy(run: Run, processes: list[Process], release: Release, slot: str) -> None:
    """For what may crash a moment after its first answer: it has to run for a while, and to answer again."""
    _stay_up(run, [instances.unit(run.app, process, slot) for process in processes])
    for process in processes:
        if not _answers(run, process, release, slot):
            unit = instances.unit(run.app, process, slot)
            sentence = f"{unit} answered once, but not after it had run for {STAY_UP_SECONDS} s"
            raise DeploymentFailed("unhealthy", with_last_lines(run, sentence, unit))


def _answers(run: Run, process: Process, release: Release, slot: str) -> bool:
    port = process.port(slot)
    return port is None or _check(run, release, port).passes()


def tell_of_exposure(run: Run, processes: list[Process], slot: str) -> None:
    """Not before the switch: the kernel goes through all sockets of the host, which takes longer than a probe."""
    for port in sockets.exposed(instances.ports(processes, slot)):
        run.log(EXPOSED.format(port=port), priority=4)


class _Watch:
    """Called between probes: objects when the deployment was cancelled or the unit is gone (10 looks a second)."""

    def __init__(self, run: Run, unit: str) -> None:
        self._run, self._unit, self._next = run, unit, time.monotonic() + 0.1

    def __call__(self) -> None:
        self._run.raise_if_cancelled()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        state = self._run.systemd.state(self._unit)
        if state.active != "active" or state.restarting:
            raise exited(self._run, self._unit)


def _stay_up(run: Run, names: list[str]) -> None:
    watches, deadline = [_Watch(run, unit) for unit in names], time.monotonic() + STAY_UP_SECONDS
    while time.monotonic() < deadline:
        for watch in watches:
            watch()
        time.sleep(0.1)
    for unit in names:
        run.log(f"{unit} has stayed up for {STAY_UP_SECONDS} s")


def exited(run: Run, unit: str) -> DeploymentFailed:
    ended = _end(run, unit)
    return (Killed if ended.killed else DeploymentFailed)("exited", with_last_lines(run, f"{unit} {ended}", unit))


def _end(run: Run, unit: str) -> ExitState:
    """How the unit's process ended, which systemd knows only until it has started the next one, a second later."""
    deadline = time.monotonic() + NEXT_END_SECONDS
    while True:
        run.raise_if_cancelled()
        ended = run.systemd.exit_state(unit)
        if ended.code or ended.refused or time.monotonic() > deadline:
            return ended
        time.sleep(0.1)


def with_last_lines(run: Run, sentence: str, unit: str) -> str:
    """By deployment, not by boot: a sandbox with a /proc of its own sees another boot id in a container."""
    lines = journal.unit_lines(unit, run.deployment.id, LAST_LINES)
    if not lines:
        time.sleep(JOURNAL_SECONDS)
        lines = journal.unit_lines(unit, run.deployment.id, LAST_LINES)
    if any(said in line for line in lines for said in READ_ONLY_ERRORS):
        sentence += f" ({READ_ONLY_HINT})"
    return sentence if not lines else f"{sentence}; its last lines:\n" + "\n".join(line[:500] for line in lines)
