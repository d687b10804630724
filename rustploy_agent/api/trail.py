"""Tells whoever listens (events.call_ended) what a request did or was refused: once, with who, what and which app."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from flask import Response, g, request

from rustploy_agent import events
from rustploy_agent.auth import Caller
from rustploy_agent.models import App, Deployment

READING = ("GET", "HEAD", "OPTIONS")
NOBODY = Caller("anonymous", None, "", ())
LONGEST_SUBJECT = 1000


def begin(app_key: str | None) -> None:
    """Before the view, which may remove the app."""
    if request.method not in READING:
        _look_up(app_key)


def concerns(app: App, deployment: Deployment | None = None) -> None:
    """For views that make an app or a deployment."""
    g.concerned = [(app.id, app.name, deployment.id if deployment else None)]


def queued(deployments: Iterable[Deployment]) -> None:
    """For views that make deployments of several apps: the trail has an entry for each."""
    g.concerned = [(one.app.id, one.app.name, one.id) for one in deployments]


def about(subject: str) -> None:
    """What it is that the call makes, changes or removes, where neither app nor deployment says it: a token's id, the
    names of variables, a domain. Never anything that was not parsed."""
    g.subject = subject[:LONGEST_SUBJECT]


def kept_out() -> None:
    """Somebody is told that there is no such app, because it is not theirs."""
    g.kept_out = True


def note(answer: Response) -> Response:
    """Changes whatever came of them, and refusals to let somebody read. After each request, and in transactions."""
    refused = answer.status_code in (401, 403) or (answer.status_code == 404 and "kept_out" in g)
    if not (refused or request.method not in READING) or "noted" in g:
        return answer
    g.noted = True
    caller: Caller = g.get("caller", NOBODY)
    # Not for strangers: what is done for them, and how long it takes, must not hang on which apps there are.
    if "concerned" not in g and caller is not NOBODY:
        _look_up((request.view_args or {}).get("app_id"))
    for app_id, app_name, deployment_id in g.get("concerned") or [(None, None, None)]:
        call = _call(answer, caller)
        events.call_ended.send(replace(call, app_id=app_id, app_name=app_name, deployment_id=deployment_id))
    return answer


def _look_up(app_key: str | None) -> None:
    if app_key is not None:
        app = App.select(App.id, App.name).where((App.id == app_key) | (App.name == app_key)).first()
        if app is not None:
            concerns(app)


def _call(answer: Response, caller: Caller) -> events.Call:
    return events.Call(
        request_id=g.request_id,
        action=(request.endpoint or "unknown").rpartition(".")[2],
        actor_kind=caller.kind,
        actor_id=caller.id,
        actor_name=caller.name or None,
        subject=g.get("subject"),
        address=request.remote_addr,
        outcome=_outcome(answer.status_code),
        status=answer.status_code,
        error_code=g.get("error_code"),
    )


def _outcome(status: int) -> str:
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "repeated" if g.get("repeated") else "done"
