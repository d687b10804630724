"""The running side of a release: its release phase, start in the idle slot, health, switch, draining the old slot."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

from rustploy_agent import (
    environment,
    events,
    http_probe,
    instances,
    precedence,
    readiness,
    releases,
    routes,
    routing,
    slots,
    sockets,
    units,
)
from rustploy_agent.clock import now_ms
from rustploy_agent.errors import DeploymentFailed, Killed
from rustploy_agent.models import NO_ERROR, App, Process, Release, database
from rustploy_agent.ports import WEB
from rustploy_agent.run import Run
from rustploy_agent.unit_state import ExitState

#: How the command of a static site begins (buildpacks/lib/site.sh).
FILE_SERVER = "exec /usr/bin/caddy run "
START_SECONDS = 30
STOP_SECONDS = 60
#: What the ingress has decided for the old slot just before the switch, it has connected to after so long.
HANDOVER_SECONDS = 0.5


def start(run: Run, release: Release, slot: str, written: Callable[[], None] = lambda: None) -> None:
    run.step("start")
    if any(_runs_in_copy(run, release, command) for command in release.processes.values()):
        run.log(
            "the app runs in a copy of its release; what it writes there is gone with its next start, "
            "what it writes to $RUSTPLOY_DATA_DIR stays"
        )
    launch(run, release, slot, written=written)


def launch(
    run: Run,
    release: Release,
    slot: str,
    only: list[Process] | None = None,
    written: Callable[[], None] = lambda: None,
) -> None:
    """All instances of the release, or `only` these.

    Units that were started ahead, and waited for what is written, run already. The disk is waited for meanwhile.
    """
    processes = instances.of_release(run.app, release) if only is None else only
    for process in processes:
        _write_slot(run, release, process, slot)
    written()
    named = [instances.unit(run.app, process, slot) for process in processes]
    started = [unit for unit, state in run.systemd.states(named).items() if state.active != "active"]
    for unit in started:
        run.systemd.start(unit)
    for process in processes:
        slots.make_durable(instances.slot_file(run.path, process, slot))
    for unit in started:
        _wait_until_up(run, unit)


def _write_slot(run: Run, release: Release, process: Process, slot: str) -> Path:
    """Write what the process will find at its next start; return the file."""
    env, file = process_environment(run, release, process, slot), instances.slot_file(run.path, process, slot)
    slots.write(file, _rendered(run, release, env, release.processes[process.type]))
    return file


def relaunch(run: Run, release: Release, slot: str) -> None:
    """Until all are healthy, one after the other: of several that serve HTTP only one is away at a time."""
    processes = instances.of_release(run.app, release)
    for process in processes:
        unit = instances.unit(run.app, process, slot)
        slots.make_durable(_write_slot(run, release, process, slot))  # the app may have other names by now
        run.systemd.restart(unit)
        _wait_until_up(run, unit)
        if process.type == WEB:
            readiness.become_healthy(run, release, slot, [process])
    readiness.become_healthy(run, release, slot, [process for process in processes if process.type != WEB])


def _wait_until_up(run: Run, unit: str) -> None:
    state = run.systemd.settle(unit, START_SECONDS, run.cancelled.is_set)
    if state is None or state.active != "active":
        raise readiness.exited(run, unit)


def release_phase(run: Run, release: Release) -> None:
    if not release.release_command:
        return
    run.step("release")
    run.log(f"release phase: {release.release_command}")
    ended = run_task(run, release, str(release.release_command), run.settings.timeouts.release)
    if ended is not None:
        sentence = f"the release phase {ended}; it ran: {release.release_command}"
        kind = Killed if ended.killed else DeploymentFailed
        raise kind("release_failed", readiness.with_last_lines(run, sentence, units.task(run.app.name)))


def run_task(run: Run, release: Release, command: str, seconds: float) -> ExitState | None:
    """Run a command in the app's task unit; return how it failed, None when it did not.

    DeploymentFailed when it takes longer than `seconds`, or the deployment was cancelled.
    """
    unit, env = units.task(run.app.name), process_environment(run, release, None, None)
    run.systemd.stop_and_wait(unit, STOP_SECONDS)  # what an attempt that lost sight of systemd may have left
    slots.write(slots.task_path(run.path), _rendered(run, release, env, command))
    run.systemd.start_once(unit)
    state = run.systemd.settle(unit, seconds, run.cancelled.is_set)
    if state is None:
        run.systemd.stop_and_wait(unit, STOP_SECONDS)
        run.raise_if_cancelled()
        raise DeploymentFailed("release_timeout", f"the release phase did not end within {seconds:g} s")
    if state.active != "failed":
        return None
    ended = run.systemd.exit_state(unit)
    run.systemd.reset_failed(unit)
    return ended


def process_environment(run: Run, release: Release, process: Process | None, slot: str | None) -> dict[str, str]:
    """The release's own variables and what the platform tells every process."""
    data = str(run.path / "data")
    platform = {
        "RUSTPLOY_APP": run.app.name,
        "RUSTPLOY_DEPLOYMENT": run.deployment.id,
        "RUSTPLOY_RELEASE": str(release.version),
        "RUSTPLOY_COMMIT": release.commit_sha or "",
        "RUSTPLOY_DATA_DIR": data,
        "HOME": data,
    }
    urls = routing.urls(run.app, run.settings)
    if urls:
        platform |= {"RUSTPLOY_URL": urls[0], "RUSTPLOY_HOSTS": ",".join(str(urlsplit(url).hostname) for url in urls)}
    if process is not None and slot is not None:
        platform |= {"RUSTPLOY_PROCESS": process.type, "RUSTPLOY_SLOT": slot, "RUSTPLOY_INSTANCE": str(process.number)}
        port = process.port(slot)
        if port is not None:
            platform["PORT"] = str(port)
    return environment.of_release(release, run.settings.paths) | platform


