"""An app's variables and the snapshot of them that each release keeps, sealed in the database (vault.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from rustploy_agent import vault
from rustploy_agent.clock import now_ms
from rustploy_agent.config import Paths
from rustploy_agent.errors import Detail, InvalidRequest
from rustploy_agent.models import App, EnvVar, Release, database, forget_old_bytes
from rustploy_agent.vault import Box, Unreadable

UNREADABLE = "environment_unreadable"
#: All keys and values of an app together: the kernel's limit for a new program is 2 MiB with its arguments.
LARGEST = 512 * 1024


def prepare(paths: Paths) -> None:
    """At start: seals what an agent before this one left in the clear, all of it or nothing."""
    if vault.begun():
        return
    with database.atomic("IMMEDIATE"):
        box = vault.begin(paths)
        for row in list(EnvVar.select()):
            EnvVar.update(sealed=_seal(box, row.app_id, row.key, row.sealed)).where(EnvVar.id == row.id).execute()
        for release in list(Release.select()):
            sealed = box.seal(release.sealed_env, *_of_release(release.app_id, release.id))
            Release.update(sealed_env=sealed).where(Release.id == release.id).execute()
    forget_old_bytes()


def rows(app: App) -> list[EnvVar]:
    return list(EnvVar.select().where(EnvVar.app == app).order_by(EnvVar.key))


def variables(app: App, paths: Paths) -> dict[str, str]:
    """Never a part of them: Unreadable, naming each that cannot be read, when there is one."""
    box, found, problems = _unlock(paths), {}, []
    for row in rows(app):
        try:
            found[row.key] = box.open(row.sealed, *_of_app(app.id, row.key))
        except Unreadable:
            problems.append(Detail(row.key, "cannot be read with this host's key; set it again or delete it"))
    if problems:
        names = ", ".join(problem.field for problem in problems)
        raise Unreadable(f"variables that cannot be read with this host's key: {names}", problems, code=UNREADABLE)
    return found


def change(
    app: App, changes: Mapping[str, str | None], paths: Paths, build: Mapping[str, bool | None] | None = None
) -> int:
    """Set variables and (None) delete them, all or nothing; return how many were deleted.

    Runs inside the caller's transaction. `build` says of those that it names whether builds see them; the others stay
    as they are.
    """
    unwanted = [key for key, value in changes.items() if value is None]
    deleted: int = EnvVar.delete().where(EnvVar.app == app, EnvVar.key.in_(unwanted)).execute() if unwanted else 0
    wanted = {key: value for key, value in changes.items() if value is not None}
    if wanted:
        _set(app, wanted, _unlock(paths), build or {})
        _check_size(app)
    return deleted


def snapshot(app: App, release_id: str, paths: Paths) -> str:
    """What a release keeps of the variables there are now."""
    text = json.dumps(variables(app, paths), ensure_ascii=False, sort_keys=True)
    return _unlock(paths).seal(text, *_of_release(app.id, release_id))


def of_release(release: Release, paths: Paths) -> dict[str, str]:
    try:
        text = _unlock(paths).open(release.sealed_env, *_of_release(release.app_id, release.id))
    except Unreadable as error:
        message = f"the environment of release v{release.version} cannot be read: {error.message}"
        raise Unreadable(message, code=UNREADABLE) from None
    found: dict[str, str] = json.loads(text)
    return found


def unreadable(paths: Paths) -> list[str]:
    """A sentence for everything sealed here that this host's key does not open."""
    try:
        vault.unlock(paths)
    except Unreadable as error:
        return [error.message]
    found = []
    for app in list(App.select().order_by(App.name)):
        found += [f"app {app.name}: {said}" for said in _refusals(lambda app=app: variables(app, paths))]  # type: ignore[misc]
    for release in list(Release.select().where(Release.healthy_at_unix_ms.is_null(False))):
        found += _refusals(lambda release=release: of_release(release, paths))  # type: ignore[misc]
    return found


def _refusals(read: Callable[[], object]) -> list[str]:
    try:
        read()
        return []
    except Unreadable as error:
        return [error.message]


def _set(app: App, values: Mapping[str, str], box: Box, build: Mapping[str, bool | None]) -> None:
    for key, value in values.items():
        sealed = _seal(box, app.id, key, value)
        marked = {EnvVar.build: build[key]} if build.get(key) is not None else {}
        EnvVar.insert({EnvVar.app: app, EnvVar.key: key, EnvVar.sealed: sealed} | marked).on_conflict(
            conflict_target=[EnvVar.app, EnvVar.key],
            update={EnvVar.sealed: sealed, EnvVar.updated_at_unix_ms: now_ms()} | marked,
        ).execute()


def _check_size(app: App) -> None:
    if sum(_sizes(app)) > LARGEST:
        raise InvalidRequest.field("value", f"all variables of an app together may have at most {LARGEST} bytes")


def _sizes(app: App) -> Iterator[int]:
    """By the sealed lengths, so that one unreadable value does not keep others from being set again."""
    for row in rows(app):
        yield len(row.key) + 1 + vault.length(row.sealed)


def _unlock(paths: Paths) -> Box:
    try:
        return vault.unlock(paths)
    except Unreadable as error:
        raise Unreadable(error.message, code=UNREADABLE) from None


def _seal(box: Box, app_id: str, key: str, value: str) -> str:
    return box.seal(value, *_of_app(app_id, key))


def _of_app(app_id: str, key: str) -> tuple[str, ...]:
    return "env", app_id, key


def _of_release(app_id: str, release_id: str) -> tuple[str, ...]:
    return "release", app_id, release_id
