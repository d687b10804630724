"""What git hosts send when somebody pushes: which header and field carries what, and whether they know the secret.

One row of PROVIDERS per host; nothing else in the agent tells them apart. What a delivery says is a stranger's word
until `proves` has compared its proof with a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

from rustploy_agent.errors import InvalidRequest
from rustploy_agent.fields import Fields, boolean, text
from rustploy_agent.names import commit_sha, git_ref

#: Bytes, or the file they lie in.
Body = bytes | mmap
#: What GitHub sends at most.
LARGEST = 25 * 1024 * 1024
BRANCHES, NO_COMMIT = "refs/heads/", "0" * 40
PATH = re.compile(r"/api/v1/integrations/([a-z]+)/webhook/?")
#: A body is searched for the repositories it names only so far; hosts name theirs first.
MOST_CLAIMS = 8
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def _hmac(prefix: str) -> Callable[[str, str, Body], bool]:
    def proves(proof: str, secret: str, body: Body) -> bool:
        expected = prefix + hmac.new(secret.encode(), body, "sha256").hexdigest()
        return hmac.compare_digest(expected.encode(), proof.encode("utf-8", "replace"))

    return proves


def _shared(proof: str, secret: str, _: Body) -> bool:
    return hmac.compare_digest(secret.encode(), proof.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Provider:
    """A git host. `delivery` are headers of which the first that is there identifies the delivery across repetitions.

    `dated`: no two pushes have the same body, so the same proof again is the same delivery whatever its headers say.
    Those are not signed, and somebody who saw a delivery could else send it once more under another id.
    `installations`: it has apps of its own, whose installation a connection may name.
    """

    name: str
    title: str
    proof: str
    proves: Callable[[str, str, Body], bool]
    event: str
    push: str
    delivery: tuple[str, ...]
    repository: tuple[str, str]
    dated: bool = False
    installations: bool = False

    def claims(self, body: Body) -> set[str]:
        """The repositories that the bytes name, vouched for by nobody: to choose secrets by, for nothing else."""
        named = re.compile(rb'"%s"\s*:\s*"([A-Za-z0-9_./-]{1,300})"' % self.repository[1].encode())
        return {match[1].decode().lower() for match in islice(named.finditer(body), MOST_CLAIMS)}


PROVIDERS = {
    one.name: one
    for one in (
        Provider(
            name="github",
            title="GitHub",
            proof="X-Hub-Signature-256",
            proves=_hmac("sha256="),
            event="X-GitHub-Event",
            push="push",
            delivery=("X-GitHub-Delivery",),
            repository=("repository", "full_name"),
            dated=True,  # repository.pushed_at
            installations=True,
        ),
        Provider(
            name="gitlab",
            title="GitLab",
            proof="X-Gitlab-Token",
            proves=_shared,
            event="X-Gitlab-Event",
            push="Push Hook",
            delivery=("Idempotency-Key", "X-Gitlab-Event-UUID"),  # the first since GitLab 17.4
            repository=("project", "path_with_namespace"),
        ),
        Provider(
            name="gitea",
            title="Gitea or Forgejo",
            proof="X-Gitea-Signature",
            proves=_hmac(""),
            event="X-Gitea-Event",
            push="push",
            delivery=("X-Gitea-Delivery",),
            repository=("repository", "full_name"),
        ),
    )
}


@dataclass(frozen=True)
class Push:
    """`branch` is None for what is no branch, `commit` for a branch that was deleted."""

    repository: str
    branch: str | None
    commit: str | None
    default_branch: str | None


@dataclass(frozen=True)
class Letterhead:
    """What a delivery's headers say of it; None for what is not there or is nothing that a host would write."""

    event: str | None
    delivery_id: str | None
    proof_sha256: str | None = None


def letterhead(provider: Provider, headers: Mapping[str, str]) -> Letterhead:
    proof = headers[provider.proof] if provider.dated and provider.proof in headers else None
    given = next((headers[name] for name in provider.delivery if name in headers), None)
    event = headers.get(provider.event, "").replace(" ", "_")
    return Letterhead(
        event=headers[provider.event] if IDENTIFIER.fullmatch(event) else None,
        delivery_id=given if given is not None and IDENTIFIER.fullmatch(given) else None,
        proof_sha256=None if proof is None else hashlib.sha256(proof.encode("utf-8", "replace")).hexdigest(),
    )


def may_be_large(path: str, headers: Mapping[str, str]) -> bool:
    """Whether a body of more than an ordinary request's size may come, as far as path and (CGI) headers tell."""
    match = PATH.fullmatch(path)
    provider = PROVIDERS.get(match[1]) if match else None
    return provider is not None and provider.proof.upper().replace("-", "_") in headers


def parse_push(provider: Provider, value: object) -> Push:
    """Of the JSON of a body whose sender is known; InvalidRequest names what is wrong with it."""
    fields = Fields(value)
    if fields.problems:
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    about = fields.object(provider.repository[0], required=True)
    ref, after = fields.required("ref", git_ref, ""), fields.required("after", commit_sha, NO_COMMIT)
    deleted = fields.optional("deleted", boolean, False) or after == NO_COMMIT
    push = Push(
        repository=about.required(provider.repository[1], text, "").lower(),
        branch=ref.removeprefix(BRANCHES) if ref.startswith(BRANCHES) else None,
        commit=None if deleted else after,
        default_branch=about.maybe("default_branch", git_ref),
    )
    if fields.problems:
        wrong = "; ".join(f"{one.field or 'body'} {one.message}" for one in fields.problems)
        raise InvalidRequest(wrong, fields.problems)
    return push
