"""The units whose files a run of apply changes, and whether systemd has to be told."""

from __future__ import annotations

import os

from rustploy_agent.apply.host import Host
from rustploy_agent.apply.rendering import STATE
from rustploy_agent.apply.wish import Refused

RELOAD = f"{STATE}/apply/reload-pending"
#: More changed units than this are not asked about one by one.
MOST_ASKED = 100


class Changes:
    """The units whose files this run changes. A file notes that there are any, for the run after one that is killed."""

    def __init__(self, host: Host) -> None:
        self._host, self._units = host, set[str]()
        self._noted = self.outdated = os.path.exists(host.root + RELOAD)  # noqa: PTH110

    def note(self, unit: str) -> None:
        """To be called before the unit's files change."""
        if not self._noted:
            self._host.write(RELOAD, "")
        self._noted = True
        self._units.add(unit)

    def tell_systemd(self) -> None:
        """Run daemon-reload, if systemd holds what any of the units said before.

        It reads the files of a unit that does not run when that is started. So most changes need no reload, which
        keeps PID 1 from everything else, for the longer the more units there are.
        """
        if self._noted and (self.outdated or self._is_outdated()):
            self._host.systemctl("daemon-reload")
        if self._noted:
            self._host.remove(RELOAD)

    def _is_outdated(self) -> bool:
        if len(self._units) > MOST_ASKED:
            return True
        show = ("/usr/bin/systemctl", "show", "--value", "--property=NeedDaemonReload")
        try:
            return "yes" in self._host.ask(*show, *sorted(self._units)).split()
        except Refused:
            return True
