"""Git hosts' webhooks on the installed package: a push ends in a release, whatever strangers send meanwhile."""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.githost import GitHost, bent, header
from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
PATH = "/api/v1/integrations/github/webhook"
MIB = 1 << 20
LARGEST = 25 * MIB
#: What the agent may grow by for good: a third of one large body, or a KiB of each mutation.
GROWTH_KIB = 8 * 1024


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def host(api: Deployments) -> Iterator[GitHost]:
    """GitHub, its secret set; the app "pushed" serves "old" and follows main of tests/pushed."""
    api.create("pushed", scripted("old"), build_mode="script")
    api.healthy("pushed")
    found = GitHost()
    assert api.machine.http("PUT", "/api/v1/integrations/github/secret", {"secret": found.secret}).status == 200
    connection = {"owner": "tests", "repo": "pushed", "branch": "main"}
    assert api.machine.http("POST", "/api/v1/apps/pushed/github", connection).status == 200
    yield found
    api.machine.http("DELETE", "/api/v1/integrations/github/secret")


class Wire:
    """One connection to the agent, opened again when the server has closed it."""

    def __init__(self, machine: Machine) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", machine.place.port, timeout=60)

    def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        try:
            self._connection.request("POST", PATH, body, headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (ConnectionError, http.client.BadStatusLine):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


def _push(api: Deployments, host: GitHost, version: str, build: str = "true") -> bytes:
    commit = api.commit("pushed", {"version.txt": version, "build.sh": f"{build}\n"})
    return host.push("Tests/Pushed", after=commit)


def _send(api: Deployments, host: GitHost, body: bytes, delivery: str) -> tuple[int, int]:
    """Matched and queued, answered within a second."""
    wire, begun = Wire(api.machine), time.monotonic()
    status, found = wire.post(body, host.headers(body, delivery=delivery))
    assert status == 202 and time.monotonic() - begun < 1, (found, time.monotonic() - begun)
    wire.close()
    return found["matched_integrations"], found["queued_deployments"]


def _memory(machine: Machine) -> int:
    """The agent's resident memory in KiB."""
    pid = machine.property("rustploy-agent.service", "MainPID")
    status = machine.read(f"/proc/{pid}/status")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def _defects(machine: Machine) -> list[str]:
    entries = machine.journal("-u", "rustploy-agent.service", "-p", "err")
    return [str(entry["MESSAGE"]) for entry in entries if "error" in str(entry["MESSAGE"]).lower()]


def test_a_push_becomes_the_release_that_serves(api: Deployments, host: GitHost) -> None:
    """The purpose of it all; and a second delivery of the same push deploys nothing."""
    body = _push(api, host, "pushed")
    assert _send(api, host, body, "first") == (1, 1)
    deployment = api.history("pushed")[0]
    assert deployment["commit_sha"] == json.loads(body)["after"]
    about = api.wait("pushed", deployment["id"])
    assert about["status"] == "healthy", about
    api.wait_until_settled("pushed")
    assert api.get("pushed").body == "pushed"
    assert _send(api, host, body, "first") == (1, 0)
    shown = api.machine.http("GET", "/api/v1/apps/pushed/deliveries").body["items"][0]
    assert (shown["times"], shown["apps"][0]["deployment_id"]) == (2, deployment["id"])


def test_a_push_is_answered_at_once_while_a_build_runs(api: Deployments, host: GitHost) -> None:
    """Hosts wait ten seconds, then they show the webhook as failed."""
    assert _send(api, host, _push(api, host, "slow", "sleep 3"), "slow") == (1, 1)
    slow = api.history("pushed")[0]["id"]
    api.wait_for_step("pushed", slow, "build")
    assert _send(api, host, _push(api, host, "next"), "next") == (1, 1)
    assert api.show("pushed", slow)["status"] == "deploying"
    assert api.wait("pushed", api.history("pushed")[0]["id"])["status"] == "healthy"
    api.wait_until_settled("pushed")
    assert api.get("pushed").body == "next"


def test_what_was_answered_survives_the_agent_s_death_and_counts_once(api: Deployments, host: GitHost) -> None:
    """The host does not send again what was accepted, and an impatient person does."""
    body = _push(api, host, "after the kill")
    assert _send(api, host, body, "killed") == (1, 1)
    deployment = api.history("pushed")[0]["id"]
    api.machine.run(["systemctl", "kill", "--signal=KILL", "rustploy-agent.service"])
    api.machine.wait_for_agent()
    assert _send(api, host, body, "killed") == (1, 0)
    assert api.history("pushed")[0]["id"] == deployment
    assert api.wait("pushed", deployment)["status"] == "healthy"
    assert api.get("pushed").body == "after the kill"


def _pushed(api: Deployments, host: GitHost, commit: str) -> dict[str, Any]:
    """What a delivery of this push came to, once its deployment has ended; `reason` is the delivery's."""
    delivery = f"{commit}-{time.monotonic_ns()}"
    assert _send(api, host, host.push("Tests/Pushed", after=commit), delivery) == (1, 1)
    about = api.wait("pushed", api.history("pushed")[0]["id"])
    api.wait_until_settled("pushed")
    shown = api.machine.http("GET", "/api/v1/apps/pushed/deliveries").body["items"][0]["apps"][0]
    assert shown["deployment_id"] == about["id"]
    return about | {"reason": shown["reason"]}


def test_the_newest_commit_serves_in_whatever_order_pushes_are_delivered(api: Deployments, host: GitHost) -> None:
    """Else a late delivery puts an older commit live, or undoes a rollback, and nobody is told."""
    first, second = (api.commit("pushed", {"version.txt": version, "build.sh": "true\n"}) for version in ("A", "B"))
    assert _pushed(api, host, second)["commit_sha"] == second
    assert api.get("pushed").body == "B"
    late = _pushed(api, host, first)
    assert (late["status"], late["outcome"], late["commit_sha"]) == ("healthy", "unchanged", second)
    assert (late["reason"], api.get("pushed").body) == ("newer_commit", "B")

    assert api.wait("pushed", api.start("pushed", "rollback"))["status"] == "healthy"
    before = api.get("pushed").body
    assert before != "B"
    late = _pushed(api, host, second)
    assert (late["status"], late["error_code"], late["reason"]) == ("failed", "superseded", "deployed_before")
    assert api.get("pushed").body == before

    api.machine.repositories.git("pushed", "reset", "--quiet", "--hard", first)
    forced = _pushed(api, host, first)
    assert (forced["status"], forced["commit_sha"], forced["reason"]) == ("healthy", first, None)
    assert api.get("pushed").body == "A"


def test_large_bodies_of_strangers_and_of_hosts(api: Deployments, host: GitHost) -> None:
    """A hundred strangers with 25 MiB each fill neither memory nor disk, and nobody waits for them."""
    machine = api.machine
    body = host.push("Tests/Pushed", "other")
    body += b" " * (LARGEST - len(body))
    wire = Wire(machine)
    assert wire.post(body, host.headers(body))[0] == 202
    more = body + b" "
    assert Wire(machine).post(more, host.headers(more))[0] == 413
    wrong = host.headers(body) | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    most, slowest, seen = 0, 0.0, Counter[int]()

    def strange(what: bytes) -> int:
        stranger = Wire(machine)
        try:
            return stranger.post(what, wrong)[0]
        finally:
            stranger.close()

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(strange, [b"{}"] * 200)) == {401}  # now all of the server's threads have begun
        before = _memory(machine)
        answers = [pool.submit(strange, body) for _ in range(100)]
        while not all(one.done() for one in answers):
            begun = time.monotonic()
            assert machine.http("GET", "/api/v1/health").status == 200
            slowest, most = max(slowest, time.monotonic() - begun), max(most, _memory(machine))
            time.sleep(0.2)
        seen.update(one.result() for one in answers)
    assert set(seen) <= {401, 503} and seen[401] > 0, seen
    assert most - before < 64 * 1024, f"{most - before} KiB more while they came"
    assert slowest < 5
    assert _memory(machine) - before < GROWTH_KIB
    assert wire.post(body, host.headers(body))[0] == 202, "and afterwards large ones are taken as before"
    wire.close()


