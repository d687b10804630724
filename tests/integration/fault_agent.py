"""The agent, but killed at the beginning of the step that the file FAULT names; once, as the file goes first.

Runs in the unit's sandbox instead of /usr/bin/rustploy-agent; only the agent's own directory is writable there.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from rustploy_agent import events
from rustploy_agent.__main__ import main

FAULT = Path("/var/lib/rustploy/agent/fault")


def die_at_the_step(_: object, step: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if FAULT.read_text() == step:
            FAULT.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


events.step_started.connect(die_at_the_step)
sys.exit(main(["serve"]))
