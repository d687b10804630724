"""How a view is carried out: in one transaction with what is remembered of it or not, and once per Idempotency-Key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, g, request

from rustploy_agent import idempotency
from rustploy_agent.api import trail
from rustploy_agent.config import Paths
from rustploy_agent.errors import InvalidRequest
from rustploy_agent.models import database
from rustploy_agent.records import Answer

KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Manner:
    """What a route says of its view.

    `atomic`: it only writes to the database, and quickly. Then its changes, the audit row and the remembered answer
    are one transaction: all of it is on disk or none, for one fsync. Nothing in it may wait for anybody: that belongs
    into `then`, which gets the answer, first or repeated, once it is on disk, and returns the one to send.
    `idempotent`: it makes something, so it minds Idempotency-Key. A view that is not atomic may be called again after
    a crash: it makes its thing with `intended_id()`, and goes on with what there is of that id.
    `secret`: its answer is remembered only sealed.
    """

    atomic: bool = False
    idempotent: bool = False
    secret: bool = False
    then: Callable[[Response], Response] | None = None


#: Changes are made step by step, or there are none.
PLAIN = Manner()


def carry_out(view: Callable[[], Any], manner: Manner, paths: Paths) -> Response:
    key = _key() if manner.idempotent else None
    if manner.atomic:
        with database.atomic("IMMEDIATE"):
            answer = _once(view, key, manner, paths)
            trail.note(answer)
    else:
        answer = _once(view, key, manner, paths)
    return manner.then(answer) if manner.then else answer


def intended_id() -> str | None:
    """The id for what the request makes; None when it does not matter which."""
    found: str | None = g.get("intended_id")
    return found


def _once(view: Callable[[], Any], key: idempotency.Key | None, manner: Manner, paths: Paths) -> Response:
    if key is None:
        return current_app.make_response(view())
    box = idempotency.box(paths, manner.secret)
    claimed = idempotency.claim(key)
    if claimed.status is not None:
        return _repeated(claimed.status, idempotency.body_of(claimed, box))
    g.intended_id = claimed.intended_id
    try:
        answer = current_app.make_response(view())
    except BaseException:
        _forget(claimed, manner)
        raise
    idempotency.remember(claimed, answer.status_code, answer.get_data(as_text=True), box)
    return answer


def _forget(claimed: Answer, manner: Manner) -> None:
    if not manner.atomic:  # else the claim is rolled back with all the rest
        idempotency.forget(claimed)


def _repeated(status: int, body: str) -> Response:
    g.repeated = True
    answer = Response(body, status=status, mimetype="application/json")
    answer.headers["Idempotency-Replayed"] = "true"
    return answer


def _key() -> idempotency.Key | None:
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not KEY.fullmatch(given):
        raise InvalidRequest.field("Idempotency-Key", "must be 1 to 255 visible ASCII characters without blanks")
    digest = hashlib.sha256()
    for part in (request.path.encode(), request.query_string, request.get_data()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return idempotency.Key(f"{g.caller.kind}:{g.caller.id}", str(request.endpoint), given, digest.hexdigest())
