"""A commit becomes a slug: what the fetch and build units are asked for, and what becomes of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rustploy_agent import build_variables, jobs, manifest, precedence, releases, repository, stack, units
from rustploy_agent.errors import DeploymentFailed, InvalidManifest
from rustploy_agent.models import App, Slug
from rustploy_agent.run import Run


def job_document(
    run: Run, slug: Slug, *, ref: str | None, commit: str | None, known: Iterable[str] = (), inspect_only: bool = False
) -> dict[str, Any]:
    """For `fetch_job`. `known`: commits that need no checkout; `inspect_only`: nothing is built."""
    settings = run.settings
    return {
        "version": 1,
        "deployment_id": run.deployment.id,
        "app": run.app.name,
        "slug_id": slug.id,
        "fetch": {
            "url": repository.address(run.app, settings.paths),
            "ref": ref,
            "commit": commit,
            "pushed": run.deployment.pushed_commit,
            "schemes": list(settings.schemes),
            "hosts": list(settings.source_hosts),
            "file_root": settings.file_root,
            "max_bytes": settings.source_max_bytes,
            "known_commits": list(known),
            "timeout_seconds": settings.timeouts.fetch,
            "build_mode": run.app.build_mode,
            "root": run.app.build.get("root"),
            "inspect_only": inspect_only,
        },
    }


def fetch_job(run: Run, job: dict[str, Any], meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The fetch's checked answer (docs/architecture.md); DeploymentFailed with the code that it was refused with."""
    unit = units.fetch(run.app.name)
    return jobs.run(
        run.systemd,
        unit,
        run.path,
        job,
        "fetch.json",
        seconds=run.settings.timeouts.fetch,
        stop_waiting=run.cancelled.is_set,
        stands_by=run.stands_by(unit),
        meanwhile=meanwhile,
        ran_nothing=True,
    )


def parse_manifest(text: str | None) -> dict[str, Any] | None:
    try:
        return None if text is None else manifest.parse(text)
    except InvalidManifest as error:
        raise DeploymentFailed(error.code, error.message) from None


def choose_root(app: App, parsed: dict[str, Any] | None, found: dict[str, Any]) -> str:
    """Return the directory of the repository that fetch looked at; DeploymentFailed when it is not the wanted one."""
    wanted = precedence.build_root(app.build, parsed)
    if wanted not in (None, found["root"]):
        raise DeploymentFailed(
            "invalid_manifest", f"build.root: the fetch looked at {found['root']!r}, not at {wanted!r}"
        )
    root: str = found["root"]
    return root


def choose_buildpack(app: App, parsed: dict[str, Any] | None, found: dict[str, Any]) -> str:
    buildpack = precedence.buildpack(app.build_mode, parsed, found["buildpack"])
    if buildpack in precedence.CONTAINER_MODES:
        raise DeploymentFailed("unsupported_build_mode", f"build.mode: {precedence.NO_CONTAINERS}")
    if buildpack is None:
        raise DeploymentFailed(
            "no_buildpack",
            "no buildpack recognises the repository; it needs an index.html, a requirements.txt, a pyproject.toml, "
            "a go.mod or a package.json at its top, or build.mode in its rustploy.yaml (Dockerfiles are not used)"
            + _directories(found["candidates"]),
        )
    return buildpack


def _directories(candidates: list[str]) -> str:
    found = ", ".join(candidates)
    return f"; these directories have an app, and build.root can name one of them: {found}" if found else ""


def build_job(run: Run, slug: Slug, buildpack: str | None) -> dict[str, Any]:
    """What the build unit made of the checkout. It may link to what finished slugs hold, unless all is to be anew."""
    run.jobs += ("build",)
    seconds = run.settings.timeouts.build
    kept = [] if run.deployment.force_rebuild else releases.finished_slugs(run.app)
    job = {
        "version": 1,
        "deployment_id": run.deployment.id,
        "app": run.app.name,
        "slug_id": slug.id,
        "build": {
            "buildpack": buildpack,
            "root": slug.root,
            "timeout_seconds": seconds,
            "kept_slugs": kept,
            "empty_cache": run.deployment.force_rebuild or releases.has_outdated_slugs(run.app),
            **build_variables.for_job(run.app, run.settings.paths),
        },
    }
    unit = units.build(run.app.name)
    try:
        built = jobs.run(
            run.systemd,
            unit,
            run.path,
            job,
            "build.json",
            seconds=seconds,
            stop_waiting=run.cancelled.is_set,
            stands_by=run.stands_by(unit),
        )
    except DeploymentFailed as error:
        error.message = build_variables.with_hint(run.app, error.message)
        raise
    if not set(built["needs_slugs"]) <= set(kept):
        raise DeploymentFailed("build_failed", "the build names slugs that it was not told to share")
    return built


def built_by_fetch(found: dict[str, Any], buildpack: str | None) -> dict[str, Any] | None:
    """What a build unit would have answered, when fetch has built it already, with the buildpack that holds."""
    built: dict[str, Any] | None = found["built"] if buildpack == found["buildpack"] else None
    return built


def seal(
    slug: Slug, directory: Path, buildpack: str | None, parsed: dict[str, Any] | None, built: dict[str, Any]
) -> Slug:
    """The slug as what was built says, closed to its builder; DeploymentFailed when nothing of it can run."""
    releases.seal(directory)
    if not releases.holds_checkout(directory, str(slug.root)):
        raise DeploymentFailed("build_failed", "the build replaced its directory by something else")
    try:
        processes = manifest.processes(built["release"], built["procfile"], precedence.start_command(parsed))
    except InvalidManifest as error:
        raise DeploymentFailed(error.code, error.message) from None
    if not set(processes) - {precedence.RELEASE}:
        raise DeploymentFailed(
            "no_process", "nothing says how to start the app (see its log); add a Procfile with a line `web: <command>`"
        )
    about = {
        "buildpack": buildpack,
        "processes": processes,
        "manifest": parsed,
        "needs": built["needs_slugs"],
        "bytes": built["bytes"],
        "stack": stack.of_host(),
        "runtimes": _runtimes(built),
    }
    Slug.update(about).where(Slug.id == slug.id).execute()
    sealed: Slug = Slug.get_by_id(slug.id)
    return sealed


def _runtimes(built: dict[str, Any]) -> dict[str, str]:
    """Return the host's interpreters that the slug runs with, also in what it shares of older slugs."""
    needed = built["needs_slugs"]
    shared = Slug.select(Slug.runtimes).where(Slug.id.in_(needed)) if needed else ()
    return stack.runtimes({*built["runtimes"], *(path for slug in shared for path in slug.runtimes)})