def await_health(run: Run, release: Release, slot: str) -> None:
    """Of an app that crashes now, the new release has to show that it does not."""
    run.step("health")
    processes = instances.of_release(run.app, release)
    readiness.wait_until_healthy(run, processes, release, slot)
    active = run.app.active_slot
    if active and any(readiness.crashes(run, process, active) for process in instances.wanted_of(run.app)):
        run.log("what serves now has crashed; whether this stays up is watched for a while")
        readiness.stay_healthy(run, processes, release, slot)


def switch(run: Run, release: Release, slot: str) -> None:
    """One transaction: from here on the new release is the app, and the deployment is healthy whatever happens next.

    The ingress is pointed to it right before the commit, so who reads `healthy` meets the new release. Killed between
    the two, the next start points it back, before it stops anything.
    """
    run.step("switch")
    try:
        _switch(run, release, slot)
    except BaseException:
        # What was not committed did not happen; a row in memory that says otherwise would end nothing.
        run.deployment.status = "deploying"
        routing.mark(run.settings, App.get_by_id(run.app.id))
        raise
    run.app = App.get_by_id(run.app.id)
    port = web_port(run.app)
    run.log(f"release v{release.version} serves" + (f" at http://{http_probe.LOOPBACK}:{port}" if port else ""))
    events.deployment_finished.send(run.deployment)
    readiness.tell_of_exposure(run, instances.of_release(run.app, release), slot)


def _switch(run: Run, release: Release, slot: str) -> None:
    with database.atomic("IMMEDIATE"):
        releases.mark_healthy(release)
        App.update(active_slot=slot, active_release_id=release.id, stopped=False, updated_at_unix_ms=now_ms()).where(
            App.id == run.app.id
        ).execute()
        if not run.deployment.move(("deploying",), "healthy", outcome=run.outcome, **NO_ERROR):
            raise DeploymentFailed("internal_error", "the deployment was ended by somebody else before the switch")
        routes.point(run.settings.paths.routes, run.app.name, slot)


def leave(run: Run, release: Release) -> None:
    """What was asked for serves already: the processes go on, under the deployment that started them."""
    run.raise_if_cancelled()
    run.log(f"release v{release.version} is this commit with this configuration, and runs; nothing to do")
    if not run.deployment.move(("deploying",), "healthy", outcome="unchanged", release_id=release.id, **NO_ERROR):
        raise DeploymentFailed("internal_error", "the deployment was ended by somebody else")
    events.deployment_finished.send(run.deployment)


def runs(run: Run, release: Release) -> bool:
    """Whether every process of the active release runs and serves, and would after a reboot."""
    slot, processes = str(run.app.active_slot), instances.of_release(run.app, release)
    for process in processes:
        state = run.systemd.state(instances.unit(run.app, process, slot))
        if state.active != "active" or not instances.slot_file(run.path, process, slot).exists():
            return False
    return all(readiness.serves(run, process, release, slot) for process in processes)


def drain(run: Run) -> None:
    """Lets requests in flight on the old slot end, then stops it. Not to be cancelled: the switch is done."""
    run.mark("drain")
    old = run.app.idle_slot
    slots.remove(run.path, old)
    let_requests_end(run, instances.of(run.app), old)
    stop_slot(run, old)


def let_requests_end(run: Run, processes: list[Process], slot: str) -> None:
    """Returns when nobody is connected to these instances any more, or the time for it is over."""
    ports = instances.ports(processes, slot)
    deadline = time.monotonic() + run.settings.timeouts.drain
    if ports and run.settings.ingress.enabled:
        time.sleep(min(HANDOVER_SECONDS, run.settings.timeouts.drain))
    while ports and sockets.connections(*ports) and time.monotonic() < deadline:
        time.sleep(0.05)


def stop_slot(run: Run, slot: str, but: Collection[Process] = ()) -> None:
    """No file, so no release at boot; then no unit either, and nothing left to wait at. `but` these processes."""
    kept = [instances.slot_file(run.path, process, slot) for process in but]
    slots.remove(run.path, slot, kept)
    leaving = [process for process in instances.of(run.app) if process not in but]
    run.systemd.stop_all([instances.unit(run.app, process, slot) for process in leaving], STOP_SECONDS)
    slots.remove_pipes(run.path, slot, kept)


def web_port(app: App) -> int | None:
    """The first instance's loopback port in the active slot; None without an HTTP process or a release."""
    release = Release.get_or_none(Release.id == app.active_release_id)
    if release is None or WEB not in release.processes:  # its row may stay until the old slot is drained
        return None
    web = Process.get_or_none(Process.app == app, Process.type == WEB, Process.number == 1)
    return web.port(app.active_slot) if web else None


def _rendered(run: Run, release: Release, env: dict[str, str], command: str) -> bytes:
    top = run.settings.paths.slug(run.app.name, release.slug_id) / "app"
    return slots.render(env, top, command, root=str(release.slug.root), copied=_runs_in_copy(run, release, command))


def _runs_in_copy(run: Run, release: Release, command: str) -> bool:
    """Whether the process gets a copy of the release that it may write into. Our own file server needs none."""
    filesystem = precedence.filesystem(run.app.runtime, release.slug.manifest)
    return filesystem == precedence.EPHEMERAL and not command.startswith(FILE_SERVER)
