"""One client with a thousand connections, on a real machine: everybody else is served as if it were not there."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted, server
from tests.machine import Machine
from tests.machine.machine import API_DOMAIN

pytestmark = pytest.mark.usefixtures("machine")
CONNECTIONS = 1100
#: Keeps so many connections open, each with the same beginning of a request sent, until its input ends. What is ended
#: it opens anew.
CROWD = """
import resource, select, socket, sys, threading
port, many, first = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
poll, found, ended = select.poll(), {}, 0
def again():
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    if first:
        one.sendall(first)
    found[one.fileno()] = one
    poll.register(one, select.POLLIN)
while len(found) < many:
    again()
print("ready", flush=True)
while True:
    for number, _ in poll.poll():
        poll.unregister(number)
        found.pop(number).close()
        ended += 1
    while len(found) < many:
        again()
    threading.Event().wait(1)
"""
SLOW_POST = f"POST /api/v1/auth/login HTTP/1.1\\r\\nHost: {API_DOMAIN}\\r\\nContent-Length: 1000\\r\\n\\r\\n{{"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@contextlib.contextmanager
def crowd(machine: Machine, user: str, port: int, first: str) -> Iterator[None]:
    argv = machine.argv(["python3", "-c", CROWD, str(port), str(CONNECTIONS), first], user)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.stdin.close()
            process.wait(30)


def seconds(machine: Machine, user: str | None, *options: str) -> float:
    """How long this user's request for /health took, which must be answered."""
    shown = ["--silent", "--fail", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{time_total}"]
    return float(machine.run(["curl", *shown, *options], user=user).stdout)


def everybody(machine: Machine) -> dict[str, float]:
    """What a request takes of root, another user of this host, and another visitor of the ingress.

    None may fail or take 20 s; the median of five counts, for the machine has other work as well.
    """
    own = f"http://127.0.0.1:{machine.place.port}/health"
    api = f"http://127.0.0.1:{machine.place.http_port}/api/v1/health"
    visitor = ["--interface", "127.0.0.9", "--header", f"Host: {API_DOMAIN}", api]
    asked = {"root": (None, own), "another user": ("nobody", own), "another visitor": ("nobody", *visitor)}
    return {who: statistics.median(seconds(machine, *ask) for _ in range(5)) for who, ask in asked.items()}


@pytest.mark.parametrize("kind", ["idle connections of an app", "slow requests of a visitor"])
def test_a_crowd_of_one_client_keeps_nobody_out(api: Deployments, kind: str) -> None:
    """Else one app, or one visitor, shuts everybody out of the API, root on loopback included."""
    machine = api.machine
    with contextlib.suppress(AssertionError):
        api.create("crowd", server("one"))
        api.healthy("crowd")
        api.create("beside", scripted("one"), build_mode="script")
    agent = machine.property("rustploy-agent.service", "MainPID")
    api.commit("beside", {"build.sh": "sleep 6\n", "version.txt": kind})
    deployment = api.start("beside")
    api.wait_for_step("beside", deployment, "build")
    port, first = (machine.place.port, "") if kind.startswith("idle") else (machine.place.http_port, SLOW_POST)
    with crowd(machine, "rp-crowd", port, first):
        assert max((taken := everybody(machine)).values()) < 1, taken
        counts = machine.http("GET", "/metrics").body
        door = "tcp" if kind.startswith("idle") else "ingress"
        ended = next(
            line for line in counts.splitlines() if line.startswith(f'rustploy_connections_ended_total{{door="{door}"')
        )
        assert float(ended.split()[-1]) > 0
        assert api.wait("beside", deployment)["status"] == "healthy"
        assert max((taken := everybody(machine)).values()) < 1, taken
    assert machine.property("rustploy-agent.service", "MainPID") == agent
    told = machine.journal("-u", "rustploy-agent.service", "--grep=connections to the API are ended")
    assert told, "an operator does not learn whose they are"
    assert machine.run(["rustploy-agent", "doctor"], check=False).stdout.count("ok       file descriptors") == 1


def test_ten_restarts_with_one_token_leave_a_place_for_another(api: Deployments) -> None:
    """Else a pipeline that restarts everything makes everybody else's restart fail."""
    machine = api.machine
    api.create("restarted", server("one"))
    api.create("another", server("one"))
    for app in ("restarted", "another"):
        api.healthy(app)
        api.wait_until_settled(app)
    made = machine.http("POST", "/api/v1/tokens", {"name": "restarts", "scopes": ["deploy"]}).body
    machine.secrets.add(made["token"])
    with ThreadPoolExecutor(12) as pool:
        many = [
            pool.submit(machine.http, "POST", "/api/v1/apps/restarted/restart", token=made["token"], timeout=120)
            for _ in range(10)
        ]
        time.sleep(0.2)
        assert machine.http("POST", "/api/v1/apps/another/restart", timeout=120).status == 200
        answers = [one.result(150) for one in many]
    refused = [one for one in answers if one.status == 429]
    assert refused and all(int(one.headers["Retry-After"]) > 0 for one in refused)
    assert all("under way" in one.body["error"]["message"] for one in refused), [one.body for one in refused]
    assert {one.status for one in answers} <= {200, 409, 429}
    assert machine.http("DELETE", f"/api/v1/tokens/{made['summary']['id']}").status == 204


def test_ten_pipelines_wait_for_their_deployments_at_once(api: Deployments) -> None:
    """Else some are told that their deployment is unfinished, and are red while it ends well."""
    machine = api.machine
    for number in range(10):
        api.create(f"pipeline{number}", scripted("one"), build_mode="script")
    url = f"http://127.0.0.1:{machine.place.port}/api/v1/apps"
    header = ["--oauth2-bearer", machine.token or "", "--header", "Prefer: wait=120, handling=strict"]

    def deploy(number: int) -> tuple[int, str]:
        argv = ["curl", "--silent", "--fail-with-body", *header, "--request", "POST"]
        done = machine.run([*argv, f"{url}/pipeline{number}/deployments"], check=False, timeout=180)
        return done.returncode, done.stdout

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(deploy, range(10)))
    assert [status for status, _ in answers] == [0] * 10, answers
    assert {json.loads(body)["status"] for _, body in answers} == {"healthy"}
