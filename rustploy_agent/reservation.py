"""The id of an app's next deployment is fixed before anybody asks for one.

The idle slot's units carry it as their journal field already, so a deployment begins without rendering units and
without a run of apply. When the ids do not match, apply runs first.
"""

from __future__ import annotations

from rustploy_agent import history
from rustploy_agent.clock import new_id
from rustploy_agent.models import App, Deployment, Slot


def take(deployment: Deployment) -> None:
    """Gives a deployment that is not yet saved the id its app has ready, if no other has it. Inside a transaction."""
    slot = Slot.get_or_none(Slot.app == deployment.app_id, Slot.letter == _idle(deployment.app_id))
    if slot is not None and slot.deployment_id and not _known(slot.deployment_id):
        deployment.id = slot.deployment_id


def claim(app: App, deployment: Deployment, letter: str) -> None:
    """The slot's units carry this deployment's id in the journal, at the latest from the next apply on."""
    Slot.update(deployment_id=deployment.id).where(
        Slot.app == app, Slot.letter == letter, Slot.deployment_id.is_null() | (Slot.deployment_id != deployment.id)
    ).execute()


def renew(app: App) -> None:
    """Readies the idle slot for what comes next: the deployment that waits already, or one that nobody knows yet."""
    waiting = history.in_status(app, "queued", "retrying")
    slot = Slot.get(Slot.app == app, Slot.letter == _idle(app.id))
    if waiting:
        slot.deployment_id = waiting[0].id
    elif slot.deployment_id is None or _known(slot.deployment_id):
        slot.deployment_id = new_id()
    slot.save(only=[Slot.deployment_id])


def _idle(app_id: str) -> str:
    letter: str = App.get_by_id(app_id).idle_slot
    return letter


def _known(deployment_id: str) -> bool:
    return bool(Deployment.select().where(Deployment.id == deployment_id).exists())
