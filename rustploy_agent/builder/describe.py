"""What an import tells of a repository beyond its framework: version, processes, and what would stop a build.

The buildpacks' own modules decide, so that an import and a build cannot say different things.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from rustploy_agent.builder import job

PROCESS = re.compile(r"(?m)^[ \t]*([A-Za-z0-9_-]{1,63})[ \t]*:[ \t]*(\S.*?)[ \t\r]*$")
MOST_WARNINGS = 20
LONGEST_TEXT = 1000


def describe(found: dict[str, Any], app: str, buildpack: str | None, buildpacks: str) -> dict[str, Any]:
    """The detection with `runtime`, `processes` and `warnings`; `found` is what was seen at the top of the checkout."""
    nothing: dict[str, Any] = {"runtime": None, "processes": {}, "warnings": []}
    told = nothing | found
    if buildpack == "python":
        told |= _python(app, buildpacks)
    if buildpack == "node":
        told |= _node(app, buildpacks)
    told["processes"] = told["processes"] | _procfile(app)
    told["warnings"] = [str(one)[:LONGEST_TEXT] for one in told["warnings"][:MOST_WARNINGS]]
    return told


def _python(app: str, buildpacks: str) -> dict[str, Any]:
    plan = _module(f"{buildpacks}/python/lib", "pyplan.plan")
    told: dict[str, Any] = plan.describe(app, ".".join(str(part) for part in sys.version_info[:3])) if plan else {}
    return told


def _node(app: str, buildpacks: str) -> dict[str, Any]:
    describe_node = _module(f"{buildpacks}/node/lib", "nodeplan.describe")
    told: dict[str, Any] = describe_node.describe(app) if describe_node else {}
    return told


def _module(library: str, name: str) -> Any:
    """A buildpack's module; None for another set of buildpacks, which has no such modules."""
    sys.path.insert(0, library)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
    finally:
        sys.path.remove(library)


def _procfile(app: str) -> dict[str, str]:
    try:
        text = job.read_optional(f"{app}/Procfile")
    except ValueError:
        return {}
    return {name: command[:LONGEST_TEXT] for name, command in PROCESS.findall((text or "").lstrip("\ufeff"))[:100]}
