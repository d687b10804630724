"""After all other tests: none of the secrets they used lies open where a copy, a log or an answer carries it away.

Answers are watched as they come (tests/machine/secrets.py). An app's own lines are its own: it may print what it likes.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.integration.helpers_secrets import SEARCHES, Search, patterns
from tests.machine import Machine


@pytest.fixture
def canary(machine: Machine) -> Iterator[str]:
    """A word that was put where the searches look, by the ways on which a secret would come there."""
    word = f"canary-{uuid.uuid4()}"
    made = machine.http("POST", "/api/v1/tokens", {"name": word, "scopes": ["read"]})  # names are kept, secrets are not
    assert made.status == 201
    assert machine.http("POST", "/api/v1/apps", {"name": "canary"}).status == 201
    machine.write("/var/lib/rustploy/apps/canary/jobs/canary", word)
    # The journal has the tokens of resets, for root, when there is no mail server.
    email = machine.run(["rustploy-agent", "admin", "reset-password"]).stdout.split()[1]
    machine.http("POST", "/api/v1/auth/password-reset/request", {"email": email}, token="")
    yield word
    machine.http("DELETE", "/api/v1/apps/canary", timeout=120)


def reset_token(machine: Machine) -> str:
    def newest() -> str:
        lines = machine.journal("--unit=rustploy-agent.service", "--grep=reset_token", "--lines=1")
        return str(lines[0]["MESSAGE"]).split()[-1] if lines else ""

    return machine.wait_for(newest, 30, "the token in the journal")


def test_the_suite_has_used_secrets(machine: Machine) -> None:
    """Of each kind, when the whole suite has run before."""
    machine.http("POST", "/api/v1/tokens", {"name": "secrets", "scopes": ["read"]})
    assert len(machine.secrets.known) >= 2


def test_each_search_finds_what_is_there(machine: Machine, canary: str) -> None:
    """Else the test below could not fail."""
    path = patterns(machine, {canary, reset_token(machine)})
    for search in SEARCHES:
        assert search(machine, path) != "", search.__name__


def test_an_answer_with_a_secret_is_noticed(machine: Machine) -> None:
    """The watch over all answers of the suite: this one shows a word that it is told is secret."""
    word = f"canary-{uuid.uuid4().hex}"
    machine.http("POST", "/api/v1/tokens", {"name": word, "scopes": ["read"]})
    machine.secrets.add(word)
    try:
        with pytest.raises(AssertionError, match="shows 1 secrets"):
            machine.http("GET", "/api/v1/tokens")
    finally:
        machine.secrets.known.discard(word)


@pytest.mark.parametrize("search", SEARCHES)
def test_no_secret_of_the_suite_lies_open(machine: Machine, search: Search) -> None:
    assert search(machine, patterns(machine, machine.secrets.known)) == ""
