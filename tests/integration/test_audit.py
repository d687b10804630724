"""The audit trail of an installed package: every kind of actor, through the API and in the journal with fields."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.githost import GitHost
from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.machine import Machine


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def newest(machine: Machine, query: str) -> dict[str, Any]:
    found = machine.http("GET", f"/api/v1/audit?limit=1&{query}").body["items"]
    assert found, f"the trail has nothing of {query}"
    return dict(found[0])


def line(machine: Machine, *fields: str) -> dict[str, Any]:
    """The newest line of the journal with these fields, as `journalctl FIELD=value` selects it."""
    found = machine.journal(*fields)
    assert found, f"the journal has nothing of {fields}"
    return found[-1]


def test_what_root_did_on_the_command_line_is_told(machine: Machine) -> None:
    """Who can be root can do everything, also make a token at night; it must not be invisible."""
    made = machine.run(["rustploy-agent", "token", "create", "--name", "by-root", "--scope", "read"]).stdout.split()[1]
    machine.run(["rustploy-agent", "token", "revoke", "by-root"])
    email = machine.run(["rustploy-agent", "admin", "reset-password"]).stdout.split()[1]
    machine.run(["rustploy-agent", "admin", "set-email", email])
    commands = {"token_create": made, "token_revoke": made, "admin_reset_password": email, "admin_set_email": email}
    for action, subject in commands.items():
        found = newest(machine, f"actor=root&action={action}")
        assert (found["actor"]["kind"], found["outcome"], found["subject"]) == ("root", "done", subject)
        told = line(machine, f"RUSTPLOY_AUDIT={action}", f"RUSTPLOY_SUBJECT={subject}")
        assert (told["RUSTPLOY_ACTOR"], told["RUSTPLOY_OUTCOME"]) == ("root", "done")


def test_the_package_has_told_that_it_made_the_admin(machine: Machine) -> None:
    assert newest(machine, "action=admin_init")["actor"]["kind"] == "root"


def test_a_change_and_a_refusal_stand_in_the_journal_with_their_fields(machine: Machine, api: Deployments) -> None:
    """For whoever ships the journal elsewhere: there nobody can change it any more."""
    app = api.create("audited", server("one"))
    deployment = api.healthy(app)["id"]
    about = {"RUSTPLOY_APP": app, "RUSTPLOY_DEPLOYMENT": deployment, "RUSTPLOY_ACTOR": "token tests"}
    entry = newest(machine, f"app={app}&action=create_deployment")
    told = line(machine, "RUSTPLOY_AUDIT=create_deployment", f"RUSTPLOY_REQUEST={entry['request_id']}")
    about |= {"RUSTPLOY_OUTCOME": "done", "RUSTPLOY_STATUS": "202", "RUSTPLOY_ADDRESS": entry["address"]}
    about |= {"RUSTPLOY_ACTOR_ID": entry["actor"]["id"], "_SYSTEMD_UNIT": "rustploy-agent.service"}
    assert {name: told.get(name) for name in about} == about
    ended = line(machine, "RUSTPLOY_AUDIT=deployment_ended", f"RUSTPLOY_DEPLOYMENT={deployment}")
    assert (ended["RUSTPLOY_OUTCOME"], ended["RUSTPLOY_ACTOR"]) == ("done", "token tests")

    made = machine.http("POST", "/api/v1/tokens", {"name": "reads", "scopes": ["read"]}).body
    refused = machine.http("POST", f"/api/v1/apps/{app}/deployments", token=made["token"])
    assert refused.status == 403
    told = line(machine, f"RUSTPLOY_REQUEST={refused.headers['X-Request-Id']}")
    about = {"RUSTPLOY_OUTCOME": "refused", "RUSTPLOY_CODE": "insufficient_scope", "RUSTPLOY_APP": app}
    about |= {"RUSTPLOY_ACTOR_ID": made["summary"]["id"], "RUSTPLOY_STATUS": "403"}
    assert {name: told.get(name) for name in about} == about


def test_a_push_and_what_came_of_it_are_told_in_the_host_s_name(machine: Machine, api: Deployments) -> None:
    app = api.create("told", server("one"))
    host = GitHost()
    machine.http("PUT", "/api/v1/integrations/github/secret", {"secret": host.secret})
    machine.http("POST", f"/api/v1/apps/{app}/github", {"owner": "tests", "repo": app, "branch": "main"})
    push = json.loads(host.push(f"tests/{app}", after=api.commit(app, {"version.txt": "two"})))
    headers = host.headers(json.dumps(push).encode())
    sent = machine.http("POST", "/api/v1/integrations/github/webhook", push, token="", headers=headers)
    machine.http("DELETE", "/api/v1/integrations/github/secret")
    assert sent.body["queued_deployments"] == 1, sent.body
    deployment = api.history(app)[0]["id"]
    assert api.wait(app, deployment)["status"] == "healthy"
    for action in ("github_webhook", "deployment_ended"):
        told = line(machine, f"RUSTPLOY_AUDIT={action}", f"RUSTPLOY_DEPLOYMENT={deployment}")
        assert (told["RUSTPLOY_ACTOR"], told["RUSTPLOY_APP"]) == ("webhook github", app)
        assert newest(machine, f"actor=webhook&action={action}")["deployment_id"] == deployment
