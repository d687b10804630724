"""Schemathesis sends the installed package what openapi.yaml allows, and what it does not, as every kind of caller.

So do generated clients, and attackers. Any answer that the document does not promise fails here: 5xx, a status or an
error code that is not listed, a body of another shape, wrong data that is taken, an operation open to strangers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.tools import DOCUMENT, HERE, run
from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.integration.helpers_secrets import SEARCHES, Search, patterns
from tests.machine import Machine

#: Caller -> how many cases are tried for each operation; in all some thousands of requests in a minute or two.
CALLERS = {"admin": 14, "deploy": 8, "read": 6, "none": 6}
SECRET = "a-secret-of-git-hosts-long-enough-for-them"
#: Cases, and links that were followed, from what one request made to what can be done with it. Fewer shows that the
#: fuzzer does not get where it should.
LEAST_CASES = {"admin": 1500, "deploy": 1000, "read": 750, "none": 750}
LEAST_LINKS = {"admin": 20, "deploy": 12, "read": 6, "none": 0}


@pytest.fixture(scope="module")
def api(release: str, deb: Path) -> Iterator[Deployments]:
    """A machine of their own: the links that can be followed depend on what there is."""
    for machine in helpers.own_machine(release, deb):
        helpers.restore_settings(machine, helpers.quick_settings(machine))
        found = Deployments(machine)
        found.create("fuzzed", server("one"))
        found.healthy("fuzzed")
        for provider in ("github", "gitlab", "gitea"):
            set_secret = machine.http("PUT", f"/api/v1/integrations/{provider}/secret", {"secret": SECRET})
            assert set_secret.status == 200, set_secret.body
        yield found


def started(machine: Machine) -> bool:
    """Not while a deployment that a request began is under way."""
    return machine.http("POST", "/api/v1/apps/fuzzed/start", timeout=60).status == 200


@pytest.mark.parametrize("caller", CALLERS)
def test_no_request_gets_an_answer_that_the_document_does_not_promise(api: Deployments, caller: str) -> None:
    machine = api.machine
    tokens = [token["id"] for token in machine.http("GET", "/api/v1/tokens").body["items"]]
    headers, keep = [], [api.app("fuzzed")["id"], "fuzzed", *tokens]
    if caller != "none":
        made = machine.http("POST", "/api/v1/tokens", {"name": f"fuzz {caller}", "scopes": [caller]}).body
        headers = [f"--header=Authorization: Bearer {made['token']}"]
        keep.append(made["summary"]["id"])
    url = f"http://127.0.0.1:{machine.place.port}/api/v1"
    argv = ["schemathesis", "run", DOCUMENT, f"--url={url}", f"--max-examples={CALLERS[caller]}", *headers]
    given = {"FUZZ_KEEP": ",".join(keep), "FUZZ_URL": f"file://{machine.repositories.path('fuzzed')}"}
    given["FUZZ_SECRET"] = SECRET
    ended = run(*argv, cwd=HERE, timeout=600, **given)
    again = " ".join([*(f"{key}={value}" for key, value in given.items()), shlex.join(map(str, argv))])
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\nagain, in {HERE}: {again}"
    tried, followed = (int(re.findall(count, ended.stdout)[-1]) for count in (r"(\d+) generated", r"(\d+) covered"))
    assert tried > LEAST_CASES[caller] and followed >= LEAST_LINKS[caller], ended.stdout
    machine.wait_for(lambda: started(machine), 60, "the app to be started; one of the requests is to stop it")
    assert api.get("fuzzed").body == "one"
    assert machine.failed_units() == []


@pytest.mark.parametrize("search", SEARCHES)
def test_no_secret_of_these_requests_lies_open(api: Deployments, search: Search) -> None:
    """Nor what a refused or broken request carried."""
    secrets = api.machine.secrets.known
    assert len(secrets) >= len(CALLERS) and SECRET in secrets
    assert search(api.machine, patterns(api.machine, secrets)) == ""
