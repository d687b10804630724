"""rustploy.yaml, Procfile and what bin/release prints: untrusted text of a repository, parsed into plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rustploy_agent.errors import Detail, InvalidManifest
from rustploy_agent.fields import Fields, boolean, integer, shown
from rustploy_agent.names import (
    app_name,
    build_mode,
    build_root,
    command,
    git_ref,
    process_type,
    written_process_type,
)
from rustploy_agent.runtime_fields import HEALTHCHECK, filesystem

LARGEST, DEEPEST = 64 * 1024, 20
#: Told at once; 64 KiB have room for ten thousand wrong keys.
MOST_PROBLEMS = 20
#: What apply takes for one app.
MOST_PROCESSES = 16
#: What PyYAML raises for a scalar that does not fit its tag, such as `!!bool x` or `!!timestamp x`.
MISFITS = (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError)
PROCFILE_LINE = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(\S.*)")


def parse(text: str) -> dict[str, Any]:
    """The checked manifest as nested dictionaries with only known keys; InvalidManifest names every wrong one."""
    fields = Fields(_yaml(text, "rustploy.yaml"))
    fields.required("version", integer(1, 1), 1)
    app, build, dependencies = fields.object("app"), fields.object("build"), fields.object("dependencies")
    postgres, redis = dependencies.object("postgres"), dependencies.object("redis")
    migrations, deploy = fields.object("migrations"), fields.object("deploy")
    manifest = {
        "version": 1,
        "app": {
            "name": app.maybe("name", app_name),
            "port": app.maybe("port", integer(1, 65535)),
            "start_command": app.maybe("start_command", command),
            "filesystem": app.maybe("filesystem", filesystem),
            **{key: app.maybe(key, parse) for key, parse in HEALTHCHECK.items()},
        },
        "build": {
            "mode": build.maybe("mode", build_mode),
            "profile": build.maybe("profile", command),
            "root": build.maybe("root", build_root),
        },
        "dependencies": {
            "postgres": {"enabled": postgres.optional("enabled", boolean, False)},
            "redis": {"enabled": redis.optional("enabled", boolean, False)},
        },
        "migrations": {
            "enabled": migrations.optional("enabled", boolean, False),
            "command": migrations.maybe("command", command),
        },
        "deploy": {"auto_deploy_branch": deploy.maybe("auto_deploy_branch", git_ref)},
    }
    if "enabled" in migrations and not manifest["migrations"]["command"]:  # type: ignore[index]
        migrations.problem("command", "is required when migrations.enabled is given")
    problems = fields.finish()[:MOST_PROBLEMS]
    if problems:
        raise InvalidManifest("rustploy.yaml: " + "; ".join(f"{one.field} {one.message}" for one in problems), problems)
    return manifest


def processes(release: str, procfile: str | None, start_command: str | None) -> dict[str, str]:
    """Process type to command: the buildpack's defaults, over them Procfile, over that the manifest's start command."""
    found = _default_processes(release)
    if procfile is not None:
        found |= _procfile(procfile)
    if start_command:
        found["web"] = start_command
    if len(found) > MOST_PROCESSES:
        raise _invalid("Procfile", f"must have at most {MOST_PROCESSES} process types")
    return found


def _default_processes(release: str) -> dict[str, str]:
    document = _yaml(release, "bin/release")
    defaults = (document.get("default_process_types") or {}) if isinstance(document, dict) else {}
    if not isinstance(defaults, dict):
        raise _invalid("bin/release", "default_process_types must be an object of process type and command")
    return {
        _checked("bin/release", process_type, key): _checked("bin/release", command, value)
        for key, value in defaults.items()
    }


def _procfile(text: str) -> dict[str, str]:
    """Internal name to command. Two lines for one process are an error: nobody knows which of them is meant."""
    found: dict[str, str] = {}
    written: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where, match = f"Procfile:{number}", PROCFILE_LINE.fullmatch(line.strip())
        if not match:
            raise _invalid(where, "must be `<process type>: <command>`")
        name = _checked(where, written_process_type, match[1])
        if name in found:
            again = "is there twice" if written[name] == match[1] else f"is the same process as {written[name]!r}"
            raise _invalid(where, f"{match[1]!r} {again}; a process type has one line")
        found[name], written[name] = _checked(where, command, match[2]), match[1]
    return found


def _checked(where: str, parser: Any, value: object) -> str:
    try:
        return str(parser(value))
    except ValueError as error:
        raise _invalid(where, f"{shown(value)!r} {error}") from None


def _refuse_bombs(events: Iterator[Any], name: str) -> None:
    """An alias makes a small document huge; PyYAML needs quadratic time for depth, an hour for 64 KiB of brackets."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith(("SequenceStartEvent", "MappingStartEvent"))
        depth -= kind.endswith(("SequenceEndEvent", "MappingEndEvent"))
        if kind == "AliasEvent":
            raise _invalid(name, "must not use YAML aliases")
        if depth > DEEPEST:
            raise _invalid(name, "is nested too deeply")


def _yaml(text: str, name: str) -> Any:
    import yaml

    if len(text.encode("utf-8", "replace")) > LARGEST:
        raise _invalid(name, f"must be at most {LARGEST} bytes")
    try:
        _refuse_bombs(yaml.parse(text, Loader=yaml.SafeLoader), name)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _invalid(name, f"is not valid YAML: {str(error).replace('<unicode string>', name)}") from None
    except MISFITS:
        raise _invalid(name, "has a value that does not fit its tag, or a date that does not exist") from None


def _invalid(field: str, message: str) -> InvalidManifest:
    return InvalidManifest(f"{field}: {message}", [Detail(field, message)])
