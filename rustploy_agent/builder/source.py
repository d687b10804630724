"""The program of rustploy-fetch@: brings one app's mirror up to date and checks one commit out.

`python3 -I -m rustploy_agent.builder.source APP`. Ends with 0 whenever it wrote results/fetch.json, refusals included.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from typing import Any, NoReturn

from rustploy_agent.builder import buildpack, deploykey, fetchfailure, gitrun, inspection, job, redirects
from rustploy_agent.builder.bring import Source, contains_pushed
from rustploy_agent.builder.checkout import SPARE_BYTES, check_out
from rustploy_agent.builder.fetchfailure import GitFailed
from rustploy_agent.builder.gitrun import Git
from rustploy_agent.builder.job import Fetch, Job, Refused
from rustploy_agent.builder.mirror import Mirror
from rustploy_agent.builder.places import Places
from rustploy_agent.builder.remote import parse as parse_url
from rustploy_agent.builder.root import directory
from rustploy_agent.builder.steplog import StepLog, masked

MOST_PACKS = 50


class DeadlineExceeded(BaseException):
    """Not an Exception, so that nothing on the way takes it for a failure of its own."""


def main(app: str, places: Places) -> None:
    gitrun.load()  # while there may be time for it
    asked, message = job.parse(job.await_regular(places.fetch_job), app)
    log = StepLog("fetch", app, asked.deployment_id)
    try:
        fetch = job.fetch_of(message)
        found = within_deadline(asked, fetch, places, log)
        answer = job.success(asked, found)
    except Refused as refused:
        refused.message = masked(refused.message)
        log.line(f"{refused.code}: {refused.message}", priority=3)
        answer = job.refusal(asked, refused)
    job.write_atomically(places.fetch_result, answer)
    tidy(Mirror(places.mirror))


def within_deadline(asked: Job, fetch: Fetch, places: Places, log: StepLog) -> dict[str, Any]:
    """`perform` with an alarm over all of it, whatever it waits for."""

    def ring(_signal: int, _frame: object) -> NoReturn:
        raise DeadlineExceeded

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, fetch.timeout_seconds)
    try:
        return perform(asked, fetch, places, log)
    except DeadlineExceeded:
        raise Refused(
            "fetch_timeout", f"the source was not there after {fetch.timeout_seconds} s", retryable=True
        ) from None
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise Refused("disk_full", "the disk is full") from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def perform(asked: Job, fetch: Fetch, places: Places, log: StepLog) -> dict[str, Any]:
    remote = parse_url(fetch.url, fetch.schemes, fetch.file_root)
    log.line(f"fetching {fetch.commit or fetch.ref or 'the default branch'} from {remote.url}")
    limit = fetch.max_bytes + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    mirror = Mirror(places.mirror)
    mirror.prepare(remote)
    key = deploykey.public_half(mirror.private_key, f"rustploy-{asked.app}") if remote.scheme == "ssh" else None
    source = Source(fetch, remote, mirror, log, Git(mirror.root, mirror.environment(remote)))
    try:
        return deliver(source, asked, places)
    except Refused as refused:
        if key and refused.code == fetchfailure.AUTHENTICATION_FAILED:
            refused.message += f"; for a private repository, add this deploy key to it and try again: {key}"
        raise
    finally:
        mirror.forget_credentials()


def deliver(source: Source, asked: Job, places: Places) -> dict[str, Any]:
    app = places.checkout(asked.slug_id)
    source, commit, known = with_one_new_beginning(source, app)
    about = {"commit": commit, "known": known, "contains_pushed": contains_pushed(source, commit)}
    source.mirror.forget_credentials()
    if known:
        source.log.line(f"commit {commit} is already built")
        return about | {"detection": None, "buildpack": None, "manifest": None}
    found = inspection.inspect(app, source.fetch.build_mode, places.buildpacks, source.fetch.root)
    source.log.line(f"buildpack: {found.buildpack or 'none matches'}" + (f", in {found.root}" if found.root else ""))
    top = directory(app, found.root)
    built = None if source.fetch.inspect_only else build_at_once(source, asked, found.buildpack, top, places)
    return about | {"built": built} | found._asdict()


def build_at_once(source: Source, asked: Job, name: str | None, app: str, places: Places) -> dict[str, Any] | None:
    """The build's result when its buildpack runs nothing of the repository for this one; then no build unit is needed.

    Whatever goes wrong is left to the build unit, which says it better.
    """
    instant = f"{places.buildpacks}/{name}/bin/instant"
    if name is None or not os.access(instant, os.X_OK) or not inspection.agrees(instant, app):
        return None
    cache, log = f"{source.mirror.root}/home", StepLog("build", asked.app, asked.deployment_id)
    try:
        return buildpack.build(name, app, cache, places.buildpacks, source.fetch.timeout_seconds, log, instant=True)
    except Refused:
        return None


def with_one_new_beginning(source: Source, app: str) -> tuple[Source, str, bool]:
    """Where the source is now, the commit, and whether it needs no checkout.

    A mirror that git cannot use is thrown away once.
    """
    fresh = not source.mirror.exists
    while True:
        try:
            return obtain(source, app)
        except GitFailed as failed:
            cause = failed.known_cause() or cut_off(source)
            local = source.mirror.repository in failed.said
            if cause and not local:
                raise cause from None
            if fresh:
                raise cause or unexplained(failed) from None
            source.log.line(f"the mirror cannot be used ({failed.sentence()}); fetching everything anew", priority=4)
            source.mirror.wipe()
            fresh = True


def cut_off(source: Source) -> Refused | None:
    """RLIMIT_FSIZE ends git's index-pack without a word; the pack it was writing is left as long as it may be."""
    if source.mirror.largest_leftover < source.fetch.max_bytes:
        return None
    limit = source.fetch.max_bytes // 2**20
    return Refused("repository_too_large", f"what the repository sends is larger than the limit of {limit} MiB")


def unexplained(failed: GitFailed) -> Refused:
    if fetchfailure.REFUSED_BY_FSCK.search(failed.said):
        return Refused("corrupt_repository", f"the repository does not pass git's checks (git: {failed.sentence()})")
    return Refused("fetch_failed", f"git {failed.what} failed: {failed.sentence()}", retryable=failed.what == "fetch")


def obtain(source: Source, app: str) -> tuple[Source, str, bool]:
    if source.mirror.exists:
        source.mirror.clear_leftovers()
    else:
        source.git.run("init", ["--quiet", "--bare", source.mirror.repository])
    source, commit = redirects.bring_from_where_it_is(source)
    if commit in source.fetch.known_commits:
        return source, commit, True
    check_out(source, commit, app)
    return source, commit, False


def tidy(mirror: Mirror) -> None:
    """Every fetch leaves a pack; many of them make git slow. Old branches' objects go with it.

    No deployment waits for it: one that comes meanwhile ends it, and clears away what it was doing. Forced, because one
    that was ended so says for hours that it still runs.
    """
    if mirror.packs > MOST_PACKS:
        with contextlib.suppress(GitFailed):
            Git(mirror.root, mirror.environment(None)).run("gc", ["--quiet", "--force", "--prune=now"])


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1], Places.of(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
