"""After all other tests: none of the secrets they used lies open where a copy, a log or an answer carries it away.

Answers are watched as they come (tests/machine/secrets.py). An app's own lines are its own: it may print what it likes.
"""

import pytest

from tests.machine import Machine

PLATFORM = ("rustploy-agent", "rustploy-apply", "rustploy-ingress", "rustploy-sweep", "rustploy-listen")


@pytest.fixture
def patterns(machine: Machine) -> str:
    """A file with every secret, out of the way of the search."""
    path = "/root/secrets-of-the-tests"
    machine.write(path, "".join(f"{secret}\n" for secret in sorted(machine.secrets.known)), 0o600)
    return path


def test_the_suite_has_used_secrets(machine: Machine, patterns: str) -> None:
    """And the search finds what is there: else the tests below could not fail."""
    machine.http("POST", "/api/v1/tokens", {"name": "secrets", "scopes": ["read"]})
    assert len(machine.secrets.known) >= 2
    assert machine.run(["grep", "-cFf", patterns, patterns]).stdout.strip() != "0"


def test_the_database_and_all_beside_it_have_none(machine: Machine, patterns: str) -> None:
    found = machine.run(["grep", "-rlaFf", patterns, "/var/lib/rustploy/agent", "/var/lib/rustploy/apply"], check=False)
    assert found.stdout == ""


def test_no_job_lies_about(machine: Machine, patterns: str) -> None:
    """A job holds the address that is fetched from, with the token in it."""
    found = machine.run(["sh", "-c", f"grep -rlaFf {patterns} /var/lib/rustploy/apps/*/jobs /etc/systemd"], check=False)
    assert found.stdout == ""


def test_the_journal_of_the_platform_has_none(machine: Machine, patterns: str) -> None:
    machine.run(["journalctl", "--sync"])
    units = [f"--unit={name}.service" for name in PLATFORM]
    units += [f"--unit=rustploy-{kind}@*.service" for kind in ("fetch", "build")]
    search = f"journalctl --all --output=export {' '.join(map(repr, units))} | grep -aFf {patterns} | head -c 300"
    assert machine.run(["sh", "-c", search], check=False, timeout=120).stdout == ""
