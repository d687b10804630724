"""One deployment under way: what its steps share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rustploy_agent import events, journal
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.errors import DeploymentFailed
from rustploy_agent.models import App, Deployment, database
from rustploy_agent.standby import Standby
from rustploy_agent.systemd import Systemd


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """Commits in here are on disk with the next one outside: for what a deployment that is done again does again."""
    before = database.execute_sql("PRAGMA synchronous").fetchone()[0]
    database.execute_sql("PRAGMA synchronous = 1")
    try:
        yield
    finally:
        database.execute_sql(f"PRAGMA synchronous = {before}")


@dataclass
class Run:
    """Handed from step to step; `cancelled` may be set from any thread at any time."""

    settings: Settings
    systemd: Systemd
    applier: Applier
    app: App
    deployment: Deployment
    #: What a healthy end will have come to: a new build serves, or one that was kept.
    outcome: str = "released"
    #: What needed a unit of its own so far, `fetch` and `build`.
    jobs: tuple[str, ...] = ()
    cancelled: threading.Event = field(default_factory=threading.Event)
    #: What was set up before this was asked for; only deployments and imports use any.
    standby: Standby | None = None

    @property
    def path(self) -> Path:
        return self.settings.paths.app(self.app.name)

    def stands_by(self, unit: str) -> bool:
        """Whether what waits there, if anything does, is as it would be if it were started now."""
        return self.standby is not None and self.standby.is_current(unit)

    def step(self, name: str) -> None:
        """Marks the beginning of a step; a cancelled deployment goes no further."""
        self.raise_if_cancelled()
        self.mark(name)

    def mark(self, name: str) -> None:
        """A step that is not to be cancelled."""
        with passing():
            now = max(now_ms(), self.deployment.created_at_unix_ms)
            Deployment.update(step=name, updated_at_unix_ms=now).where(Deployment.id == self.deployment.id).execute()
        self.deployment.step = name
        events.step_started.send(self.deployment, step=name)

    def log(self, message: str, *, priority: int = 6) -> None:
        journal.write(
            message, app=self.app.name, deployment_id=self.deployment.id, step=self.deployment.step, priority=priority
        )

    def raise_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise DeploymentFailed("cancelled", "the deployment was cancelled")
