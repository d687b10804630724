"""What CI asks for in one curl, and secrets at rest, on a real machine: how it ends is how the deployment ended."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
KEY = "/var/lib/rustploy/key/vault.key"
SECRET = "correct-horse-battery-staple"
STRICT = "wait=120, handling=strict"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def curl(api: Deployments, app: str, prefer: str = STRICT, what: str = "deployments", **body: Any) -> tuple[int, Any]:
    """Exit status and answer of the command in docs/api/deployments.md."""
    machine = api.machine
    url = f"http://127.0.0.1:{machine.place.port}/api/v1/apps/{app}/{what}"
    argv = ["curl", "--silent", "--fail-with-body", "--oauth2-bearer", machine.token, "--header", f"Prefer: {prefer}"]
    done = machine.run([*argv, "--json", json.dumps(body), url], check=False, timeout=180)
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def test_one_curl_ends_as_the_deployment_does(api: Deployments) -> None:
    """Else a pipeline is green while its deployment has failed."""
    api.create("one", scripted("one"), build_mode="script")
    status, first = curl(api, "one")
    assert (status, first["status"], first["outcome"]) == (0, "healthy", "released")
    api.wait_until_settled("one")
    builds, serving = api.builds("one"), api.environment("one")["RUSTPLOY_DEPLOYMENT"]

    status, again = curl(api, "one", commit_sha=first["commit_sha"])
    assert (status, again["outcome"], api.environment("one")["RUSTPLOY_DEPLOYMENT"]) == (0, "unchanged", serving)
    assert api.app("one")["active_deployment_id"] == serving

    api.set_env("one", "MODE", SECRET)
    status, changed = curl(api, "one")
    assert (status, changed["outcome"]) == (0, "restarted")
    assert (api.environment("one")["MODE"], api.builds("one")) == (SECRET, builds)
    api.wait_until_settled("one")

    unit = api.app("one")["processes"][0]["unit"]
    api.machine.run(["systemctl", "stop", unit])
    assert curl(api, "one")[1]["outcome"] == "restarted", "an app that is down is not left alone"
    assert api.builds("one") == builds

    api.commit("one", {"build.sh": "echo no such package >&2; exit 1\n"})
    status, failed = curl(api, "one")
    assert (status, failed["error"]["code"]) == (22, "deployment_failed")
    assert "no such package" in failed["error"]["message"]
    status, failed = curl(api, "one", "wait=120")
    assert (status, failed["status"], failed["error_code"]) == (0, "failed", "build_failed")
    assert curl(api, "one", what="rollback")[0] == 0


@pytest.mark.failed_units("rustploy-agent.service")
def test_a_killed_agent_ends_the_waiting_and_not_the_deployment(api: Deployments) -> None:
    api.create("killed", scripted("one", "sleep 4"), build_mode="script")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(curl, api, "killed")
        api.machine.wait_for(lambda: bool(api.history("killed")), 30, "the deployment to be accepted")
        deployment = api.history("killed")[0]["id"]
        api.wait_for_step("killed", deployment, "build")
        api.machine.run(["systemctl", "kill", "--signal=KILL", "rustploy-agent.service"])
        status, _ = waiting.result(60)
    assert status not in (0, 22)
    api.machine.wait_for_agent()
    assert api.wait("killed", deployment)["status"] == "healthy"


def test_who_waits_does_not_keep_others_from_being_served(api: Deployments) -> None:
    """Else ten pipelines take all threads, and nobody can cancel what they wait for."""
    api.create("slow", scripted("one", "sleep 12"), build_mode="script")
    deployment = api.start("slow")
    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(curl, api, "slow", "wait=60") for _ in range(30)]
        time.sleep(2)
        before = time.monotonic()
        assert api.app("slow")["name"] == "slow"
        assert time.monotonic() - before < 5
        answers = [one.result(120) for one in waiting]
    assert {status for status, _ in answers} == {0}
    assert api.wait("slow", deployment)["status"] == "healthy"


def test_secrets_are_sealed_at_rest_and_a_lost_key_is_told(api: Deployments) -> None:
    """Else a copy of the database tells every secret; or an app starts with an empty environment."""
    api.create("sealed", scripted("one"), build_mode="script")
    api.set_env("sealed", "PASSWORD", SECRET)
    api.healthy("sealed")
    api.commit("sealed", {"version.txt": "two"})
    api.healthy("sealed")
    found = api.machine.run(["sh", "-c", f"grep -c {SECRET} /var/lib/rustploy/agent/*; true"]).stdout
    assert found.split()
    assert all(line.endswith(":0") for line in found.split()), found
    assert api.machine.run(["stat", "-c", "%U %a", KEY]).stdout.split() == ["rustploy", "400"]
    key = api.machine.read(KEY)
    try:
        for broken in (None, key[:20], "0" * 64 + "\n"):
            api.machine.run(["rm", "-f", KEY])
            if broken is not None:
                api.machine.write(KEY, broken, 0o400, "rustploy:rustploy")
            refused = api.machine.http("GET", "/api/v1/apps/sealed/env")
            assert (refused.status, refused.body["error"]["code"]) == (500, "environment_unreadable")
            assert api.failed("sealed", "rollback")["error_code"] == "environment_unreadable"
            assert api.failed("sealed", force_rebuild=True)["error_code"] == "environment_unreadable"
            doctor = api.machine.run(["rustploy-agent", "doctor"], check=False)
            assert "PROBLEM  key of secrets" in doctor.stdout
            assert api.get("sealed").body == "two"
    finally:
        api.machine.run(["rm", "-f", KEY])
        api.machine.write(KEY, key, 0o400, "rustploy:rustploy")
    api.healthy("sealed", "rollback")
    assert api.environment("sealed")["PASSWORD"] == SECRET
