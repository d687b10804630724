"""/integrations/{host}/webhook: what git hosts call when somebody pushed. The secret is the caller's credential."""

from __future__ import annotations

import contextlib
import io
import mmap
import threading
from collections.abc import Iterator
from typing import Any

from flask import g, request

from rustploy_agent import deliveries, integrations, webhooks
from rustploy_agent.api import trail
from rustploy_agent.api.envelope import parse_json
from rustploy_agent.api.resource import LARGEST_BODY, SIGNATURE, Resource, core
from rustploy_agent.auth import Caller
from rustploy_agent.deliveries import Outcome
from rustploy_agent.errors import InvalidRequest, Unauthorized, Unavailable
from rustploy_agent.integrations import Voucher
from rustploy_agent.webhooks import Body, Letterhead, Provider

resource = Resource("webhooks", __name__)
#: Large bodies are judged one after the other, so that a few of them do not fill the memory.
_one_large = threading.Lock()


def _register(provider: Provider) -> None:
    def view() -> tuple[dict[str, Any], int]:
        return _receive(provider)

    view.__name__ = f"{provider.name}_webhook"
    path = f"/integrations/{provider.name}/webhook"
    resource.route(path, methods=["POST"], scope=SIGNATURE, largest_body=webhooks.LARGEST)(view)


for _provider in webhooks.PROVIDERS.values():
    _register(_provider)


def _receive(provider: Provider) -> tuple[dict[str, Any], int]:
    letter = webhooks.letterhead(provider, request.headers)
    if not integrations.configured(provider):
        deliveries.note_stranger(provider, letter, "not_configured")
        raise Unavailable(
            f"no secret is set for {provider.title}; PUT /api/v1/integrations/{provider.name}/secret sets one",
            code="webhook_not_configured",
        )
    proof = request.headers.get(provider.proof)
    if proof is None:
        raise _stranger(provider, letter, "proof_missing", f"{provider.proof} is missing; set the webhook's secret")
    if (request.content_length or 0) <= LARGEST_BODY:
        outcome = _judge(provider, letter, proof)
    else:
        with _one_large:
            outcome = _judge(provider, letter, proof)
    trail.queued(outcome.queued)
    return {"accepted": True, "matched_integrations": outcome.matched, "queued_deployments": len(outcome.queued)}, 202


def _judge(provider: Provider, letter: Letterhead, proof: str) -> Outcome:
    """The proof first; until it fits, the body is bytes and nothing of it is parsed."""
    with _body() as body:
        return _believe(provider, letter, body, integrations.vouch(provider, proof, body, core().settings.paths))


def _believe(provider: Provider, letter: Letterhead, body: Body, voucher: Voucher | None) -> Outcome:
    if voucher is None:
        raise _stranger(provider, letter, "proof_wrong", f"{provider.proof} fits no secret that is set here")
    g.caller = Caller("webhook", None, provider.name, ())
    if request.mimetype != "application/json":
        deliveries.note_ignored(provider, letter, "unreadable")
        raise InvalidRequest(
            f"{provider.title} sends {request.mimetype or 'no content type'}; choose application/json in the webhook",
            code="unsupported_media_type",
        )
    if letter.event is None:
        deliveries.note_ignored(provider, letter, "unreadable")
        raise InvalidRequest.field(provider.event, "is required and names the event")
    if letter.event != provider.push:
        deliveries.note_ignored(provider, letter, "other_event")
        return Outcome()
    try:
        push = webhooks.parse_push(provider, parse_json(bytes(body)))
    except InvalidRequest:
        deliveries.note_ignored(provider, letter, "unreadable")
        raise
    return deliveries.receive(provider, letter, push, voucher, core().settings, core().worker)


def _stranger(provider: Provider, letter: Letterhead, reason: str, message: str) -> Unauthorized:
    deliveries.note_stranger(provider, letter, reason)
    return Unauthorized(message, code="invalid_signature")


@contextlib.contextmanager
def _body() -> Iterator[Body]:
    """As it came. A large one is looked at in the server's file: what a stranger sends shall not lie in memory."""
    source, length = request.environ["wsgi.input"], request.content_length or 0
    if length <= LARGEST_BODY or isinstance(source, io.BytesIO):
        yield _whole(source.read(length), length)
        return
    source.flush()
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as body:
        yield _whole(body, length)


def _whole(body: Body, length: int) -> Body:
    if len(body) < length:
        raise Unavailable("too many large bodies are coming in; send it again in a while", code="busy")
    return body
