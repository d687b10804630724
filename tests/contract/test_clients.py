"""Clients generated from openapi.yaml drive the life of an app, also when the agent restarts before each call.

Whoever relies on generated code has nothing else to go by: what the document has wrong, they have wrong.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.tools import DOCUMENT, HERE, node_modules, run
from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.machine import Machine

#: What any client sees of the life, whatever happens to the agent meanwhile.
SEEN = {
    "framework": "static",
    "ended": ["healthy", "healthy", "healthy"],
    "logs name the commit": True,
    "serves": True,
    "history": ["rollback", "deploy", "deploy"],
    "after revocation": [401, "unauthorized"],
    "after logout": [401, "unauthorized"],
}
RESTART = """
systemctl reset-failed rustploy-agent.service; systemctl restart rustploy-agent.service
for _ in $(seq 300); do curl --silent --fail http://127.0.0.1:{port}/health >/dev/null && exit 0; sleep 0.1; done
exit 1
"""
Command = Callable[[Path], list[str | Path]]


def python_client(place: Path) -> list[str | Path]:
    """The command that lives the life with what openapi-python-client makes of the document."""
    argv = [
        "openapi-python-client",
        "generate",
        "--path",
        DOCUMENT,
        "--meta=none",
        "--output-path",
        place / "generated",
    ]
    generated = run(*argv, cwd=place)
    assert generated.returncode == 0, generated.stdout + generated.stderr
    return ["python3", HERE / "life.py", place]


def typescript_client(place: Path) -> list[str | Path]:
    """The same with openapi-typescript, and the compiler as judge of the types."""
    (place / "node_modules").symlink_to(node_modules())
    (place / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (place / "life.ts").write_text((HERE / "life.ts").read_text(encoding="utf-8"), encoding="utf-8")
    options = [
        "--strict",
        "--noUncheckedIndexedAccess",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--types",
        "node",
    ]
    for argv in (
        ["openapi-typescript", DOCUMENT, "--output", "generated.d.ts"],
        ["tsc", *options, "--skipLibCheck", "life.ts"],
    ):
        done = run(*argv, cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr
    return ["node", place / "life.js"]


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture
def person(machine: Machine) -> tuple[str, str]:
    """E-mail and password of the admin."""
    printed = machine.run(["rustploy-agent", "admin", "reset-password"]).stdout.splitlines()
    email, password = (line.partition(":")[2].strip() for line in printed[-2:])
    return email, password


def script(place: Path, argv: list[str]) -> Path:
    made = place / "between"
    made.write_text(f"#!/bin/sh\nexec {shlex.join(argv)}\n", encoding="utf-8")
    made.chmod(0o755)
    return made


@pytest.mark.parametrize("restarted", [False, True], ids=["undisturbed", "restarted before each call"])
@pytest.mark.parametrize("client", [python_client, typescript_client])
def test_a_generated_client_lives_the_life_of_an_app(
    machine: Machine, api: Deployments, person: tuple[str, str], tmp_path: Path, client: Command, restarted: bool
) -> None:
    app = f"life-{client.__name__[0]}{int(restarted)}"
    url = machine.repositories.create(app, server("one"))
    between = machine.argv(["sh", "-c", RESTART.format(port=machine.place.port)]) if restarted else ["true"]
    root = f"http://127.0.0.1:{machine.place.port}/api/v1"
    argv = [*client(tmp_path), root, *person, url, app, script(tmp_path, between)]
    starts = agent_starts(machine)
    lived = run(*argv, cwd=tmp_path, timeout=300)
    api.adopt(app)
    assert lived.returncode == 0, lived.stderr
    assert json.loads(lived.stdout) == SEEN | {"email": person[0]}
    assert api.environment(app)["GREETING"] == "one"
    assert (agent_starts(machine) - starts >= 15) == restarted


def agent_starts(machine: Machine) -> int:
    entries = machine.journal("_PID=1", "UNIT=rustploy-agent.service")
    return len({entry["INVOCATION_ID"] for entry in entries if "INVOCATION_ID" in entry})
