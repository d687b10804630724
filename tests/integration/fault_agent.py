"""The agent, but killed at the beginning of the step that the file FAULT names; once, as the file goes first.

Two are no steps: `pointed` (the ingress has been pointed to another slot, the database does not know it yet) and
`clean_up` (a deployment has failed, its slot still runs).

Runs in the unit's sandbox instead of /usr/bin/rustploy-agent; only the agent's own directory is writable there.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from rustploy_agent import deploy, events, routes
from rustploy_agent.__main__ import main
from rustploy_agent.run import Run

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


point, routes.point = routes.point, die_when_pointed
clean_up, deploy.clean_up = deploy.clean_up, die_before_cleaning_up
events.step_started.connect(die_at_the_step)
sys.exit(main(["serve"]))
