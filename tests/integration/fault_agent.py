"""The agent, but killed at the beginning of the step that the file FAULT names; once, as the file goes first.

Some are no steps: `pointed` (the ingress has been pointed to another slot, the database does not know it yet),
`clean_up` (a deployment has failed, its slot still runs), `job` (it is written, and who waits for it is not told yet),
`handing_over` and `handed_over` (as `job`, of the slot files; and just after).

Runs in the unit's sandbox instead of /usr/bin/rustploy-agent; only the agent's own directory is writable there.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from rustploy_agent import deploy, events, routes, standby
from rustploy_agent.__main__ import main
from rustploy_agent.ahead import Ahead
from rustploy_agent.models import Release
from rustploy_agent.run import Run
from rustploy_agent.systemd import Systemd

FAULT = Path("/var/lib/rustploy/agent/fault")


def die_at_the_step(_: object, step: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if FAULT.read_text() == step:
            FAULT.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def die_when_pointed(directory: Path, app: str, slot: str) -> None:
    point(directory, app, slot)
    die_at_the_step(None, "pointed")


def die_before_cleaning_up(run: Run) -> None:
    die_at_the_step(None, "clean_up")
    clean_up(run)


@contextlib.contextmanager
def die_with_the_job_written(systemd: Systemd, unit: str, job: Path) -> Iterator[bool]:
    with waiting(systemd, unit, job) as waits:
        yield waits
        die_at_the_step(None, "job")


def die_handing_over(ahead: Ahead, release: Release) -> None:
    die_at_the_step(None, "handing_over")
    hand_over(ahead, release)
    die_at_the_step(None, "handed_over")


waiting, standby.waiting = standby.waiting, die_with_the_job_written
hand_over, Ahead.hand_over = Ahead.hand_over, die_handing_over
point, routes.point = routes.point, die_when_pointed
clean_up, deploy.clean_up = deploy.clean_up, die_before_cleaning_up
events.step_started.connect(die_at_the_step)
sys.exit(main(["serve"]))
