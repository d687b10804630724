"""The agent's side of fetch and build: writes the job, runs the unit, reads the result as untrusted input."""

from __future__ import annotations

import contextlib
import json
import pwd
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rustploy_agent import files, standby
from rustploy_agent.errors import DeploymentFailed
from rustploy_agent.fields import Fields, boolean, integer
from rustploy_agent.names import BUILDPACK, build_root, commit_sha
from rustploy_agent.systemd import Systemd, pause_in_proportion

#: The unit's own deadline comes first, so that it can say what was too slow.
GRACE_SECONDS = 15
#: How often systemd is asked about a unit that has not left its result yet.
ASK_SECONDS = 0.2
#: Directories of a repository that are named to a user; a hostile fetch could list many.
MOST_CANDIDATES = 10


def run(
    systemd: Systemd,
    unit: str,
    app_path: Path,
    job: dict[str, Any],
    result: str,
    *,
    seconds: float,
    stop_waiting: Callable[[], bool],
    stands_by: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
    ran_nothing: bool = False,
) -> dict[str, Any]:
    """The unit's result for this job, checked; DeploymentFailed with the result's own code when it was refused.

    With `stands_by`, a unit that waits for its job is handed it; else it is started anew. `meanwhile` is called once
    the unit is on its way. With `ran_nothing` of the repository, what may be left of the unit when the result is there
    can do no harm, and its end is not waited for.
    """
    kind = result.removesuffix(".json")
    written, left = standby.job_file(app_path, kind), _Result(app_path / "results" / result)
    try:
        with standby.waiting(systemd, unit, written) if stands_by else contextlib.nullcontext(False) as waits:
            files.replace(written, json.dumps(job).encode(), durable=False)
        if not waits:
            systemd.restart_once(unit)  # one that somebody left running ends first
        meanwhile()
        left.pause(0)
        if not (ran_nothing and left.is_there):
            _await_end(systemd, unit, kind, seconds, stop_waiting, left.pause)
    finally:
        written.unlink(missing_ok=True)  # a repository's address may have a token in it
    return read(left.path, app_path.name, job, kind)


def _await_end(
    systemd: Systemd,
    unit: str,
    step: str,
    seconds: float,
    stop_waiting: Callable[[], bool],
    pause: Callable[[float], None],
) -> None:
    state = systemd.settle(unit, seconds + GRACE_SECONDS, stop_waiting, pause, ended=True)
    if state is None:
        systemd.stop_and_wait(unit, 2 * GRACE_SECONDS)
        if stop_waiting():
            raise DeploymentFailed("cancelled", "the deployment was cancelled")
        raise DeploymentFailed(f"{step}_timeout", f"{step} did not end within {seconds:g} s", retryable=step == "fetch")
    if state.active == "failed":
        ended = systemd.exit_state(unit)
        systemd.reset_failed(unit)
        code = f"{step}_out_of_memory" if ended.result == "oom-kill" else f"{step}_failed"
        raise DeploymentFailed(code, f"{unit} {ended}")


