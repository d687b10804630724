"""Tells whoever listens (events.call_ended) what a request did or was refused: once, with who, what and which app."""

from __future__ import annotations

from flask import Response, g, request

from rustploy_agent import events
from rustploy_agent.auth import Caller
from rustploy_agent.models import App, Deployment

READING = ("GET", "HEAD", "OPTIONS")
NOBODY = Caller("anonymous", None, "", ())


def begin(app_key: str | None) -> None:
    """Before the view, which may remove the app."""
    if app_key is not None and request.method not in READING:
        app = App.select(App.id, App.name).where((App.id == app_key) | (App.name == app_key)).first()
        if app is not None:
            concerns(app)


def concerns(app: App, deployment: Deployment | None = None) -> None:
    """For views that make an app or a deployment."""
    g.concerned = app.id, app.name, deployment.id if deployment else g.get("concerned", (None, None, None))[2]


def note(answer: Response) -> Response:
    """Changes whatever came of them, and refusals to let somebody read. After each request, and in transactions."""
    changing = request.method not in READING
    if not (changing or answer.status_code in (401, 403)) or "noted" in g:
        return answer
    g.noted = True
    caller: Caller = g.get("caller", NOBODY)
    app_id, app_name, deployment_id = g.get("concerned", (None, None, None))
    events.call_ended.send(
        events.Call(
            request_id=g.request_id,
            action=(request.endpoint or "unknown").rpartition(".")[2],
            actor_kind=caller.kind,
            actor_id=caller.id,
            actor_name=caller.name or None,
            app_id=app_id,
            app_name=app_name,
            deployment_id=deployment_id,
            address=request.remote_addr,
            outcome=_outcome(answer.status_code),
            status=answer.status_code,
            error_code=g.get("error_code"),
        )
    )
    return answer


def _outcome(status: int) -> str:
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "repeated" if g.get("repeated") else "done"
