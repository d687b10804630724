"""The program of rustploy-fetch@: brings one app's mirror up to date and checks one commit out. The only GitPython.

`python3 -I -m rustploy_agent.source APP`. Ends with 0 whenever it wrote results/fetch.json, refusals included.
GitPython is used to run git, with our argv and environment; its object database and its URL handling are not.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

from rustploy_agent import deploykey, fetchfailure, inspection, job, tree
from rustploy_agent.fetchfailure import GitFailed
from rustploy_agent.job import Fetch, Job, Refused
from rustploy_agent.mirror import Mirror, local_ref
from rustploy_agent.places import Places
from rustploy_agent.remote import Remote
from rustploy_agent.remote import parse as parse_url
from rustploy_agent.steplog import StepLog, masked

if TYPE_CHECKING:
    from git.cmd import Git

PIECE = 256 * 1024
MOST_SAID = 64 * 1024
MOST_PACKS = 50
SPARE_BYTES = 64 * 2**20


class DeadlineExceeded(BaseException):
    """Not an Exception, so that nothing on the way takes it for a failure of its own."""


class Source(NamedTuple):
    """One fetch: what to bring, from where, into which mirror, and where to tell about it."""

    fetch: Fetch
    remote: Remote
    mirror: Mirror
    log: StepLog
    git: Git


def main(app: str, places: Places) -> None:
    asked, message = job.parse(job.read_regular(places.job), app)
    log = StepLog("fetch", app, asked.deployment_id)
    try:
        fetch = job.fetch_of(message)
        found = within_deadline(asked, fetch, places, log)
        answer = {"version": 1, "deployment_id": asked.deployment_id, "ok": True} | found
    except Refused as refused:
        refused.message = masked(refused.message)
        log.line(f"{refused.code}: {refused.message}", priority=3)
        answer = job.refusal(asked.deployment_id, refused)
    job.write_atomically(places.fetch_result, answer)


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
    source = Source(fetch, remote, mirror, log, git_door(mirror, remote))
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
    commit, known = with_one_new_beginning(source, app)
    if known:
        source.log.line(f"commit {commit} is already built")
        return {"commit": commit, "known": True, "detection": None, "buildpack": None, "manifest": None}
    found = inspection.inspect(app, source.fetch.build_mode, places.buildpacks)
    source.log.line(f"buildpack: {found.buildpack or 'none matches'}")
    tidy(source)
    return {"commit": commit, "known": False} | found._asdict()


def with_one_new_beginning(source: Source, app: str) -> tuple[str, bool]:
    """The commit, and whether it needs no checkout. A mirror that git cannot use is thrown away once."""
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


def obtain(source: Source, app: str) -> tuple[str, bool]:
    if source.mirror.exists:
        source.mirror.clear_leftovers()
    else:
        run(source, "init", ["--quiet", "--bare", source.mirror.repository])
    commit = bring(source)
    if commit in source.fetch.known_commits:
        return commit, True
    check_out(source, commit, app)
    return commit, False


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


def fetch_one(source: Source, ref: str) -> None:
    """One commit without its history: what is needed, and nearly nothing when the previous one is there."""
    options = ["--quiet", "--no-tags", "--no-write-commit-graph", "--no-auto-maintenance"]
    wanted = ["--", source.remote.url, f"+{ref}:{local_ref(ref)}"]
    try:
        run(source, "fetch", [*options, "--depth=1", *wanted])
    except GitFailed as failed:
        if not fetchfailure.NO_SHALLOW.search(failed.said):
            raise
        run(source, "fetch", [*options, *wanted])


def fetch_all(source: Source) -> None:
    source.log.line("the server does not give out single commits; fetching all branches and tags")
    shallow = os.path.exists(f"{source.mirror.repository}/shallow")
    run(
        source,
        "fetch",
        [
            "--quiet",
            "--no-tags",
            "--prune",
            *(["--unshallow"] if shallow else []),
            "--",
            source.remote.url,
            "+refs/heads/*:refs/rustploy-heads/*",
            "+refs/tags/*:refs/rustploy-tags/*",
        ],
    )


def has_commit(source: Source, commit: str) -> bool:
    try:
        run(source, "cat-file", ["-e", f"{commit}^{{commit}}"])
    except GitFailed:
        return False
    return True


def peeled(source: Source, tag: str) -> str:
    try:
        return run(source, "rev-parse", ["--verify", "--quiet", f"{tag}^{{commit}}"]).decode().strip()
    except GitFailed:
        raise Refused("ref_not_found", f"{source.fetch.ref}: the tag does not point to a commit") from None


def check_out(source: Source, commit: str, app: str) -> None:
    """The commit's files and nothing else in `app`; what may not be there is refused before anything is written."""
    with reading(source, "ls-tree", ["-r", "-l", "-z", "--full-tree", commit]) as pieces:
        surveyed = tree.survey(tree.entries(pieces), source.fetch.max_bytes)
    check_symlinks(source, surveyed.symlinks)
    free = os.statvfs(os.path.dirname(app))
    if free.f_bavail * free.f_frsize < surveyed.bytes + SPARE_BYTES:
        raise Refused(
            "disk_full", f"the checkout needs {surveyed.bytes // 2**20 + 1} MiB and the disk has no room for it"
        )
    if os.path.lexists(app):
        shutil.rmtree(app)
    os.mkdir(app)
    os.chmod(app, 0o755)  # without the set-group bit of the slug's directory: cp could not repeat it in the sandbox
    run(source, "read-tree", ["--reset", "-u", commit], GIT_WORK_TREE=app, GIT_INDEX_FILE=source.mirror.checkout_index)
    os.unlink(source.mirror.checkout_index)
    source.log.line(f"checked out {commit}: {surveyed.files} files, {surveyed.bytes} bytes")


