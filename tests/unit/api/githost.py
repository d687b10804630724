"""Git hosts as they speak: a push's headers and body, proven by a secret as each host does it."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from werkzeug.test import TestResponse

from tests.unit.api.conftest import Client

SECRET = "a-secret-of-the-host"
COMMIT, GONE = "c" * 40, "0" * 40
_numbers = itertools.count()


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _github(secret: str, body: bytes, event: str, delivery: str) -> dict[str, str]:
    proof = f"sha256={signature(secret, body)}"
    return {"X-Hub-Signature-256": proof, "X-GitHub-Event": event, "X-GitHub-Delivery": delivery}


def _gitlab(secret: str, body: bytes, event: str, delivery: str) -> dict[str, str]:
    event = "Push Hook" if event == "push" else event
    return {"X-Gitlab-Token": secret, "X-Gitlab-Event": event, "Idempotency-Key": delivery}


def _gitea(secret: str, body: bytes, event: str, delivery: str) -> dict[str, str]:
    """With what Gitea sends for receivers that expect GitHub or Gogs."""
    about = {
        f"X-{host}-{what[0]}": what[1]
        for host in ("Gitea", "Gogs", "GitHub")
        for what in (("Event", event), ("Delivery", delivery))
    }
    proof = signature(secret, body)
    return about | {"X-Gitea-Signature": proof, "X-Gogs-Signature": proof, "X-Hub-Signature-256": f"sha256={proof}"}


HEADERS = {"github": _github, "gitlab": _gitlab, "gitea": _gitea}


@dataclass
class GitHost:
    """`client` stands for the wire: every answer is held against openapi.yaml."""

    client: Client
    name: str = "github"
    secret: str = SECRET
    sent: list[str] = field(default_factory=list)

    def push(self, repository: str = "Anna/Blog", /, branch: str = "main", after: str = COMMIT, **more: Any) -> bytes:
        """The body of a push event; each is another, as the time of the push is in it."""
        about: dict[str, Any] = {"ref": f"refs/heads/{branch}", "before": "b" * 40, "after": after}
        if self.name == "gitlab":
            about |= {"project": {"path_with_namespace": repository, "default_branch": "main"}, "object_kind": "push"}
        else:
            about["repository"] = {"full_name": repository, "default_branch": "main", "pushed_at": next(_numbers)}
        return json.dumps(about | {"commits": [{"message": 'a "full_name": "eve/evil" ü'}]} | more).encode()

    def headers(self, body: bytes, *, event: str = "push", delivery: str | None = None) -> dict[str, str]:
        known = delivery or f"delivery-{next(_numbers)}"
        return {"Content-Type": "application/json"} | HEADERS[self.name](self.secret, body, event, known)

    def send(self, body: bytes | None = None, **headers: Any) -> TestResponse:
        body = self.push() if body is None else body
        return self.raw(body, self.headers(body, **headers))

    def raw(self, body: bytes, headers: dict[str, str]) -> TestResponse:
        return self.client("POST", f"/integrations/{self.name}/webhook", data=body, headers=headers)

    def counts(self, body: bytes | None = None, **headers: Any) -> tuple[int, int]:
        """Matched and queued of a delivery that is taken."""
        answer = self.send(body, **headers)
        assert answer.status_code == 202, answer.get_json()
        found = answer.get_json()
        assert found["accepted"] is True
        return found["matched_integrations"], found["queued_deployments"]