class _Result:
    """The file that a unit leaves when it is done, seen from before its start.

    What runs in a build may write there as well, so who depends on the unit's end must ask systemd.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = self._identity()
        self._seen = False

    @property
    def is_there(self) -> bool:
        return self._identity() not in (None, self._before)

    def pause(self, waited: float) -> None:
        """Between two looks at systemd: until the file is there, for asking keeps systemd from setting the unit up.

        That shortens one pause only; a build that writes the file early must not have systemd asked all the time.
        """
        if self._seen:
            pause_in_proportion(waited)
            return
        deadline = time.monotonic() + ASK_SECONDS
        while not self.is_there and time.monotonic() < deadline:
            time.sleep(min(max(0.002, waited / 32), ASK_SECONDS))
        self._seen = self.is_there
        time.sleep(0.001)

    def _identity(self) -> tuple[int, int] | None:
        """None unless it is a regular file."""
        try:
            about = self.path.lstat()
        except OSError:
            return None
        return (about.st_ino, about.st_mtime_ns) if stat.S_ISREG(about.st_mode) else None


def read(path: Path, app: str, job: dict[str, Any], step: str) -> dict[str, Any]:
    """Each attempt has a slug of its own, so an earlier one's result is not taken for this one's."""
    try:
        value = files.read_untrusted_json(path, owner=pwd.getpwnam(f"rpb-{app}").pw_uid)
        if any(value.get(key) != job[key] for key in ("deployment_id", "slug_id")):
            raise files.UntrustedFile(f"{path.name} is of another deployment or attempt")
        if value.get("ok") is not True:
            # A build writes its result itself; it shall not hold its place for several tries.
            retryable = step == "fetch" and value.get("retryable") is True
            raise DeploymentFailed(_word(value.get("code")), _sentence(value.get("message")), retryable=retryable)
        return _fetched(value) if step == "fetch" else _built(value)
    except files.UntrustedFile as error:
        raise DeploymentFailed(f"{step}_failed", f"the {step} left no usable result: {error}") from None


def _fetched(value: dict[str, Any]) -> dict[str, Any]:
    fields = Fields(value)
    none: list[str] = []
    detection = fields.object("detection")
    parsed = {
        "commit": fields.required("commit", commit_sha, ""),
        "known": fields.optional("known", boolean, False),
        "contains_pushed": fields.optional("contains_pushed", boolean, False),
        "built": _built_fields(fields.object("built")) if "built" in fields else None,
        "buildpack": fields.maybe("buildpack", _buildpack),
        "manifest": fields.maybe("manifest", _text),
        "root": fields.optional("root", build_root, ""),
        "app_json": fields.maybe("app_json", _text),
        "candidates": fields.optional("candidates", _texts, none)[:MOST_CANDIDATES],
        "detection": {
            key: detection.optional(key, _text, "unknown") for key in ("framework", "package_manager", "build_profile")
        }
        | {
            "lockfile": detection.maybe("lockfile", _text),
            "dockerfile_present": detection.optional("dockerfile_present", boolean, False),
            "runtime": detection.maybe("runtime", _text),
            "processes": detection.optional("processes", _commands, dict[str, str]()),
            "warnings": detection.optional("warnings", _texts, list[str]()),
        },
    }
    return _complete(fields, parsed)


def _built(value: dict[str, Any]) -> dict[str, Any]:
    fields = Fields(value)
    return _complete(fields, _built_fields(fields))


def _built_fields(fields: Fields) -> dict[str, Any]:
    none: list[str] = []
    return {
        "procfile": fields.maybe("procfile", _text),
        "release": fields.optional("release", _text, ""),
        "bytes": fields.optional("bytes", integer(0, 2**50), 0),
        "needs_slugs": fields.optional("needs_slugs", _texts, none),
        "runtimes": fields.optional("runtimes", _texts, none),
    }


def _complete(fields: Fields, parsed: dict[str, Any]) -> dict[str, Any]:
    if fields.problems:
        raise files.UntrustedFile("; ".join(f"{one.field} {one.message}" for one in fields.problems))
    return parsed


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 128 * 1024:
        raise ValueError("must be a string of at most 128 KiB")
    if not _is_unicode(value):
        raise ValueError("must be valid Unicode")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > 1000:
        raise ValueError("must be a list of at most 1000 strings")
    return [_text(item) for item in value]


def _commands(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 100:
        raise ValueError("must be an object of at most 100 strings")
    return {_text(name): _text(command) for name, command in value.items()}


def _is_unicode(value: str) -> bool:
    """JSON can spell lone surrogates, which neither SQLite nor the journal take."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)


def _buildpack(value: object) -> str:
    if not isinstance(value, str) or not BUILDPACK.fullmatch(value):
        raise ValueError("must be a buildpack's name")
    return value


def _word(value: object) -> str:
    return (
        value
        if isinstance(value, str) and value.isascii() and value.replace("_", "").isalnum() and len(value) < 64
        else "failed"
    )


def _sentence(value: object) -> str:
    return value[:4000].encode("utf-8", "replace").decode() if isinstance(value, str) else "no reason was given"
