"""The secrets that tests give to the agent or get from it, and the watch that no answer gives one away."""

import re
from typing import Any

#: What is shorter or simpler than this stands in logs and pages for other reasons.
SHORTEST = 12
KEYS = {"password", "new_password", "secret", "private_key"}
#: Operations whose answer is for showing it: a new token, once, and variables, to an admin.
MAY_SHOW = re.compile(r"(?:POST /api/v1/tokens|(?:GET|PUT|PATCH) /api/v1/apps/[^/]+/env)(?:\?.*)?")


class Secrets:
    def __init__(self) -> None:
        self.known: set[str] = set()

    def add(self, secret: object) -> None:
        """Line by line, as a search would meet it."""
        if isinstance(secret, str):
            self.known |= {line for line in secret.splitlines() if _is_secret(line)}

    def sent(self, path: str, body: Any) -> None:
        """Notes what a request gives away."""
        if not isinstance(body, dict):
            return
        for key in KEYS & body.keys():
            self.add(body[key])
        if path.endswith("/env"):
            for value in [body.get("value")] if "key" in body else body.values():
                self.add(value)
        repository = body.get("repository")
        url = str(repository.get("clone_url")) if isinstance(repository, dict) else ""
        if "://" in url and not url.startswith("ssh://"):
            for part in url.partition("://")[2].rpartition("@")[0].split(":"):
                self.add(part)

    def answered(self, method: str, path: str, body: Any, content: bytes) -> None:
        """AssertionError when an answer shows a secret that it is not made to show."""
        if method == "POST" and path == "/api/v1/tokens" and isinstance(body, dict):
            self.add(body.get("token"))
        if MAY_SHOW.fullmatch(f"{method} {path}"):
            return
        text = content.decode(errors="replace")
        shown = [secret for secret in self.known if secret in text]
        assert not shown, f"the answer of {method} {path} shows {len(shown)} secrets, one begins with {shown[0][:4]!r}"


def _is_secret(line: str) -> bool:
    """Long, of one word, and neither all letters nor a line that every key has."""
    plain = line.isalpha() or line.startswith("-----") or re.search(r"\s", line) or len(set(line)) < 8
    return len(line) >= SHORTEST and not plain
