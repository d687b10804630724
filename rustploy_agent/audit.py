"""The audit trail: who did what or was refused, in SQLite and in the journal (RUSTPLOY_AUDIT=…). Listens to events.

Nothing that a caller wrote gets in but names that were parsed: no bodies, no query strings, no credentials. What went
well is a row each. What did not is told once a minute for the same caller, action, app and reason, with a count, and is
kept on shelves of its own: who is refused a million times fills neither the disk nor the place of what others did.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

from rustploy_agent import journal
from rustploy_agent.clock import now_ms
from rustploy_agent.events import Call, call_ended, deployment_finished
from rustploy_agent.models import App, DatabaseError, Deployment, database
from rustploy_agent.records import Audit, DeliveryTarget
from rustploy_agent.repetition import Repeating, Repetitions

log = logging.getLogger(__name__)
DONE, REFUSED, STRANGERS, DEPLOYED = range(4)
#: Rows per shelf; the oldest go first. About 20 MB together.
MOST = {DONE: 30_000, REFUSED: 10_000, STRANGERS: 5_000, DEPLOYED: 20_000}
#: What is on the shelf DEPLOYED when it was done: all that the scope `deploy` or a git host may. They can do it ten
#: thousand times in some minutes, and must not push out what an admin did.
ROUTINE = frozenset(
    {
        "create_deployment",
        "create_rollback",
        "cancel_deployment",
        "start_app",
        "stop_app",
        "restart_app",
        "scale_app",
        "verify_domain",
        "github_webhook",
        "gitlab_webhook",
        "gitea_webhook",
        "deployment_ended",
    }
)
PRUNE_EVERY = 100
#: Apart, so that strangers who fill theirs do not make what known callers try indistinct.
_repetitions = {REFUSED: Repetitions(), STRANGERS: Repetitions()}


def listen() -> None:
    for one in _repetitions.values():
        one.clear()
    call_ended.connect(_note_call)
    deployment_finished.connect(_note_end)


def note_root(action: str, subject: str | None = None) -> None:
    """A command on this host, which needed no credentials of ours."""
    _note_call(Call(action=action, actor_kind="root", outcome="done", subject=subject))


def settle() -> None:
    """Before somebody reads: what was only counted until now is written."""
    counted = [counted for shelf in _repetitions.values() for counted in shelf.take()]
    if counted:
        _write(None, counted)


def _note_call(call: Call) -> None:
    if database.in_transaction():  # then a failed write fails the change as well: both are on disk or neither
        _insert(call)
        return
    shelf, now = _shelf(call), now_ms()
    fresh, over = (Repeating(call, now), []) if shelf not in _repetitions else _repetitions[shelf].note(call, now)
    if fresh is not None or over:
        _write(fresh, over)


def _note_end(deployment: Deployment) -> None:
    """In the name of who asked for it, as far as that is still known."""
    asked = Audit.select().where(Audit.deployment_id == deployment.id).order_by(Audit.id).first()
    pushed = DeliveryTarget.get_or_none(DeliveryTarget.deployment_id == deployment.id)
    app = App.get_or_none(App.id == deployment.app_id)
    healthy = deployment.status == "healthy"
    _note_call(
        Call(
            action="deployment_ended",
            actor_kind=asked.actor_kind if asked else "webhook" if pushed else "agent",
            actor_id=asked.actor_id if asked else None,
            actor_name=asked.actor_name if asked else pushed.delivery.provider if pushed else None,
            app_id=deployment.app_id,
            app_name=app.name if app else None,
            deployment_id=deployment.id,
            outcome="done" if healthy else "failed",
            error_code=None if healthy else deployment.error_code,
            request_id=asked.request_id if asked else None,
        )
    )


def _write(fresh: Repeating | None, over: list[Repeating]) -> None:
    """What was done is done: when this cannot be written, the journal has it, and nobody is kept from anything."""
    try:
        with database.atomic("IMMEDIATE"):
            for one in over:
                Audit.update(count=Audit.count + one.more, last_at_unix_ms=one.last).where(
                    Audit.id == one.row
                ).execute()
            if fresh is not None:
                fresh.row = _insert(fresh.call)
    except DatabaseError as error:
        log.error("the audit trail cannot be written, only the journal has it: %s", error)
        if fresh is not None:
            for shelf in _repetitions.values():
                shelf.drop(fresh)
            _tell(fresh.call)
    for one in over:
        _tell(one.call, again=one.more)


def _insert(call: Call) -> int:
    now = now_ms()
    row: int = Audit.insert(**asdict(call), at_unix_ms=now, last_at_unix_ms=now, shelf=_shelf(call)).execute()
    if row % PRUNE_EVERY == 0:
        _prune()
    database.after_commit(lambda: _tell(call))
    return row


def _shelf(call: Call) -> int:
    if call.actor_kind == "anonymous":
        return STRANGERS
    if call.outcome != "done" and call.action != "deployment_ended":
        return REFUSED
    return DEPLOYED if call.action in ROUTINE else DONE


def _prune() -> None:
    for shelf, most in MOST.items():
        kept = Audit.select(Audit.id).where(Audit.shelf == shelf).order_by(Audit.id.desc())
        oldest = kept.offset(most).limit(1).scalar()
        if oldest is not None:
            Audit.delete().where(Audit.shelf == shelf, Audit.id <= oldest).execute()


def _tell(call: Call, again: int = 0) -> None:
    """One line with fields; who selects by RUSTPLOY_AUDIT= names this user too, since builds could write the same."""
    who = f"{call.actor_kind} {call.actor_name or call.actor_id or ''}".strip()
    about = (f" {call.subject}" if call.subject else "") + (f" of {call.app_name}" if call.app_name else "")
    why = f" ({call.error_code})" if call.error_code else ""
    more = f", {again} more times" if again else ""
    journal.record(
        f"{call.action}{about} by {who} from {call.address or 'here'}: {call.outcome}{why}{more}",
        RUSTPLOY_AUDIT=call.action,
        RUSTPLOY_OUTCOME=call.outcome,
        RUSTPLOY_ACTOR=who,
        RUSTPLOY_ACTOR_ID=call.actor_id,
        RUSTPLOY_APP=call.app_name,
        RUSTPLOY_DEPLOYMENT=call.deployment_id,
        RUSTPLOY_SUBJECT=call.subject,
        RUSTPLOY_ADDRESS=call.address,
        RUSTPLOY_STATUS=call.status,
        RUSTPLOY_CODE=call.error_code,
        RUSTPLOY_REQUEST=call.request_id,
    )
