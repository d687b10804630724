"""From a finished build to a release that may serve, also where the one before it would not let it up."""

from __future__ import annotations

from collections.abc import Callable

from rustploy_agent import activation, instances
from rustploy_agent.errors import Killed
from rustploy_agent.models import Release
from rustploy_agent.run import Run

#: A command that ends by itself, and how long it is waited for.
HARMLESS, HARMLESS_SECONDS = "exec sleep 1", 30


def bring_up(
    run: Run, release: Release, slot: str, written: Callable[[], None] = lambda: None, *, phase: bool = True
) -> None:
    """Release `phase`, start and health. What is killed by a stranger is tried again, at last without the old slot.

    Both slots have one user, so what serves can kill what shall take its place, and nobody could mend it. But a release
    that needs more memory than it may have is killed too; what serves is stopped only if a harmless process
    is killed as well.
    """
    for last in (False, False, True):
        if last:
            give_way(run)
        try:
            if phase:
                activation.release_phase(run, release)
                phase = False  # migrations that have run do not run again
            activation.start(run, release, slot, written)
            activation.await_health(run, release, slot)
            return
        except Killed as error:
            if last or run.app.active_slot is None or not _somebody_kills(run, release):
                raise
            run.log(f"{error.message.splitlines()[0]}; nothing of the platform sent that signal", priority=4)
            _stop(run, slot)  # a start would only wait for systemd's own next one


def _somebody_kills(run: Run, release: Release) -> bool:
    """Whether a process of the app's user that does nothing is killed."""
    ended = activation.run_task(run, release, HARMLESS, HARMLESS_SECONDS)
    return ended is not None and ended.killed


def give_way(run: Run) -> None:
    """Stops what serves before its successor is up; its slot files stay, so it comes back where that fails."""
    run.log("what serves may be killing it, so it is stopped first; visitors wait meanwhile", priority=4)
    _stop(run, str(run.app.active_slot))


def _stop(run: Run, slot: str) -> None:
    """Its units, not what they start from."""
    named = [instances.unit(run.app, process, slot) for process in instances.of(run.app)]
    run.systemd.stop_all(named, activation.STOP_SECONDS)


def come_back(run: Run) -> None:
    """Start what should serve and does not, which `give_way` may have stopped, for a deployment that failed."""
    active = run.app.active_slot
    if active is None or run.app.stopped:
        return
    files = {
        instances.unit(run.app, process, active): instances.slot_file(run.path, process, active)
        for process in instances.wanted_of(run.app)
    }
    for unit, state in run.systemd.states(list(files)).items() if files else ():
        if state.ended and files[unit].is_file():
            run.systemd.start(unit)
