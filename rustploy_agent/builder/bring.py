"""Bringing exactly one commit of a remote repository into the mirror."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from rustploy_agent.builder import fetchfailure
from rustploy_agent.builder.fetchfailure import GitFailed
from rustploy_agent.builder.gitrun import Git
from rustploy_agent.builder.job import Fetch, Refused
from rustploy_agent.builder.mirror import Mirror, local_ref
from rustploy_agent.builder.remote import Remote
from rustploy_agent.builder.steplog import StepLog

#: Commits in which a pushed one is looked for that is not the branch's newest by now.
HISTORY = 100


class Source(NamedTuple):
    """One fetch: what to bring, from where, into which mirror, and where to tell about it."""

    fetch: Fetch
    remote: Remote
    mirror: Mirror
    log: StepLog
    git: Git


def bring(source: Source) -> str:
    """The commit's id; its tree is in the mirror then."""
    ref, commit = source.fetch.ref, source.fetch.commit
    if commit is None and ref is not None and re.fullmatch(r"[0-9a-f]{40}", ref):
        commit = ref
    return bring_ref(source, ref) if commit is None else bring_commit(source, commit)


def bring_ref(source: Source, ref: str | None) -> str:
    for candidate in candidates(ref):
        try:
            fetch_one(source, candidate)
        except GitFailed as failed:
            if not fetchfailure.REF_MISSING.search(failed.said):
                raise
            continue
        found, peel = source.mirror.fetched()
        return peeled(source, found) if peel else found
    raise Refused("ref_not_found", missing_ref(ref))


def candidates(ref: str | None) -> list[str]:
    """A branch wins over a tag of the same name."""
    if ref is None:
        return ["HEAD"]
    if ref.startswith("refs/"):
        return [ref]
    if ref.startswith(("-", "+", "/")) or re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{", ref):
        raise Refused("ref_not_found", f"ref: {ref[:100]!r} is not a name that git allows for a branch or tag")
    return [f"refs/heads/{ref}", f"refs/tags/{ref}"]


def missing_ref(ref: str | None) -> str:
    if ref is None:
        return "the repository is empty or has no default branch; name a branch"
    hint = ""
    if re.fullmatch(r"[0-9a-f]{4,39}", ref):
        hint = "; if it is a short commit id, write all 40 digits"
    return f"the repository has no branch or tag named {ref[:200]}{hint}"


def bring_commit(source: Source, commit: str) -> str:
    """Asks for exactly the commit; from a server that only gives out tips, everything."""
    if has_commit(source, commit):
        return commit
    try:
        fetch_one(source, commit)
    except GitFailed as failed:
        if not fetchfailure.COMMIT_MISSING.search(failed.said):
            raise
        fetch_all(source)
    if not has_commit(source, commit):
        raise Refused("commit_not_found", f"the repository has no commit {commit}")
    return commit


def contains_pushed(source: Source, commit: str) -> bool:
    """Whether the commit is the pushed one or leads back to it, as far as the newest commits of the branch tell."""
    pushed = source.fetch.pushed
    if pushed is None or pushed == commit or leads_back(source, commit, pushed):
        return True
    source.log.line(f"the newest commit of {source.fetch.ref} is not {pushed}; looking for that in its history")
    try:
        fetch_one(source, candidates(source.fetch.ref)[0], depth=HISTORY)
    except GitFailed:
        return False
    return leads_back(source, commit, pushed)


def leads_back(source: Source, commit: str, older: str) -> bool:
    """As far as the mirror knows."""
    try:
        source.git.run("merge-base", ["--is-ancestor", older, commit])
    except GitFailed:
        return False
    return True


def fetch_one(source: Source, ref: str, *, depth: int = 1) -> None:
    """One commit without its history: what is needed, and nearly nothing when the previous one is there."""
    options = ["--quiet", "--no-tags", "--no-write-commit-graph", "--no-auto-maintenance"]
    wanted = ["--", source.remote.url, f"+{ref}:{local_ref(ref)}"]
    try:
        source.git.run("fetch", [*options, f"--depth={depth}", *wanted])
    except GitFailed as failed:
        if not fetchfailure.NO_SHALLOW.search(failed.said):
            raise
        source.git.run("fetch", [*options, *wanted])


def fetch_all(source: Source) -> None:
    source.log.line("the server does not give out single commits; fetching all branches and tags")
    shallow = os.path.exists(f"{source.mirror.repository}/shallow")
    options = ["--quiet", "--no-tags", "--prune", *(["--unshallow"] if shallow else [])]
    refs = ["+refs/heads/*:refs/rustploy-heads/*", "+refs/tags/*:refs/rustploy-tags/*"]
    source.git.run("fetch", [*options, "--", source.remote.url, *refs])


def has_commit(source: Source, commit: str) -> bool:
    try:
        source.git.run("cat-file", ["-e", f"{commit}^{{commit}}"])
    except GitFailed:
        return False
    return True


def peeled(source: Source, tag: str) -> str:
    try:
        return source.git.run("rev-parse", ["--verify", "--quiet", f"{tag}^{{commit}}"]).decode().strip()
    except GitFailed:
        raise Refused("ref_not_found", f"{source.fetch.ref}: the tag does not point to a commit") from None
