"""The program of rustploy-build@: runs a shipped buildpack on the checkout that fetch left.

`python3 -I -m rustploy_agent.builder.buildpack APP` ends with 0 once it wrote results/build.json, refusals included.
The interface is Heroku's classic one: `bin/compile BUILD_DIR CACHE_DIR ENV_DIR`, then `bin/release BUILD_DIR`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rustploy_agent.builder import cause, child, job
from rustploy_agent.builder.child import DeadlineExceeded
from rustploy_agent.builder.job import Build, Job, Refused
from rustploy_agent.builder.places import Places
from rustploy_agent.builder.root import directory
from rustploy_agent.builder.steplog import StepLog, masked

QUOTED_LINES = 5
LOWEST_FREE_BYTES = 16 * 2**20
REMOVE_SECONDS = 60
#: Proxies and package mirrors that root set for the unit are for builds too; nothing else of the environment is.
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
GO_MIRRORS = ("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOFLAGS")
PYTHON_MIRRORS = ("UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL")
INHERITED = (*PROXIES, *GO_MIRRORS, *PYTHON_MIRRORS)


def main(app: str, places: Places) -> None:
    asked, message = job.parse(job.await_regular(places.build_job), app)
    log = StepLog("build", app, asked.deployment_id)
    try:
        built = perform(asked, job.build_of(message), places, log)
        answer = job.success(asked, built)
    except Refused as refused:
        refused.message = log.shown(masked(refused.message))
        log.line(f"{refused.code}: {refused.message}", priority=3)
        remove_checkout(places.checkout(asked.slug_id))
        answer = job.refusal(asked, refused)
    job.write_atomically(places.build_result, answer)


def remove_checkout(checkout: str) -> None:
    """Nobody wants what was refused, and on a disk that it filled there would be no room for the answer."""
    os.chdir("/")
    child.run(["/usr/bin/rm", "-rf", "--", checkout], {}, time.monotonic() + REMOVE_SECONDS, lambda _: None)


def perform(asked: Job, wanted: Build, places: Places, log: StepLog) -> dict[str, Any]:
    if wanted.buildpack is None:
        raise Refused("no_buildpack", "buildpack: none matches the repository; name one with build_mode")
    checkout = places.checkout(asked.slug_id)
    log.hide(wanted.environment[name] for name in wanted.hidden if name in wanted.environment)
    if wanted.empty_cache:
        empty(places.cache)
    return build(
        wanted.buildpack,
        directory(checkout, wanted.root),
        places.cache,
        places.buildpacks,
        wanted.timeout_seconds,
        log,
        wanted.kept_slugs,
        wanted.environment,
        top=checkout,
    )


def build(
    name: str,
    checkout: str,
    cache: str,
    buildpacks: str,
    seconds: int,
    log: StepLog,
    kept_slugs: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    *,
    top: str | None = None,
    instant: bool = False,
) -> dict[str, Any]:
    """The result's `procfile`, `release`, `bytes` and `needs_slugs`; Refused when it fails or takes longer.

    `checkout` is what is built, `top` the whole repository around it, which workspaces need. `variables` are the app's
    for its builds; the platform's own win over them.

    `instant`: also Refused by the buildpack when it would run anything of the repository.
    """
    commands = executables(buildpacks, name)
    deadline = time.monotonic() + seconds
    variables = variables or {}
    environment = dict(variables) | build_environment(cache) | {"RUSTPLOY_KEPT_SLUGS": " ".join(kept_slugs)}
    environment["RUSTPLOY_REPOSITORY_DIR"] = top or checkout
    environment |= {"RUSTPLOY_INSTANT": "1"} if instant else {}
    log.line(f"building with buildpack {name}")
    make_procfile_plain(checkout)
    try:
        with environment_directory(variables) as env_dir:
            compile_app([commands["compile"], checkout, cache, env_dir], environment, deadline, log)
        release = release_of(commands["release"], checkout, environment, deadline)
    except DeadlineExceeded:
        raise Refused("build_timeout", f"the build did not end within {seconds} s") from None
    size = disk_usage(top or checkout)
    log.line(f"built: {size // 1024} KiB")
    needs = needed_slugs(checkout, kept_slugs)
    used = {"needs_slugs": needs, "runtimes": host_runtimes(name, checkout)}
    return {"procfile": procfile_of(checkout), "release": release, "bytes": size} | used


def host_runtimes(name: str, checkout: str) -> list[str]:
    """Return the paths of the host's interpreters that the slug runs with; it may also bring its own."""
    python = os.path.realpath(f"{checkout}/.venv/bin/python").startswith("/usr/bin/python3")
    node = name == "node" and not os.path.lexists(f"{checkout}/.node")
    return ["/usr/bin/python3"] * python + ["/usr/bin/node"] * node


def needed_slugs(checkout: str, kept_slugs: tuple[str, ...]) -> list[str]:
    """Those whose files the new slug shares, as the buildpack noted them (buildpacks/lib/slugs.sh)."""
    try:
        noted = set((job.read_optional(f"{checkout}/.rustploy/needs") or "").split())
    except ValueError as error:
        raise Refused("build_failed", str(error)) from None
    if not noted <= set(kept_slugs):
        raise Refused("build_failed", "the build shares files of a slug that is not kept")
    return sorted(noted)


