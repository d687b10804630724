"""The document's links: what one operation made, the next one takes, as the runtime expressions say."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from rustploy_agent.core import Core
from tests.unit import contract
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.waiting import ended

pytestmark = pytest.mark.processes
#: What the examples of bodies cannot know.
BODIES: dict[str, dict[str, Any]] = {
    "create_app": {"name": "shop"},
    "import_app": {"repository": REPOSITORY, "name": "shop"},
    "create_domain": {"domain": "www.example.org"},
    "change_domain": {"redirect_to": None},
    "create_rollback": {},
}
#: From these on, there must be a release to go back to.
OF_RELEASES = ("create_rollback", "show_deployment")


def links() -> Iterator[tuple[str, str, str]]:
    """(operation, status, name of a link of that answer)"""
    for operation in contract.operations().values():
        for status, answer in operation["responses"].items():
            for name in contract.resolved(answer).get("links", {}):
                yield operation["operationId"], status, name


@functools.cache
def named() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """operationId -> method, path below /api/v1, operation."""
    return {
        operation["operationId"]: (method, path.removeprefix(contract.PREFIX), operation)
        for (method, path), operation in contract.operations().items()
    }


def call(client: Client, name: str, given: dict[str, str], body: Any = None) -> TestResponse:
    """With the example's body unless there is another; `given` has what the path needs, the rest is the query."""
    method, path, operation = named()[name]
    needed = re.findall(r"\{([a-z_]+)\}", path)
    query = "&".join(f"{key}={value}" for key, value in given.items() if key not in needed)
    if body is None and "requestBody" in operation:
        body = BODIES[name] if name in BODIES else operation["requestBody"]["content"]["application/json"]["example"]
    return client(method, path.format(**given) + (f"?{query}" if query else ""), body)


def meant(expression: str, path: dict[str, str], answer: TestResponse) -> str:
    """The value of a runtime expression of OpenAPI."""
    source, _, place = expression.partition("#/")
    if source != "$response.body":
        return path[expression.removeprefix("$request.path.")]
    value = answer.get_json()
    for step in place.split("/"):
        value = value[int(step) if isinstance(value, list) else step]
    assert isinstance(value, str), f"{expression} is {value!r}"
    return value


@pytest.fixture
def path(admin: Client, core: Core, blog: str, operation: str) -> dict[str, str]:
    """The app blog, deployed twice, and the first of its deployments."""
    if operation in OF_RELEASES:
        core.worker.start()
    made = []
    for commit in ("1" * 40, "2" * 40):
        made.append(admin("POST", f"/apps/{blog}/deployments", {"commit_sha": commit}).get_json()["deployment_id"])
        assert operation not in OF_RELEASES or ended(made[-1]).status == "healthy"
    return {"app_id": blog, "deployment_id": made[0], "provider": "github", "limit": "1"}


@pytest.mark.parametrize(("operation", "status", "name"), links())
def test_a_link_leads_where_it_says(
    admin: Client, path: dict[str, str], operation: str, status: str, name: str
) -> None:
    """Tools walk the API by them, fuzzers above all: a dead one silently means that nothing behind it is tried."""
    its = {key: value for key, value in path.items() if f"{{{key}}}" in named()[operation][1] or key == "limit"}
    answer = call(admin, operation, its)
    assert answer.status_code == int(status), answer.get_json()
    link = contract.resolved(contract.resolved(named()[operation][2]["responses"][status])["links"][name])
    given = {key: meant(value, path, answer) for key, value in link["parameters"].items()}
    body = {key: meant(value, path, answer) for key, value in link.get("requestBody", {}).items()} or None
    reached = call(admin, link["operationId"], given, body)
    assert reached.status_code not in (400, 404), reached.get_json()


def test_there_is_a_link_from_everything_that_is_made() -> None:
    sources = {operation for operation, _, _ in links()}
    assert sources >= {
        operation["operationId"] for operation in contract.operations().values() if "201" in operation["responses"]
    }
