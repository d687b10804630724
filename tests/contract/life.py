"""The life of an app through the client that openapi-python-client generated; runs in the tools' venv.

life.py GENERATED URL EMAIL PASSWORD REPOSITORY APP BETWEEN — runs BETWEEN before each call; prints what it saw as JSON.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from typing import Any

GENERATED, URL, EMAIL, PASSWORD, REPOSITORY, APP, BETWEEN = sys.argv[1:]
sys.path.insert(0, GENERATED)

from generated import AuthenticatedClient, Client, models  # noqa: E402


def call(client: Any, operation: str, *path: str, **body: Any) -> Any:
    """The detailed answer of one generated function, named as module.operation."""
    subprocess.run([BETWEEN], check=True)
    answer = importlib.import_module(f"generated.api.{operation}").sync_detailed(*path, client=client, **body)
    return answer


def made(client: Any, operation: str, *path: str, **body: Any) -> Any:
    answer = call(client, operation, *path, **body)
    assert 200 <= answer.status_code < 300, (operation, answer.status_code, answer.content)
    return answer.parsed


def finished(client: Any, accepted: models.Accepted) -> models.Deployment:
    deadline = time.monotonic() + 120
    deployment = made(client, "deployments.show_deployment", APP, accepted.deployment_id)
    show = importlib.import_module("generated.api.deployments.show_deployment")
    while deployment.status not in (models.DeploymentStatus.HEALTHY, models.DeploymentStatus.FAILED):
        assert time.monotonic() < deadline, deployment
        time.sleep(0.1)
        deployment = show.sync(APP, accepted.deployment_id, client=client)
    return deployment


person = Client(base_url=URL, timeout=60)
session = made(person, "auth.login", body=models.Login(email=EMAIL, password=PASSWORD))
wanted = models.NewToken(name="life", scopes=[models.Scope.ADMIN])
token = made(person, "tokens.create_token", body=wanted)
program = AuthenticatedClient(base_url=URL, token=token.token, timeout=60)
repository = models.Repository(provider="git", owner="tests", name=APP, clone_url=REPOSITORY)
imported = made(program, "apps.import_app", body=models.Import(repository=repository, name=APP))
made(program, "env.set_env", APP, body=models.NewEnv(key="GREETING", value="one"))
first = finished(program, made(program, "deployments.create_deployment", APP))
logs = made(program, "deployments.deployment_logs", APP, first.id)
made(program, "env.set_env", APP, body=models.NewEnv(key="GREETING", value="two"))
second = finished(program, made(program, "deployments.create_deployment", APP))
back = finished(program, made(program, "deployments.create_rollback", APP))
state = made(program, "apps.show_app", APP)
listed = made(program, "deployments.list_deployments", APP)
made(program, "tokens.revoke_token", token.summary.id)
refused = call(program, "apps.show_app", APP)
made(person, "auth.logout")
gone = call(person, "auth.me")

seen = {
    "email": session.email,
    "framework": imported.detection.framework,
    "ended": [one.status.value for one in (first, second, back)],
    "logs name the commit": first.commit_sha[:8] in logs.logs,
    "serves": state.active_deployment_id == back.id,
    "history": [one.kind.value for one in listed.items],
    "after revocation": [refused.status_code, refused.parsed.error.code],
    "after logout": [gone.status_code, gone.parsed.error.code],
}
sys.stdout.write(json.dumps(seen))
