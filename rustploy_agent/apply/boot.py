"""rustploy-boot.service: starts the apps after a boot, a few at a time, the one that was started last first.

All at once they take the processors from the ingress and from each other, and nobody is served before all are. Like
apply it is root's: standard library only. It needs no agent, only what apply and the agent left on disk before.
"""

from __future__ import annotations

import os
import sys
import time

from rustploy_agent.apply.host import Host
from rustploy_agent.apply.rendering import STATE
from rustploy_agent.apply.steps import rendered
from rustploy_agent.apply.wish import Refused

PREFIX, SUFFIX = "rustploy-app@", ".service"
#: Units whose sandboxes are set up at the same time.
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
#: What visitors and operators need before any app, and how long apps wait for it at most.
FIRST, FIRST_SECONDS = ("rustploy-ingress.service", "rustploy-agent.service"), 6.0
LOOK_SECONDS = 0.1
#: After so long the next ones are started: an operator's drop-in may have one wait for something that comes later.
BATCH_SECONDS = "20"


def wanted(host: Host) -> list[str]:
    """Return the units of the slots that serve, the newest slot file first."""
    found = []
    for unit, app in rendered(host).items():
        if unit.startswith(PREFIX):
            instance = unit.removeprefix(f"{PREFIX}{app}-").removesuffix(SUFFIX)
            written = host.written(f"{STATE}/apps/{app}/slots/{instance}.env")
            found += [] if written is None else [(written, unit)]
    return [unit for _, unit in sorted(found, reverse=True)]


def wait_for_first(host: Host) -> None:
    """Return when the ingress and the agent are up, have failed, are not wanted, or take too long."""
    deadline = time.monotonic() + FIRST_SECONDS
    while time.monotonic() < deadline:
        shown = host.ask("/usr/bin/systemctl", "show", "--property=ActiveState", "--property=Job", *FIRST).split()
        if not any(one == "ActiveState=activating" or one.partition("Job=")[2].isdigit() for one in shown):
            return
        time.sleep(LOOK_SECONDS)


def main(host: Host) -> int:
    """Return 0: which apps could not be started is said by systemd, and by the agent."""
    try:
        wait_for_first(host)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
    units = wanted(host)
    for first in range(0, len(units), AT_ONCE):
        try:
            host.run("/usr/bin/timeout", BATCH_SECONDS, "/usr/bin/systemctl", "start", *units[first : first + AT_ONCE])
        except Refused as error:
            sys.stderr.write(f"{error}\n")
    return 0
