"""What came from git hosts: each push deployed once, each delivery remembered, strangers counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustploy_agent import integrations, space
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Settings
from rustploy_agent.errors import DeploymentFailed, Unavailable
from rustploy_agent.integrations import Voucher
from rustploy_agent.models import Connection, Deployment, database
from rustploy_agent.records import Delivery, DeliveryTarget
from rustploy_agent.webhooks import Letterhead, Provider, Push
from rustploy_agent.worker import Worker

#: How many are kept: those that queued something, those that did not, and those of strangers.
KEPT_QUEUED, KEPT_IGNORED, KEPT_INVALID = 5_000, 1_000, 200
#: Strangers are noted together, an hour in one row, which is written at most once a second: they cost no disk.
STRANGERS_MS, NOTED_MS = 3_600_000, 1_000
NO_ROOM = "disk_full"
#: Comparisons, for SQLite finds no index for a bare column.
VALID, INVALID = Delivery.valid == 1, Delivery.valid == 0


@dataclass(frozen=True)
class Outcome:
    """Connections whose branch was pushed, and deployments queued for them just now."""

    matched: int = 0
    queued: tuple[Deployment, ...] = ()


def note_stranger(provider: Provider, letter: Letterhead, reason: str) -> None:
    """A delivery that nobody vouched for; what its headers say is kept as a hint for who set the secret up wrongly."""
    now = now_ms()
    strangers = Delivery.select().where(INVALID, Delivery.provider == provider.name, Delivery.reason == reason)
    row = strangers.order_by(Delivery.created_at_unix_ms.desc()).first()
    if row is not None and 0 <= now - row.last_at_unix_ms < NOTED_MS:
        return
    about = {"event": letter.event, "delivery_id": letter.delivery_id, "last_at_unix_ms": now}
    with database.atomic("IMMEDIATE"):
        if row is not None and 0 <= now - row.created_at_unix_ms < STRANGERS_MS:
            Delivery.update(times=Delivery.times + 1, **about).where(Delivery.id == row.id).execute()
        else:
            Delivery.create(provider=provider.name, valid=False, reason=reason, **about)
            _forget_oldest(INVALID, KEPT_INVALID)


def note_ignored(provider: Provider, letter: Letterhead, reason: str) -> None:
    """A delivery of a known sender that asks for nothing, or cannot be read."""
    with database.atomic("IMMEDIATE"):
        if not _came_before(provider, letter):
            _create(provider, letter, reason=reason)


def receive(
    provider: Provider, letter: Letterhead, push: Push, voucher: Voucher, settings: Settings, worker: Worker
) -> Outcome:
    """Queues a deployment of the branch for each app connected to it. Durable, and once, when it returns."""
    full = _lack_of_space(settings)
    with database.atomic("IMMEDIATE"):
        before = _came_before(provider, letter)
        if before is not None:
            return Outcome(matched=_started(before))
        connections = [one for one in integrations.of_repository(provider, push.repository) if voucher.covers(one)]
        wanted = [one for one in connections if _wants(one, push)]
        reason = _reason(push, connections, wanted, full)
        about = {"repository": push.repository, "branch": push.branch, "commit_sha": push.commit, "reason": reason}
        delivery = _create(provider, letter, **about)
        superseded: list[Deployment] = []
        queued: list[Deployment] = []
        for one in connections:
            deployment = _deployment(one, push) if one in wanted and full is None else None
            if deployment is not None:
                superseded += worker.record(deployment)
                queued.append(deployment)
            DeliveryTarget.create(
                delivery=delivery,
                app_id=one.app_id,
                deployment_id=deployment and deployment.id,
                reason=None if deployment else NO_ROOM if one in wanted else "other_branch" if wanted else reason,
            )
    worker.announce(superseded)
    if wanted and full is not None:
        raise full
    return Outcome(matched=len(wanted), queued=tuple(queued))


def _wants(connection: Connection, push: Push) -> bool:
    return (
        push.commit is not None and push.branch == integrations.branch_of(connection, push.default_branch) is not None
    )


def _reason(
    push: Push, connections: list[Connection], wanted: list[Connection], full: Unavailable | None
) -> str | None:
    """Why nothing is deployed; None when something is."""
    if wanted:
        return None if full is None else NO_ROOM
    if not connections:
        return "not_connected"
    if push.branch is None:
        return "not_a_branch"
    return "branch_deleted" if push.commit is None else "other_branch"


def _started(delivery: Delivery) -> int:
    targets = DeliveryTarget.select().where(DeliveryTarget.delivery == delivery)
    return int(targets.where(DeliveryTarget.deployment_id.is_null(False)).count())


def _deployment(connection: Connection, push: Push) -> Deployment:
    """Of the branch, and shown with the pushed commit until the fetch says which is the newest one."""
    return Deployment(app=connection.app, source_ref=push.branch, pushed_commit=push.commit, commit_sha=push.commit)


def _lack_of_space(settings: Settings) -> Unavailable | None:
    try:
        space.refuse_when_short(settings)
    except DeploymentFailed as error:
        return Unavailable(error.message, code=NO_ROOM)
    return None


def _create(provider: Provider, letter: Letterhead, **about: Any) -> Delivery:
    delivery: Delivery = Delivery.create(
        provider=provider.name,
        valid=True,
        event=letter.event,
        delivery_id=letter.delivery_id,
        proof_sha256=letter.proof_sha256,
        **about,
    )
    _forget_oldest(VALID & Delivery.reason.is_null(), KEPT_QUEUED)
    _forget_oldest(VALID & Delivery.reason.is_null(False), KEPT_IGNORED)
    return delivery


def _came_before(provider: Provider, letter: Letterhead) -> Delivery | None:
    """The same delivery, if it queued something; it is counted. One that did not is judged anew, as if it never came:
    meanwhile there may be room, or an app that is connected."""
    keys = ((Delivery.delivery_id, letter.delivery_id), (Delivery.proof_sha256, letter.proof_sha256))
    for column, value in keys:
        same = (column == value) & column.is_null(False)
        found: Delivery | None = Delivery.get_or_none(Delivery.valid, Delivery.provider == provider.name, same)
        if found is not None and found.reason is not None:
            found.delete_instance()
        elif found is not None:
            again = {"times": Delivery.times + 1, "last_at_unix_ms": now_ms()}
            Delivery.update(**again).where(Delivery.id == found.id).execute()
            return found
    return None


def _forget_oldest(kind: Any, kept: int) -> None:
    newest = Delivery.select(Delivery.id).where(kind).order_by(Delivery.created_at_unix_ms.desc(), Delivery.id.desc())
    beyond = [row.id for row in newest.offset(kept).limit(100)]
    if beyond:
        Delivery.delete().where(Delivery.id.in_(beyond)).execute()
