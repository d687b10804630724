"""What the API works with, composed once in __main__."""

from __future__ import annotations

from dataclasses import dataclass

from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.systemd import Systemd
from rustploy_agent.worker import Worker


@dataclass(frozen=True)
class Core:
    settings: Settings
    systemd: Systemd
    applier: Applier
    worker: Worker
