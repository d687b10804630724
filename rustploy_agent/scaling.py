"""Changes how many instances of its process types an app has, while its release runs and without a deployment.

The number in the database is the truth: new instances count once they are healthy, leaving ones no more from the start.
So a crash leaves the old or the new number, and instances beyond it, which the next start ends.
"""

from __future__ import annotations

import logging

from rustploy_agent import activation, instances, readiness, slots
from rustploy_agent.clock import now_ms
from rustploy_agent.core import Core
from rustploy_agent.errors import DeploymentFailed, InvalidRequest
from rustploy_agent.lifecycle import HOLD_SECONDS, again, failed, situation
from rustploy_agent.models import App, Process, Release, database
from rustploy_agent.ports import allocate
from rustploy_agent.run import Run

log = logging.getLogger(__name__)


def scale(app: App, numbers: dict[str, int], core: Core) -> App:
    """All or nothing. Answers when the new instances are healthy and serve, and those that leave have ended."""
    refuse_unknown(app, numbers)
    with core.worker.hold(app.id, HOLD_SECONDS) as interrupted:
        run, release = situation(app, core, interrupted)
        refuse_unknown(run.app, numbers)
        _grow(run, release, numbers)
        _commit(run, numbers)
        core.routing.update()
        _shrink(run)
    return again(app)


def refuse_unknown(app: App, numbers: dict[str, int]) -> None:
    known = instances.process_types(app)
    for process_type in numbers:
        if process_type not in known:
            raise InvalidRequest.field(process_type, f"must be a process type of the app: {', '.join(known) or 'none'}")


def _grow(run: Run, release: Release | None, numbers: dict[str, int]) -> None:
    """The instances that are missing run and are healthy when this returns; after a failure they are gone again."""
    before = instances.numbers(run.app)
    more = {kind: number for kind, number in numbers.items() if number > before[kind]}
    if not more:
        return
    _commit(run, {kind: before[kind] for kind in more})  # from now on the logs are looked through for further instances
    try:
        allocate(run.settings, run.app, set(before), before | more)
        run.applier.ensure(run.app.name, removals=False)
        new = [process for process in instances.surplus(run.app) if process.number <= more.get(process.type, 0)]
        if release is not None and not run.app.stopped:
            _start(run, release, [process for process in new if process.type in release.processes])
    except BaseException as error:
        _take_back(run)
        if isinstance(error, DeploymentFailed):
            raise failed(error) from None
        raise


def _start(run: Run, release: Release, new: list[Process]) -> None:
    slot = str(run.app.active_slot)
    activation.launch(run, release, slot, new)
    readiness.become_healthy(run, release, slot, new)


def _take_back(run: Run) -> None:
    """What goes wrong here is for the next start of the agent; who asked is told of the first failure."""
    try:
        retire_surplus(run)
    except Exception:
        log.exception("instances of %s that shall not run are left", run.app.name)


def _commit(run: Run, numbers: dict[str, int]) -> None:
    with database.atomic("IMMEDIATE"):
        App.update(scale=run.app.scale | numbers, updated_at_unix_ms=now_ms()).where(App.id == run.app.id).execute()
    run.app = again(run.app)


def _shrink(run: Run) -> None:
    """The ingress knows those that leave no more. They may not start again, but end what they have begun."""
    leaving, slot = instances.surplus(run.app), run.app.active_slot
    if slot is not None and not run.app.stopped:
        slots.remove_files([instances.slot_file(run.path, process, slot) for process in leaving])
        activation.let_requests_end(run, leaving, slot)
    retire_surplus(run)


def retire_surplus(run: Run) -> None:
    """Ends instances that the app has beyond its scale; their units go, except those of each type's first."""
    leaving = instances.surplus(run.app)
    if not leaving:
        return
    files = [instances.slot_file(run.path, process, slot) for process in leaving for slot in instances.SLOTS]
    slots.remove_files(files)
    run.systemd.stop_all(instances.all_units(run.app, leaving), activation.STOP_SECONDS)
    allocate(run.settings, run.app, set(instances.process_types(run.app)))
    run.applier.ensure(run.app.name, removals=False)
