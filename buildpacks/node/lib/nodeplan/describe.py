"""Tell of a Node app before it is built: its node, its processes, and what would stop it."""

from __future__ import annotations

from nodeplan import frameworks, nodeversion, plan
from nodeplan.packagefile import Wrong, load, read_bytes, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_START = 'nothing says how to start this app: add a "start" script to package.json, or a Procfile with "web: …"'


def describe(app: str) -> dict[str, Any]:
    """Return `runtime`, `processes` and `warnings`, by the code that decides in the build."""
    try:
        package = load(app, mend=False)
        planned = plan.plan(app, "unasked", mend=False)
        runtime = "node " + (nodeversion.allowed(package, app)[1].rpartition(" ")[2] or "of the host")
    except Wrong as wrong:
        return {"runtime": None, "processes": {}, "warnings": [str(wrong)]}
    procfile = plan.procfile(app)
    start, site = planned["start"], ""
    if not start and not procfile:
        start, site, _ = frameworks.produced(app, mend=False)
    told: dict[str, Any] = {"runtime": runtime, "processes": {"web": start} if start else {}, "warnings": []}
    if start or site or procfile or b"start_command:" in read_bytes(f"{app}/rustploy.yaml"):
        return told
    builds = planned["builds"] or planned["before"] or planned["hooks"]
    if not builds:
        told["warnings"].append(NO_START)
    elif strings(package.get("scripts")).get("start"):
        told["warnings"].append(
            "the start script is a development server: what the build leaves is started or served instead"
        )
    elif planned["framework"] == "node":
        told["warnings"].append(
            "no start script: the build must leave a server.js, or an index.html in dist/, build/, out/ or public/"
        )
    return told
