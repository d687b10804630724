"""What the deployment engine and the API tell to whoever listens (audit, metrics, tests). They know none of them."""

from __future__ import annotations

from dataclasses import dataclass

from blinker import Namespace

_signals = Namespace()

#: sender: the Deployment; step: its name. Sent right before the step does anything.
step_started = _signals.signal("step-started")
#: sender: the Deployment; its status is `healthy` or `failed`.
deployment_finished = _signals.signal("deployment-finished")
#: sender: the App. Its process types, and with them its ports, have become others.
processes_changed = _signals.signal("processes-changed")
#: sender: the App. Its removal has begun and could not be finished.
removal_broken_off = _signals.signal("removal-broken-off")
#: sender: a Call. Sent once, in the transaction of its changes where they are one: who writes then is in it too.
call_ended = _signals.signal("call-ended")


@dataclass(frozen=True)
class Call:
    """Something that somebody did or tried: a request that changes, one that was refused, a command of root's.

    `action` is the operationId of openapi.yaml, `outcome` is done, repeated (Idempotency-Key), refused or failed, and
    `subject` what it was done to within the app or the host: a token's id, names of variables, a domain.
    """

    action: str
    actor_kind: str
    outcome: str
    actor_id: str | None = None
    actor_name: str | None = None
    app_id: str | None = None
    app_name: str | None = None
    deployment_id: str | None = None
    subject: str | None = None
    address: str | None = None
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
