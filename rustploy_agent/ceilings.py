"""The ceilings of apps' limits for rustploy-apply, which reads no YAML and believes no file of the agent's."""

from __future__ import annotations

import json

from rustploy_agent import files
from rustploy_agent.config import Settings


def tell(settings: Settings) -> None:
    """As root: from now on apply refuses limits beyond those of agent.yaml."""
    path, content = settings.paths.ceilings, json.dumps(vars(settings.ceilings), sort_keys=True).encode()
    if not path.exists() or path.read_bytes() != content:
        files.replace(path, content, mode=0o644)
