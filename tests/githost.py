"""Git hosts as they speak: a push's headers and body, proven by a secret as each host does it."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import random
from dataclasses import dataclass
from typing import Any

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
    """`client` takes a method, a path, data and headers, and answers as werkzeug's test client does."""

    client: Any = None
    name: str = "github"
    secret: str = SECRET

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

    def send(self, body: bytes | None = None, **headers: Any) -> Any:
        body = self.push() if body is None else body
        return self.raw(body, self.headers(body, **headers))

    def raw(self, body: bytes, headers: dict[str, str]) -> Any:
        return self.client("POST", f"/integrations/{self.name}/webhook", data=body, headers=headers)

    def counts(self, body: bytes | None = None, **headers: Any) -> tuple[int, int]:
        """Matched and queued of a delivery that is taken."""
        answer = self.send(body, **headers)
        assert answer.status_code == 202, answer.get_json()
        found = answer.get_json()
        assert found["accepted"] is True
        return found["matched_integrations"], found["queued_deployments"]


def bent(chance: random.Random, data: bytes) -> bytes:
    """One to three bytes changed, put in, taken out, or a piece doubled or cut off; never what it was."""
    found = bytearray(data)
    while bytes(found) == data:
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(found) + 1)
            match chance.randrange(5):
                case 0:
                    found[at : at + 1] = chance.randbytes(1)
                case 1:
                    found[at:at] = chance.randbytes(chance.randint(1, 8))
                case 2:
                    del found[at : at + chance.randint(1, 8)]
                case 3:
                    found[at:at] = found[at : at + 50]
                case _:
                    del found[at:]
    return bytes(found)


def header(value: bytes) -> str:
    """As a server hands it on: any byte but those that would end the line. A server strips what is around."""
    return bytes(byte for byte in value if byte not in b"\r\n\0").decode("latin-1").strip(" \t")
