"""rustploy-sweep.service: removes what apply has put aside, however long that takes, while others deploy.

Like apply it is root's: standard library only. Broken off, the next run of apply starts it again.
"""

from __future__ import annotations

import sys

from rustploy_agent.apply.host import Host
from rustploy_agent.apply.rendering import TRASH
from rustploy_agent.apply.wish import Refused


def main(host: Host) -> int:
    """Until there is nothing left but what cannot be removed: apply may add to it meanwhile."""
    tried: set[str] = set()
    while names := sorted(set(host.entries(TRASH)) - tried):
        for name in names:
            tried.add(name)
            try:
                host.run("/usr/bin/rm", "-rf", "--one-file-system", "--", f"{host.root}{TRASH}/{name}")
            except Refused:
                sys.stderr.write(f"{TRASH}/{name} could not be removed; rm says why above\n")
    return 1 if host.entries(TRASH) else 0