def _refused(machine: Machine) -> int:
    """Rows of the delivery log about what nobody vouched for, whoever sent it."""
    items = machine.http("GET", "/api/v1/integrations/deliveries?limit=1000").body["items"]
    return sum(not one["valid"] for one in items)


def test_ten_thousand_mutations_are_refused_and_leave_nothing_behind(api: Deployments, host: GitHost) -> None:
    """As the unit test of the same name does, but through the real server, whose parser strangers meet first."""
    machine, chance = api.machine, random.Random(1)
    right = host.push("Tests/Pushed")
    headers, seen = host.headers(right), Counter[int]()
    defects, deployments, before = _defects(machine), len(api.history("pushed")), 0
    refused = _refused(machine)
    wire = Wire(machine)
    for number in range(10_000):
        if number == 1_500:  # caches and threads are warm
            before = _memory(machine)
        body, sent = right, dict(headers)
        if number % 2:
            body = bent(chance, right)
        else:
            sent["X-Hub-Signature-256"] = header(bent(chance, headers["X-Hub-Signature-256"].encode()))
        if (body, sent) != (right, headers):
            seen[wire.post(body, sent)[0]] += 1
    wire.close()
    assert set(seen) <= {400, 401} and seen[401] > 9_000, seen
    assert _memory(machine) - before < GROWTH_KIB
    assert _defects(machine) == defects
    assert len(api.history("pushed")) == deployments
    assert _refused(machine) - refused <= 3
