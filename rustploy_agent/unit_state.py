"""What systemd says of a unit, and of how its process ended."""

from __future__ import annotations

from dataclasses import dataclass

#: HUP, INT, QUIT, KILL, USR1, USR2, TERM.
SENT = frozenset({1, 2, 3, 9, 10, 12, 15})


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit now."""

    active: str
    sub: str
    path: str
    job: int

    @property
    def settled(self) -> bool:
        """No job waits and the unit is not on its way anywhere."""
        return self.job == 0 and self.active not in ("activating", "deactivating", "reloading")

    @property
    def ended(self) -> bool:
        """It does not run any more, and is not about to."""
        return self.settled and self.active in ("inactive", "failed")

    @property
    def up(self) -> bool:
        """It runs, or is being set up; not after an end from which it would start again."""
        return self.active in ("activating", "active") and not self.restarting

    @property
    def restarting(self) -> bool:
        return self.sub.startswith("auto-restart")


@dataclass(frozen=True)
class ExitState:
    """How a service's main process ended: systemd's result word and the exit status or signal number.

    `code` is 0 while it runs, for systemd forgets an end when it starts the next process.
    """

    result: str
    code: int
    status: int

    @property
    def refused(self) -> bool:
        """systemd had no process to end: something that the unit needs was missing."""
        return self.code == 0 and self.result != "success"

    @property
    def killed(self) -> bool:
        """By a signal that processes are sent, not one of their own faults, and not because a limit was met."""
        return self.code == 2 and self.status in SENT and self.result in ("success", "signal")

    def __str__(self) -> str:
        if self.code == 0:
            return f"could not be started ({self.result})" if self.refused else "ended and was started again"
        if self.code in (2, 3):
            return f"was killed by signal {self.status} ({self.result})"
        return f"exited with status {self.status} ({self.result})"