def check_symlinks(source: Source, symlinks: list[tree.Symlink]) -> None:
    if not symlinks:
        return
    with open(os.memfd_create("symlinks"), "w+b") as asked:
        asked.write("".join(f"{symlink.blob}\n" for symlink in symlinks).encode())
        asked.seek(0)
        with reading(source, "cat-file", ["--batch"], istream=asked) as pieces:
            content = b"".join(pieces)
    for symlink in symlinks:
        header, _, content = content.partition(b"\n")
        size = int(header.split()[2])
        tree.check_target(symlink.path, content[:size])
        content = content[size + 1 :]


def tidy(source: Source) -> None:
    """Every fetch leaves a pack; many of them make git slow. Old branches' objects go with it."""
    if source.mirror.packs > MOST_PACKS:
        with contextlib.suppress(GitFailed):
            run(source, "gc", ["--quiet", "--prune=now"])


def git_door(mirror: Mirror, remote: Remote) -> Git:
    """GitPython adds to os.environ, so that holds nothing but what git may see. Imported here: it takes 45 ms."""
    environment = mirror.environment(remote)
    os.environ.clear()
    os.environ.update(environment)
    from git.cmd import Git

    return Git(mirror.root)


def run(source: Source, command: str, arguments: list[str], **environment: str) -> bytes:
    """Standard output of a git command (small ones only); GitFailed when it does not end with 0."""
    with reading(source, command, arguments, environment=environment) as pieces:
        return b"".join(pieces)


@contextlib.contextmanager
def reading(
    source: Source,
    command: str,
    arguments: list[str],
    *,
    istream: IO[bytes] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Iterator[bytes]]:
    """Git's standard output, piece by piece. An exception in between kills git and all it started."""
    execute: Any = source.git.execute  # its overloads leave out what it passes on to Popen
    process = execute(
        ["git", command, *arguments], as_process=True, istream=istream, env=environment or {}, start_new_session=True
    )
    said: list[bytes] = []
    listener = threading.Thread(target=listen, args=(process.stderr, said), daemon=True)
    listener.start()
    try:
        yield iter(lambda: process.stdout.read1(PIECE), b"")
        status = process.proc.wait()
    finally:
        kill_session(process.pid)
        process.proc.wait()
        listener.join()
    if status:
        raise GitFailed(command, status, b"".join(said).decode("utf-8", "replace"))


def listen(stderr: IO[bytes], said: list[bytes]) -> None:
    """Keeps the beginning of what git says and reads the rest too: a full pipe would stop git."""
    size = 0
    while piece := os.read(stderr.fileno(), PIECE):
        if size < MOST_SAID:
            said.append(piece)
        size += len(piece)


def kill_session(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1], Places.of(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
