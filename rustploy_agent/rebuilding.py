"""`rustploy-agent rebuild`: has the running agent deploy what serves once more, each app built from scratch."""

from __future__ import annotations

import argparse
import http.client
import json

from rustploy_agent import apps, audit, auth, listening, stack
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError, InvalidRequest
from rustploy_agent.models import App, Release

#: The token is revoked at the end; it runs out should that not come.
TOKEN_SECONDS = 600
ANSWER_SECONDS = 60


def rebuild(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.list:
        return _list()
    if arguments.all == bool(arguments.app):
        raise InvalidRequest("name the apps to build anew, or give --all; --list says which need it")
    chosen = _apps() if arguments.all else [apps.find(name) for name in arguments.app]
    secret, token = auth.create_token("rustploy-agent rebuild", ["deploy"], TOKEN_SECONDS)
    audit.note_root("rebuild", "all apps" if arguments.all else ", ".join(app.name for app in chosen))
    try:
        done = [_rebuild(app, settings, secret) for app in chosen]
    finally:
        auth.revoke(token)
    return 0 if all(done) else 1


def _apps() -> list[App]:
    return list(App.select().where(~App.deleting).order_by(App.name))


def _list() -> int:
    for app in _apps():
        reason = stack.rebuild_needed(app)
        if reason is not None:
            print(f"{app.name}: {reason}")
    return 0


def _rebuild(app: App, settings: Settings, secret: str) -> bool:
    """Queue a deployment of the commit that serves; say what became of it."""
    release = Release.get_or_none(Release.id == app.active_release_id)
    if release is None or release.commit_sha is None:
        print(f"{app.name}: has no release yet")
        return True
    if app.stopped:
        print(f"{app.name}: is stopped; deploy it when it shall run again, which builds it anew")
        return True
    wanted = {"commit_sha": release.commit_sha, "force_rebuild": True}
    status, answer = _post(settings, secret, f"/api/v1/apps/{app.id}/deployments", wanted)
    if status == http.client.ACCEPTED:
        print(f"{app.name}: queued, deployment {answer['deployment_id']}")
        return True
    print(f"{app.name}: not queued: {answer['error']['message']}")
    return False


def _post(settings: Settings, secret: str, path: str, body: dict[str, object]) -> tuple[int, dict[str, dict[str, str]]]:
    host, port = listening.addresses(settings)[0]
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AgentError(f"the agent does not answer ({error}); systemctl start rustploy-agent") from None
    finally:
        connection.close()
