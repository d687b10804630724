"""An app's repository as the database keeps it: an address with a password or token in it lies sealed (vault.py)."""

from __future__ import annotations

from typing import Any

from rustploy_agent import vault
from rustploy_agent.config import Paths
from rustploy_agent.models import App
from rustploy_agent.names import masked_url

SEALED = "sealed_url"


def kept(app: App, repository: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """What to write down of it; Unreadable when there is something to seal and no key."""
    url, shown = repository["clone_url"], masked_url(repository["clone_url"])
    if url == shown:
        return repository
    return repository | {"clone_url": shown, SEALED: vault.unlock(paths).seal(url, "repository", app.id)}


def address(app: App, paths: Paths) -> str:
    """The URL to fetch from, credentials included."""
    sealed = app.repository.get(SEALED)
    url: str = app.repository["clone_url"]
    return url if sealed is None else vault.unlock(paths).open(sealed, "repository", app.id)


def shown(app: App) -> dict[str, Any]:
    """As anybody may see it."""
    about = {key: value for key, value in app.repository.items() if key != SEALED}
    return about | {"clone_url": masked_url(about["clone_url"])}
