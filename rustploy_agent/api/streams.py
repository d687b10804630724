"""GET /apps/{app}/logs/stream: the lines of the active deployment as they come, as server-sent events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

from flask import Response, copy_current_request_context, g, request

from rustploy_agent import apps
from rustploy_agent.api.resource import Resource, authorise, core, integer_argument
from rustploy_agent.errors import AgentError
from rustploy_agent.models import App
from rustploy_agent.streams import Event, Stream

resource = Resource("streams", __name__)
DEFAULT_TAIL, LONGEST_TAIL = 500, 5_000
#: A comment is sent when nothing else was for so long; proxies close what is silent.
HEARTBEAT_SECONDS = 15
#: Rights are checked again when something has changed, and after so long at the latest: a token may have run out.
CHECK_SECONDS = 5
RETRY_MS = 3_000
EVENT_ID = re.compile(r"(?P<deployment>[0-9a-f-]{36})/(?P<cursor>(?:[a-z]=[0-9a-f]{1,32}(?:;|$)){0,8})")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@resource.route("/apps/<app_id>/logs/stream", scope="read")
def stream_logs(app_id: str) -> Response:
    app, tail = apps.find(app_id), integer_argument("tail", DEFAULT_TAIL, LONGEST_TAIL)
    if request.method == "HEAD":
        return Response(headers=HEADERS, content_type="text/event-stream")
    streams = core().streams
    gone = request.environ.get("waitress.client_disconnected", lambda: False)
    stream = streams.open(app, tail, gone, g.caller.holder)
    try:
        last = EVENT_ID.fullmatch(request.headers.get("Last-Event-ID", ""))
        if last is not None:
            stream.resume(last["deployment"], last["cursor"] or None)
        allowed = copy_current_request_context(_still_allowed)
        response = Response(_events(stream, allowed), headers=HEADERS, content_type="text/event-stream")
    except BaseException:
        streams.close(stream)
        raise
    response.call_on_close(lambda: streams.close(stream))
    return response


def _events(stream: Stream, allowed: Callable[[App], App | None]) -> Iterator[str]:
    """Until the client is gone, may read no longer, or the app or the agent ends."""
    yield f"retry: {RETRY_MS}\n\n"
    checked = 0.0
    while not stream.ended and not stream.gone():
        if stream.look or time.monotonic() - checked >= CHECK_SECONDS:
            stream.look = False
            app = allowed(stream.app)
            if app is None:
                return
            checked = time.monotonic()
            found = stream.read(app)
        else:
            found = stream.lines()
        yield from map(_written, found)
        if not stream.wait(HEARTBEAT_SECONDS):
            yield ":\n\n"


def _still_allowed(app: App) -> App | None:
    try:
        authorise("read")
        found = apps.find(app.id)
    except AgentError:
        return None
    return found if g.caller.apps is None or found.id in g.caller.apps else None


def _written(event: Event) -> str:
    """JSON in ASCII has no line breaks of its own, so no line of an app can end an event or begin another."""
    data = json.dumps(
        {"deployment_id": event.deployment_id, "logs": "\n".join(event.lines), "reset": event.reset},
        separators=(",", ":"),
    )
    place = f"{event.deployment_id}/{event.cursor or ''}" if event.deployment_id else ""
    return f"event: logs\nid: {place}\ndata: {data}\n\n"
