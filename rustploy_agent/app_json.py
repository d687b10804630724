"""app.json, as Heroku and Dokku read it: the variables that an app is born with, and what it asks for besides.

https://devcenter.heroku.com/articles/app-json-schema has the format. The text is a stranger's; what is wrong in it is
told as a warning and keeps nobody from importing.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, NamedTuple

from rustploy_agent import environment
from rustploy_agent.config import Paths
from rustploy_agent.models import App, EnvVar
from rustploy_agent.names import env_key, env_value

MOST_VARIABLES = 100
SECRET_BYTES = 32
#: Keys of app.json that this version understands and does not act on, with what to do instead.
NOT_DONE = {
    "addons": "databases are not provided yet: create one and set its URL as a variable",
    "cron": "scheduled jobs are not run yet",
    "buildpacks": "one buildpack builds an app: build_mode names it",
    "scripts": "scripts are not run: a Procfile's release line is, before each release starts",
}


class AppJson(NamedTuple):
    """`values` of variables, names of `generated` secrets and of those that somebody must set, and what is not done."""

    values: dict[str, str]
    generated: list[str]
    required: list[str]
    warnings: list[str]


def parse(text: str) -> AppJson:
    """Return what an app.json says."""
    found = AppJson({}, [], [], [])
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        found.warnings.append("app.json is no JSON object, so nothing of it was used")
        return found
    found.warnings.extend(f"app.json: {key}: {said}" for key, said in NOT_DONE.items() if document.get(key))
    variables = document.get("env")
    for key, about in list(variables.items())[:MOST_VARIABLES] if isinstance(variables, dict) else ():
        try:
            _variable(found, env_key(key), about)
        except ValueError as error:
            found.warnings.append(f"app.json: env.{key[:100]} {error}")
    return found


def _variable(found: AppJson, key: str, about: Any) -> None:
    if isinstance(about, str):
        found.values[key] = env_value(about)
        return
    if not isinstance(about, dict):
        raise ValueError("must be a text or an object")
    if about.get("generator") == "secret":
        found.generated.append(key)
    elif about.get("value") not in (None, ""):
        value = about["value"]
        found.values[key] = env_value(value if isinstance(value, str) else json.dumps(value))
    elif about.get("required", True):
        found.required.append(key)


def provide(app: App, text: str | None, paths: Paths) -> list[str]:
    """Set the variables that the app does not have yet; return warnings. Runs inside the caller's transaction."""
    if text is None:
        return []
    wanted = parse(text)
    there = {row.key for row in EnvVar.select(EnvVar.key).where(EnvVar.app == app)}
    new: dict[str, str | None] = {key: value for key, value in wanted.values.items() if key not in there}
    new |= {key: secrets.token_hex(SECRET_BYTES) for key in wanted.generated if key not in there}
    if new:
        environment.change(app, new, paths)
    missing = [key for key in wanted.required if key not in there]
    told = [f"app.json: the app needs the variable {key}; PUT /api/v1/apps/{app.name}/env sets it" for key in missing]
    return [*told, *wanted.warnings]
