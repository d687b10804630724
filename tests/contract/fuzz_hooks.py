"""What the fuzzer must know of the machine it runs on. Schemathesis loads it in its own venv, where nothing of ours is.

FUZZ_KEEP names what the run itself stands on (its token, the app that serves), FUZZ_URL a repository to fetch,
FUZZ_SECRET what webhooks are proven with.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

import schemathesis

KEEP = set(os.environ["FUZZ_KEEP"].split(","))
URL, SECRET = os.environ["FUZZ_URL"], os.environ["FUZZ_SECRET"]
#: Each new app takes a run of rustploy-apply and two users; a handful shows as much as hundreds.
NAMES = ("fuzz-a", "fuzz-b", "fuzz-c", "fuzz-d", "fuzz-e", "fuzz-f")
LONGEST_WAIT = "1"
#: Limits under which the app that serves goes on serving.
ENOUGH = {"memory_max_bytes": 1 << 30, "cpu_quota_percent": 100, "tasks_max": 256}
#: What any request may end with.
ALWAYS = {
    "400": ["malformed_request"],
    "404": ["not_found"],
    "405": ["method_not_allowed"],
    "413": ["body_too_large"],
    "414": ["uri_too_long"],
    "431": ["headers_too_large"],
    "501": ["unsupported_transfer_encoding"],
}


def operation_id(case: Any) -> str:
    return str(case.operation.definition.raw.get("operationId"))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Deep into the code, but not through the floor: requests that are right get what exists, and none removes it."""
    if case.method.upper() == "DELETE":
        for name, value in (case.path_parameters or {}).items():
            if value in KEEP:
                case.path_parameters[name] = "gone"
    for name in [one for one in case.headers or {} if one.lower() == "prefer"]:
        case.headers[name] = f"wait={LONGEST_WAIT}"
    if case.headers and "X-Gitlab-Token" in case.headers and _is_right(case):
        case.headers["X-Gitlab-Token"] = SECRET
    if isinstance(case.body, dict) and _is_right(case):
        _make_real(operation_id(case), case.body)


def _is_right(case: Any) -> bool:
    return case.meta is None or not case.meta.generation.mode.is_negative


def _make_real(operation: str, body: dict[str, Any]) -> None:
    """By the body's own bytes, so that the same seed makes the same requests."""
    lot = zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode())
    if operation == "change_app" and body.get("limits"):
        body["limits"] = {name: ENOUGH.get(name, value) for name, value in body["limits"].items()}
    if operation == "scale_app" and lot % 4:
        body.clear()
        body["web"] = 1 + lot % 3
    if operation == "set_webhook_secret":
        body["secret"] = SECRET
    if operation == "create_app":
        body["name"] = NAMES[lot % len(NAMES)]
    if operation == "import_app":
        body["name"] = NAMES[lot % len(NAMES)]
        if lot % 4:
            body["repository"] = {"provider": "git", "owner": "tests", "name": "fuzzed", "clone_url": URL}
            body["source"] = {"branch": "main"}
            body.pop("build_mode", None)
    if operation == "create_domain":
        body.clear()
        body["domain"] = f"{lot % 50}.example.org"
    if operation.startswith("connect_") and lot % 4:
        body |= {"owner": "tests", "repo": NAMES[lot % len(NAMES)], "branch": "main", "secret": SECRET}


@schemathesis.check
def error_code_is_listed(context: Any, response: Any, case: Any) -> None:
    """Clients switch on codes; one that the document does not list under x-error-codes is none they can know."""
    if response.status_code < 400:
        return
    operation = case.operation.definition.raw
    status = str(response.status_code)
    listed = [*operation.get("x-error-codes", {}).get(status, []), *ALWAYS.get(status, [])]
    code = response.json()["error"]["code"]
    if case.method.lower() != case.operation.method.lower():
        listed += ALWAYS["405"]
    assert code in listed, f"{status} {code} is not in x-error-codes of {operation_id(case)}"


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """The Allow of /apps/import has GET too: an app may be called import, and then that is its path."""
    return not (type(failure).__name__ == "AllowHeaderMismatch" and case.operation.path == "/apps/import")
