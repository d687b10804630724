"""docs/api, tried: a command that is shown and does not work costs every reader an hour."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import runnable
from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def shell(script: str, place: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """With nothing but these values, and curl set as the README says."""
    (place / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 60\n", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8"} | values
    argv = ["bash", "-eux", "-o", "pipefail", "-c", script]
    return subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True, timeout=300)


def reset_token(machine: Machine, email: str) -> str:
    """As it comes without a mail server."""
    machine.http("POST", "/api/v1/auth/password-reset/request", {"email": email}, token="")

    def newest() -> str:
        lines = machine.journal("--unit=rustploy-agent.service", "--grep=reset_token", "--lines=1")
        return str(lines[0]["MESSAGE"]).split()[-1] if lines else ""

    return machine.wait_for(newest, 30, "the token in the journal")


def test_every_command_of_the_pages_works_in_their_order(machine: Machine, api: Deployments, tmp_path: Path) -> None:
    slow = scripted("one", "sleep 3") | {"rustploy.yaml": "version: 1\nbuild: {mode: script}\n"}
    repository = machine.repositories.create("docs", slow)
    machine.repositories.git("docs", "tag", "v1.0")
    commit = api.commit("docs", {"version.txt": "two"})
    printed = machine.run(["rustploy-agent", "admin", "reset-password"]).stdout.splitlines()[-2:]
    email, password = (line.partition(":")[2].strip() for line in printed)
    root, token = f"http://127.0.0.1:{machine.place.port}/api/v1", str(machine.token)
    values = {"API": root, "TOKEN": token, "EMAIL": email, "PASSWORD": password}
    values |= {"REPOSITORY": repository, "COMMIT": commit}
    ended = shell(runnable.script(), tmp_path, **values, RESET_TOKEN=reset_token(machine, email))
    api.adopt("blog")
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    ends = [api.wait("blog", one["id"]) for one in reversed(api.history("blog"))]
    assert [one["kind"] for one in ends[:5]] == ["deploy", "deploy", "deploy", "rollback", "deploy"]
    assert [one["status"] for one in ends[:3]] == ["healthy"] * 3
    assert ends[2]["outcome"] == "unchanged"
    assert ends[4]["error_code"] == "cancelled"
    assert [one["commit_sha"] for one in ends[5:]] == [commit] * 3, "a push that is shown is not deployed"
    assert ends[-1]["status"] == "healthy"


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_the_step_for_ci_deploys_its_commit_and_fails_with_it(
    machine: Machine, api: Deployments, tmp_path: Path, system: str
) -> None:
    app = api.create(f"ci-{system}", scripted("one"), build_mode="script")
    created = machine.http("POST", "/api/v1/tokens", {"name": "ci", "scopes": ["deploy"]}).body
    values = {"RUSTPLOY_URL": f"http://127.0.0.1:{machine.place.port}", "RUSTPLOY_TOKEN": created["token"], "APP": app}
    step = runnable.pipelines()[system][1]
    good = api.commit(app, {"version.txt": "from ci"})
    ended = shell(step, tmp_path, **values, COMMIT=good)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["status"] == "healthy" and api.get(app).body == "from ci"
    bad = api.commit(app, {"build.sh": "echo the semicolon is missing; exit 1\n"})
    ended = shell(step, tmp_path, **values, COMMIT=bad)
    assert ended.returncode == 22 and json.loads(ended.stdout)["error"]["code"] == "deployment_failed"
    assert "build_failed" in ended.stdout and "the semicolon is missing" in ended.stdout
    assert api.get(app).body == "from ci"
    ended = shell(step, tmp_path, **values, COMMIT="main")
    assert ended.returncode != 0 and "commit_sha" in ended.stdout, "a refusal is not shown"


def test_the_pipelines_are_what_the_ci_systems_read() -> None:
    """What GitHub and GitLab would refuse before the first line of the step runs."""
    (github, first), (gitlab, second) = runnable.pipelines().values()
    assert set(github) <= {"name", True, "concurrency", "jobs"}  # YAML 1.1 reads `on` as true; GitHub does not mind
    job = github["jobs"]["deploy"]
    assert job["runs-on"] and job["permissions"] == {}
    assert set(job["steps"][0]["env"]) == {"RUSTPLOY_URL", "RUSTPLOY_TOKEN", "APP", "COMMIT"}
    assert job["steps"][0]["env"]["RUSTPLOY_TOKEN"] == "${{ secrets.RUSTPLOY_TOKEN }}"
    assert set(gitlab["deploy"]) <= {"image", "rules", "resource_group", "variables", "before_script", "script"}
    assert first == second, "the two steps differ"