def empty(cache: str) -> None:
    """Before anything of it is used: what a hostile dependency of an earlier build left must not reach this one."""
    found = [f"{cache}/{name}" for name in os.listdir(cache)]
    for argv in (["/usr/bin/chmod", "-R", "u+rwX", "--"], ["/usr/bin/rm", "-rf", "--"]):
        if found:
            child.run([*argv, *found], {}, time.monotonic() + REMOVE_SECONDS, lambda _: None)
    if os.listdir(cache):
        raise Refused("build_failed", "the build cache could not be emptied; `rm -rf` it as root")


def executables(buildpacks: str, name: str) -> dict[str, str]:
    """Only what the package ships: the name is one path component by its pattern."""
    found = {part: f"{buildpacks}/{name}/bin/{part}" for part in ("compile", "release")}
    if not all(os.access(path, os.X_OK) for path in found.values()):
        known = ", ".join(sorted(each for each in os.listdir(buildpacks) if os.path.isdir(f"{buildpacks}/{each}/bin")))
        raise Refused("no_buildpack", f"buildpack: there is none named {name}; there are: {known}")
    return found


def build_environment(cache: str) -> dict[str, str]:
    """The same for every build, so that a build cannot depend on who started it."""
    home = f"{cache}/home"
    os.makedirs(home, mode=0o700, exist_ok=True)
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "STACK": stack(),
        "CI": "1",
    }


def stack() -> str:
    """Which system the slug is built for, such as debian-12."""
    with open("/etc/os-release", encoding="utf-8") as file:
        about = dict(line.strip().partition("=")[::2] for line in file)
    return "-".join(about.get(key, "").strip('"') for key in ("ID", "VERSION_ID")).rstrip("-")


@contextlib.contextmanager
def environment_directory(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield ENV_DIR: a file for each variable, in the unit's own /tmp; the directory is gone afterwards."""
    directory = f"/tmp/rustploy-env-{os.getpid()}"
    os.mkdir(directory, 0o700)
    try:
        for name, value in variables.items():
            with open(f"{directory}/{name}", "w", encoding="utf-8", newline="") as file:
                file.write(value)
        yield directory
    finally:
        child.run(["/usr/bin/rm", "-rf", "--", directory], {}, time.monotonic() + REMOVE_SECONDS, lambda _: None)


def compile_app(argv: list[str], environment: dict[str, str], deadline: float, log: StepLog) -> None:
    """Run bin/compile (its command line is `argv`, with the checkout second); Refused when it fails."""
    checkout = argv[1]
    last: collections.deque[str] = collections.deque(maxlen=cause.KEPT_LINES)

    def on_line(line: str) -> None:
        log.line(line)
        if line.strip():
            last.append(line[: cause.LONGEST_READ])

    os.chdir(checkout)
    status = child.run(argv, environment, deadline, on_line)
    if status:
        raise failure(status, checkout, last)


def failure(status: int, checkout: str, last: Sequence[str]) -> Refused:
    free = os.statvfs(checkout)
    said = cause.of(last)
    full = any("No space left on device" in line for line in last)
    if full or free.f_bavail * free.f_frsize < LOWEST_FREE_BYTES:
        return Refused("disk_full", f"the disk is full; {said}", exit_status=status)
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
    return Refused("build_failed", f"the build {ended}; {said}", exit_status=status)


def release_of(release: str, checkout: str, environment: dict[str, str], deadline: float) -> str:
    """The YAML that bin/release prints; what it says on standard error is a build failure's reason."""
    said: list[str] = []
    with open(os.memfd_create("release"), "w+b") as file:
        status = child.run([release, checkout], environment, deadline, said.append, output=file.fileno())
        file.seek(0)
        printed = file.read(job.TEXT_LIMIT + 1)
    if status:
        reason = "; ".join(said[-QUOTED_LINES:])
        raise Refused("build_failed", f"bin/release ended with {status}: {reason}", exit_status=status)
    if len(printed) > job.TEXT_LIMIT:
        raise Refused("build_failed", f"bin/release printed more than {job.TEXT_LIMIT // 1024} KiB")
    return printed.decode("utf-8", "replace")


def procfile_of(checkout: str) -> str | None:
    try:
        return job.read_optional(f"{checkout}/Procfile")
    except ValueError as error:
        raise Refused("build_failed", str(error)) from None


def make_procfile_plain(checkout: str) -> None:
    """Write the Procfile anew in plain UTF-8 when it is in another form, which buildpacks' scripts cannot read."""
    text = procfile_of(checkout)
    path = f"{checkout}/Procfile"
    if text is not None and job.read_regular(path, job.TEXT_LIMIT) != text.encode("utf-8", "replace"):
        os.unlink(path)  # it may be a hard link
        with open(path, "x", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)


def disk_usage(top: str) -> int:
    """Bytes on disk of everything below, links not followed; a hard link counts each time."""
    total = 0
    pending = [top]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return total


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1], Places.of(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
