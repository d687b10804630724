"""Answers kept for Idempotency-Key: who asks again because an answer was lost gets it, and nothing is done twice.

A row is made before or together with what it stands for. Without a status it is a claim: somebody works on it, in this
run of the agent or in one that died; `intended_id` is then the id of what was to be made, so that it is not made again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from rustploy_agent import vault
from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.config import Paths
from rustploy_agent.errors import InProgress, KeyReused
from rustploy_agent.models import database
from rustploy_agent.records import Answer

LIFE_MS = 24 * 3600 * 1000
#: Kept per caller; the oldest go first, so that nobody can make others' answers go.
MOST_PER_CALLER = 1000
#: This run of the agent. A claim of another one is nobody's: that run has ended.
RUN = secrets.token_hex(8)


@dataclass(frozen=True)
class Key:
    """A client's key within what it counts for: one caller and one operation. `request`: a digest of all it asks."""

    caller: str
    operation: str
    key: str
    request: str


def claim(key: Key) -> Answer:
    """The row of the key: with a status when it was answered, else it is the caller's to work on."""
    with database.atomic("IMMEDIATE"):
        Answer.delete().where(Answer.created_at_unix_ms < now_ms() - LIFE_MS).execute()
        found: Answer | None = Answer.get_or_none(
            Answer.caller == key.caller, Answer.operation == key.operation, Answer.key == key.key
        )
        if found is None:
            return _made(key)
        if found.request_sha256 != key.request:
            raise KeyReused("this Idempotency-Key was used for another request; use a new one")
        if found.status is None and found.run == RUN:
            raise InProgress("the first request with this Idempotency-Key is still being worked on; ask again")
        if found.status is None:
            Answer.update(run=RUN).where(Answer.id == found.id).execute()
        return found


def _made(key: Key) -> Answer:
    answer: Answer = Answer.create(
        caller=key.caller,
        operation=key.operation,
        key=key.key,
        request_sha256=key.request,
        intended_id=new_id(),
        run=RUN,
    )
    kept = Answer.select(Answer.id).where(Answer.caller == key.caller).order_by(Answer.id.desc())
    oldest = kept.offset(MOST_PER_CALLER).limit(1).scalar()
    if oldest is not None:
        Answer.delete().where(Answer.caller == key.caller, Answer.id <= oldest).execute()
    return answer


def remember(answer: Answer, status: int, body: str, box: vault.Box | None) -> None:
    """With a box the body is sealed: a token's secret must not lie in the database in the clear."""
    text = body if box is None else box.seal(body, "answer", str(answer.id))
    Answer.update(status=status, body=text).where(Answer.id == answer.id).execute()


def body_of(answer: Answer, box: vault.Box | None) -> str:
    return str(answer.body) if box is None else box.open(answer.body, "answer", str(answer.id))


def forget(answer: Answer) -> None:
    """Nothing was done, so the same key may try again."""
    Answer.delete().where(Answer.id == answer.id, Answer.status.is_null()).execute()


def box(paths: Paths, secret: bool) -> vault.Box | None:
    return vault.unlock(paths) if secret else None
