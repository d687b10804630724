"""The audit trail: after trouble it says who did what, and nobody can make it say nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import peewee
import pytest
from flask import Flask

from rustploy_agent import audit, auth, events, journal, repetition, resets
from rustploy_agent.api import sessions
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, PasswordReset, Token, User, database
from rustploy_agent.records import Audit
from rustploy_agent.throttle import Throttle
from tests.githost import SECRET, GitHost
from tests.unit import contract
from tests.unit.api.conftest import Client
from tests.unit.waiting import ended, until

PASSWORD = "the wrong password, typed"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the journal is told."""
    told: list[dict[str, object]] = []
    monkeypatch.setattr(journal, "record", lambda message, **fields: told.append({"MESSAGE": message} | fields))
    return told


def trail(admin: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin("GET", f"/audit?limit=1000{query}").get_json()["items"]
    return found


def newest(admin: Client, query: str = "") -> dict[str, Any]:
    return trail(admin, query)[0]


def test_a_change_is_told_with_who_what_where_and_by_which_request(
    admin: Client, blog: str, lines: list[dict[str, object]]
) -> None:
    answer = admin("POST", f"/apps/{blog}/deployments", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    entry = newest(admin)
    (own,) = Token.select()
    assert entry["action"] == "create_deployment" and entry["outcome"] == "done" and entry["status"] == 202
    assert entry["actor"] == {"kind": "token", "id": own.id, "name": "admin token"}
    assert (entry["app_id"], entry["app_name"], entry["address"]) == (blog, "blog", "192.0.2.7")
    assert entry["deployment_id"] == answer.get_json()["deployment_id"]
    assert entry["request_id"] == answer.headers["X-Request-Id"]
    (line,) = [one for one in lines if one["RUSTPLOY_AUDIT"] == "create_deployment"]
    assert line["RUSTPLOY_APP"] == "blog" and line["RUSTPLOY_REQUEST"] == entry["request_id"]
    assert line["RUSTPLOY_ACTOR"] == "token admin token" and "192.0.2.7" in str(line["MESSAGE"])


def test_every_change_is_told_once(admin: Client, api: Flask) -> None:
    """Also one whose app is gone afterwards, or was not there before."""
    admin("POST", "/apps", {"name": "made"})
    admin("PATCH", "/apps/made", {"limits": {"tasks_max": 99}})
    admin("PUT", "/apps/made/env", {"key": "A", "value": "secret value"})
    admin("PATCH", "/apps/made/env", {"A": None})
    admin("DELETE", "/apps/made")
    token = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()
    admin("DELETE", f"/tokens/{token['summary']['id']}")
    told = trail(admin)[::-1]
    actions = ["create_app", "change_app", "set_env", "change_env", "delete_app", "create_token", "revoke_token"]
    assert [one["action"] for one in told] == actions
    assert [one["app_name"] for one in told] == ["made"] * 5 + [None] * 2
    assert len({one["app_id"] for one in told[:5]}) == 1 and told[0]["app_id"]


def test_reading_is_not_told_but_who_may_not_is(admin: Client, reader: Client, blog: str) -> None:
    before = len(trail(admin))
    admin("GET", "/apps")
    assert len(trail(admin)) == before
    reader("GET", "/audit")
    Client(admin.app, "wrong")("GET", "/apps")
    stranger, refused = trail(admin)[:2]
    assert (refused["action"], refused["status"], refused["error_code"]) == ("list_audit", 403, "insufficient_scope")
    assert refused["actor"]["name"] == "read token"
    assert (stranger["actor"]["kind"], stranger["status"], stranger["outcome"]) == ("anonymous", 401, "refused")


def test_nothing_secret_gets_in(admin: Client, blog: str, lines: list[dict[str, object]]) -> None:
    auth.reset_admin_password("admin@localhost")
    secret = "hunter2-of-the-database"
    admin("PUT", f"/apps/{blog}/env", {"key": "PASSWORD", "value": secret})
    admin("PUT", f"/apps/{blog}/env?token={secret}", {"key": "PORT", "value": secret})
    admin("POST", "/auth/login", {"email": PASSWORD, "password": PASSWORD}, headers={})
    admin("POST", "/auth/login", {"email": "admin@localhost", "password": PASSWORD}, headers={})
    admin("DELETE", f"/apps/{secret}")
    admin("POST", f"/{secret}")
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()["token"]
    Client(admin.app, f"rpt_{secret}")("POST", "/apps", {"name": "x"})
    text = json.dumps(trail(admin)) + json.dumps(lines, default=str)
    for hidden in (secret, PASSWORD, made, admin.token):
        assert hidden not in text
    assert text.count("login") >= 2


def test_a_login_is_told_in_the_name_of_who_logged_in(admin: Client) -> None:
    email, password = auth.reset_admin_password("admin@localhost")
    admin("POST", "/auth/login", {"email": email, "password": password}, headers={})
    assert newest(admin)["actor"] | {"id": None} == {"kind": "session", "id": None, "name": email}


@pytest.mark.processes
def test_the_end_of_a_deployment_is_told_in_the_name_of_who_asked(
    admin: Client, deployer: Client, blog: str, core: Core
) -> None:
    core.worker.start()
    asked = deployer("POST", f"/apps/{blog}/deployments")
    deployment = asked.get_json()["deployment_id"]
    assert ended(deployment).status == "healthy"
    until(lambda: Audit.select().where(Audit.action == "deployment_ended").exists())
    (end,) = trail(admin, "&action=deployment_ended")
    assert (end["outcome"], end["deployment_id"], end["app_name"]) == ("done", deployment, "blog")
    assert end["actor"]["name"] == "deploy token" and end["request_id"] == asked.headers["X-Request-Id"]


def test_a_deployment_that_was_superseded_has_ended_too(admin: Client, blog: str) -> None:
    first, _ = (admin("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"] for _ in range(2))
    (end,) = trail(admin, "&action=deployment_ended")
    assert (end["deployment_id"], end["outcome"], end["error_code"]) == (first, "failed", "superseded")


REFUSALS = {
    400: ("POST", "/apps", {"name": "A"}, "create_app", "invalid_request"),
    404: ("DELETE", "/apps/nope", None, "delete_app", "app_not_found"),
    405: ("DELETE", "/apps", None, "unknown", "method_not_allowed"),
    409: ("POST", "/apps", {"name": "blog"}, "create_app", "app_exists"),
    413: ("POST", "/apps", {"name": "x" * (1 << 20)}, "create_app", "body_too_large"),
    415: ("POST", "/apps", None, "create_app", "unsupported_media_type"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_change_that_was_not_made_is_told_with_the_reason(admin: Client, blog: str, status: int) -> None:
    method, path, body, action, code = REFUSALS[status]
    assert admin.code(method, path, body) == (status, code)
    found = newest(admin)
    assert (found["action"], found["outcome"]) == (action, "refused")
    assert (found["status"], found["error_code"]) == (status, code)


def test_a_key_used_for_another_request_is_told(admin: Client, blog: str) -> None:
    headers = {"Authorization": f"Bearer {admin.token}", "Idempotency-Key": "k"}
    for ref in ("v1", "v2"):
        admin("POST", f"/apps/{blog}/deployments", {"source_ref": ref}, headers=headers)
    found = newest(admin)
    assert (found["status"], found["error_code"], found["app_name"]) == (422, "idempotency_key_reused", "blog")


def test_logins_are_told_when_they_fail_and_when_they_are_slowed_down(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "throttle", Throttle())
    for _ in range(7):
        admin("POST", "/auth/login", {"email": "a@b", "password": PASSWORD}, headers={})
    told = {one["status"]: (one["actor"]["kind"], one["error_code"], one["count"]) for one in trail(admin)}
    assert told[401] == ("anonymous", "invalid_credentials", 5)
    assert told[429] == ("anonymous", "too_many_requests", 2)


def test_a_logout_is_told_in_the_name_of_who_left(admin: Client) -> None:
    email, password = auth.reset_admin_password("admin@localhost")
    answer = admin("POST", "/auth/login", {"email": email, "password": password}, headers={})
    admin("POST", "/auth/logout", headers={"Cookie": answer.headers["Set-Cookie"].partition(";")[0]})
    found = newest(admin)
    assert (found["action"], found["actor"]["kind"], found["actor"]["name"]) == ("logout", "session", email)


def test_who_may_not_is_told_with_the_app_that_was_meant(admin: Client, reader: Client, blog: str) -> None:
    """The question after a token leaked: what did it try, and where."""
    reader("POST", "/apps/blog/deployments")
    found = newest(admin)
    assert (found["status"], found["app_id"], found["app_name"]) == (403, blog, "blog")


def test_a_stranger_s_refusal_costs_the_same_whether_there_is_such_an_app_or_not(admin: Client, blog: str) -> None:
    """An entry with the app's name would be written anew for each app there is, which takes milliseconds longer."""
    stranger = Client(admin.app, "wrong")
    for name in ("blog", "nope"):
        stranger("DELETE", f"/apps/{name}")
    (found,) = trail(admin, "&action=delete_app")
    assert (found["count"], found["app_id"], found["app_name"]) == (2, None, None)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_token_that_reaches_for_another_app_is_told(admin: Client, blog: str, method: str) -> None:
    """To the token there is no such app; the admin wants to know that it looked."""
    App.create(name="shop")
    secret, token = auth.create_token("blog's", ["admin"], None, apps=[blog])
    assert Client(admin.app, secret).code(method, "/apps/shop") == (404, "app_not_found")
    found = newest(admin)
    assert (found["status"], found["outcome"], found["app_name"]) == (404, "refused", "shop")
    assert found["actor"] == {"kind": "token", "id": token.id, "name": "blog's"}


def test_a_new_password_is_told_in_the_name_of_its_owner_and_among_the_changes(admin: Client) -> None:
    """Somebody who takes an account over could else make the trail forget it, by being refused often enough."""
    auth.reset_admin_password("admin@localhost")
    user = User.get()
    PasswordReset.create(token_hash=resets._hash("rpr_x"), user=user, expires_at_unix_ms=2**52)
    admin("POST", "/auth/password-reset/confirm", {"reset_token": "rpr_x", "new_password": PASSWORD}, headers={})
    found = newest(admin)
    assert (found["action"], found["outcome"]) == ("confirm_password_reset", "done")
    assert found["actor"] == {"kind": "reset", "id": user.id, "name": "admin@localhost"}
    assert Audit.get_by_id(found["id"]).shelf == audit.DONE


def test_a_push_is_told_for_each_app_that_it_deploys(admin: Client, blog: str, lines: list[dict[str, object]]) -> None:
    admin("PUT", "/integrations/github/secret", {"secret": SECRET})
    admin("POST", "/apps", {"name": "shop"})
    for app in ("blog", "shop"):
        admin("POST", f"/apps/{app}/github", {"owner": "anna", "repo": "blog", "branch": "main"})
    answer = GitHost(admin).send()
    told = trail(admin, "&actor=webhook")
    assert {one["app_name"]: one["deployment_id"] for one in told} == {
        one.app.name: one.id for one in Deployment.select()
    }
    assert {one["request_id"] for one in told} == {answer.headers["X-Request-Id"]}
    assert {(one["action"], one["actor"]["name"]) for one in told} == {("github_webhook", "github")}
    assert [one["RUSTPLOY_ACTOR"] for one in lines[-2:]] == ["webhook github"] * 2
    GitHost(admin).send(b"{}", event="ping")
    assert newest(admin)["app_name"] is None
    dataclasses.replace(GitHost(admin), secret="not-the-secret-of-this").send()
    refused = newest(admin)
    assert (refused["actor"]["kind"], refused["error_code"]) == ("anonymous", "invalid_signature")


@pytest.mark.processes
def test_a_change_says_what_it_was_made_to(admin: Client, blog: str) -> None:
    """Which token was it that somebody made at night?"""
    made = admin("POST", "/tokens", {"name": "ci", "scopes": ["read"]}).get_json()["summary"]["id"]
    admin("DELETE", f"/tokens/{made}")
    admin("PUT", "/apps/blog/env", {"key": "A", "value": "x"})
    admin("PATCH", "/apps/blog/env", {"B": "x", "C": "x"})
    admin("DELETE", "/apps/blog/env/A")
    admin("POST", "/apps/blog/gitea", {"owner": "anna", "repo": "shop"})
    admin("PUT", "/integrations/gitea/secret", {"secret": SECRET})
    admin("DELETE", "/integrations/gitea/secret")
    domain = admin("POST", "/apps/blog/domains", {"domain": "www.example.org"}).get_json()["id"]
    admin("DELETE", f"/apps/blog/domains/{domain}")
    deployment = admin("POST", "/apps/blog/deployments").get_json()["deployment_id"]
    admin("POST", f"/apps/blog/deployments/{deployment}/cancel")
    told = [one for one in trail(admin)[::-1] if one["action"] != "import_app"]
    subjects = [made, made, "A", "B, C", "A", "anna/shop", "gitea", "gitea", "www.example.org", "www.example.org"]
    assert [one["subject"] for one in told[: len(subjects)]] == subjects
    cancelled = trail(admin, "&action=cancel_deployment")
    assert [one["deployment_id"] for one in cancelled] == [deployment]
    assert [one["action"] for one in trail(admin, f"&subject={made}")] == ["revoke_token", "create_token"]


def test_an_answer_given_again_is_no_second_change(admin: Client, blog: str) -> None:
    headers = {"Authorization": f"Bearer {admin.token}", "Idempotency-Key": "k"}
    for _ in range(2):
        admin("POST", f"/apps/{blog}/deployments", headers=headers)
    found = trail(admin, "&action=create_deployment")
    assert [one["outcome"] for one in found] == ["repeated", "done"]


class TestFilters:
    @pytest.fixture
    def told(self, admin: Client, deployer: Client, blog: str) -> Iterator[list[dict[str, Any]]]:
        deployer("POST", f"/apps/{blog}/deployments")
        deployer("POST", "/apps", {"name": "no"})
        admin("POST", "/apps", {"name": "other"})
        yield trail(admin)

    @pytest.mark.parametrize(
        ("query", "actions"),
        [
            ("app=blog", ["create_deployment", "import_app"]),
            ("app=nope", []),
            ("actor=deploy%20token", ["create_app", "create_deployment"]),
            ("action=create_app", ["create_app", "create_app"]),
            ("action=create_app&outcome=refused", ["create_app"]),
            ("outcome=done&app=other", ["create_app"]),
            ("since_unix_ms=9007199254740991", []),
            ("until_unix_ms=1", []),
        ],
    )
    def test_they_narrow(self, admin: Client, told: list[dict[str, Any]], query: str, actions: list[str]) -> None:
        assert [one["action"] for one in trail(admin, f"&{query}")] == actions

    def test_times_are_a_half_open_range(self, admin: Client, told: list[dict[str, Any]]) -> None:
        at = told[1]["at_unix_ms"]
        assert told[1] in trail(admin, f"&since_unix_ms={at}")
        assert told[1] not in trail(admin, f"&until_unix_ms={at}")

    def test_pages_hold_the_filter(self, admin: Client, told: list[dict[str, Any]]) -> None:
        first = admin("GET", "/audit?limit=1&action=create_app").get_json()
        rest = admin("GET", f"/audit?limit=1&action=create_app&cursor={first['next_cursor']}").get_json()
        assert [one["action"] for one in first["items"] + rest["items"]] == ["create_app"] * 2
        assert rest["next_cursor"] is None

    @pytest.mark.parametrize("query", ["outcome=x", "since_unix_ms=x", "until_unix_ms=-1", "app=", "actor=%00"])
    def test_a_wrong_one_is_refused_by_name(self, admin: Client, query: str) -> None:
        answer = admin("GET", f"/audit?{query}")
        assert answer.status_code == 400
        assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [query.partition("=")[0]]


class TestFloods:
    """A million bad requests must fill neither the disk nor push out what others did."""

    def test_the_same_refusal_is_one_row_with_a_count(self, admin: Client, lines: list[dict[str, object]]) -> None:
        stranger = Client(admin.app, "wrong")
        for _ in range(30):
            stranger("POST", "/apps", {"name": "x"})
        assert len(lines) == 1
        assert newest(admin)["count"] == 30
        assert "29 more times" in str(lines[1]["MESSAGE"])

    def test_refusals_of_all_kinds_end_in_one_row(self, admin: Client) -> None:
        for number in range(200):
            Client(admin.app, "x")("GET", "/apps", environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"})
        found = trail(admin)
        assert len(found) == repetition.MOST_APART + 1
        assert (found[0]["action"], found[0]["address"], found[0]["count"]) == ("various", None, 150)
        assert sum(one["count"] for one in found) == 200

    def test_strangers_do_not_blur_what_others_tried(self, admin: Client, reader: Client) -> None:
        for number in range(100):
            Client(admin.app, "x")("GET", "/apps", environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"})
        reader("POST", "/apps", {"name": "x"})
        assert newest(admin)["action"] == "create_app"

    def test_shelves_are_pruned_each_for_itself(self, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit, "MOST", {audit.DONE: 5, audit.REFUSED: 3, audit.STRANGERS: 2})
        monkeypatch.setattr(audit, "PRUNE_EVERY", 1)
        monkeypatch.setattr(repetition, "WINDOW_MS", 0)
        for kind in ("token", "anonymous"):
            for outcome in ("done", "refused"):
                for _ in range(9):
                    events.call_ended.send(events.Call("x", kind, outcome))
        rows = [(row.actor_kind, row.outcome) for row in Audit.select()]
        assert rows.count(("token", "done")) == 5 and rows.count(("token", "refused")) == 3
        assert len(rows) == 10

    def test_a_token_that_may_only_deploy_pushes_out_nothing_that_an_admin_did(
        self, admin: Client, deployer: Client, blog: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "MOST", audit.MOST | {audit.DONE: 5, audit.DEPLOYED: 5})
        monkeypatch.setattr(audit, "PRUNE_EVERY", 1)
        for _ in range(20):
            deployer("POST", f"/apps/{blog}/deployments")
            deployer("POST", f"/apps/{blog}/rollback")
        assert [one["action"] for one in trail(admin, "&action=import_app")] == ["import_app"]
        assert len(trail(admin, "&outcome=done&action=create_deployment")) <= 5

    def test_all_that_such_a_token_or_a_git_host_can_do_is_on_that_shelf(self) -> None:
        may = {
            operation["operationId"]
            for (method, _), operation in contract.operations().items()
            if method != "GET" and operation["x-scope"] in ("deploy", "signature")
        }
        assert may | {"deployment_ended"} == audit.ROUTINE


def test_a_trail_that_cannot_be_written_stops_no_reader(
    admin: Client, lines: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk who is refused is still refused, with the answer that is right, and the journal has it."""
    database.execute_sql("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    assert admin("GET", "/apps").status_code == 200
    assert Client(admin.app, "wrong").code("GET", "/apps") == (401, "unauthorized")
    assert lines[0]["RUSTPLOY_AUDIT"] == "list_apps" and "cannot be written" in caplog.text


def test_a_change_and_its_entry_are_both_on_disk_or_neither(admin: Client, blog: str) -> None:
    """Where they are one transaction: a deployment that nobody can be asked about is not accepted."""
    database.execute_sql("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    assert admin("POST", f"/apps/{blog}/deployments").status_code == 500
    assert Deployment.select().count() == 0


def test_what_is_to_come_after_a_commit_comes_after_it_or_not_at_all(opened: None) -> None:
    done: list[str] = []
    with database.atomic("IMMEDIATE"):
        database.after_commit(lambda: done.append("kept"))
        with database.atomic():
            database.after_commit(lambda: done.append("inner"))
        assert done == []
    assert done == ["kept", "inner"]
    with pytest.raises(peewee.IntegrityError), database.atomic("IMMEDIATE"):
        database.after_commit(lambda: done.append("lost"))
        raise peewee.IntegrityError
    with database.atomic():
        pass
    database.after_commit(lambda: done.append("now"))
    assert done == ["kept", "inner", "now"]
