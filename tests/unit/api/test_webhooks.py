"""Git hosts' webhooks: each push deployed once, to whom it concerns, and nobody believed who does not know a secret."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import Any

import pytest
from flask import Flask

from rustploy_agent import auth, deliveries, models
from rustploy_agent.api import create_app
from rustploy_agent.core import Core
from rustploy_agent.models import App, Connection, Deployment
from rustploy_agent.records import Delivery, DeliveryTarget
from rustploy_agent.webhooks import LARGEST, PROVIDERS
from tests.githost import COMMIT, GONE, SECRET, GitHost
from tests.unit.api.conftest import Client

CONNECTION = {"owner": "anna", "repo": "blog", "branch": "main"}
OWN = "a-secret-of-this-app"


@pytest.fixture(params=sorted(PROVIDERS))
def any_host(request: pytest.FixtureRequest, admin: Client, blog: str) -> GitHost:
    """Each git host, its secret set and the app connected."""
    return _set_up(admin, str(request.param))


@pytest.fixture
def host(admin: Client, blog: str) -> GitHost:
    return _set_up(admin, "github")


def _set_up(admin: Client, name: str) -> GitHost:
    assert admin("PUT", f"/integrations/{name}/secret", {"secret": SECRET}).status_code == 200
    assert admin("POST", f"/apps/blog/{name}", CONNECTION).status_code == 200
    return GitHost(admin, name)


def log(admin: Client, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = admin("GET", f"/integrations/deliveries{query}").get_json()["items"]
    return items


class TestPushes:
    def test_a_push_queues_a_deployment_of_its_branch(self, any_host: GitHost, blog: str) -> None:
        assert any_host.counts() == (1, 1)
        (deployment,) = Deployment.select()
        assert (deployment.app_id, deployment.status, deployment.source_ref) == (blog, "queued", "main")
        assert (deployment.pushed_commit, deployment.commit_sha) == (COMMIT, COMMIT)
        assert deployment.requested_commit is None, "the branch's newest commit is looked for at the fetch"

    def test_repositories_are_compared_without_case(self, any_host: GitHost) -> None:
        assert any_host.counts(any_host.push("ANNA/bLOG")) == (1, 1)

    @pytest.mark.parametrize(
        "repository", ["anna/blog2", "anna/blo", "eve/blog", "anna", "blog", "anna/blog/x", "ann/ablog"]
    )
    def test_a_push_to_another_repository_is_taken_and_changes_nothing(
        self, any_host: GitHost, repository: str
    ) -> None:
        assert any_host.counts(any_host.push(repository)) == (0, 0)
        assert Deployment.select().count() == 0

    @pytest.mark.parametrize("branch", ["next", "main2", "feature/main", "MAIN"])
    def test_a_push_to_a_branch_that_nobody_follows_is_taken_and_changes_nothing(
        self, any_host: GitHost, branch: str, admin: Client
    ) -> None:
        assert any_host.counts(any_host.push(branch=branch)) == (0, 0)
        assert Deployment.select().count() == 0
        assert [one["reason"] for one in log(admin)[0]["apps"]] == ["other_branch"]

    def test_a_deleted_branch_deploys_nothing(self, any_host: GitHost, admin: Client) -> None:
        assert any_host.counts(any_host.push(after=GONE)) == (0, 0)
        assert any_host.counts(any_host.push(deleted=True)) == (0, 0)
        assert Deployment.select().count() == 0
        assert [one["reason"] for one in log(admin)] == ["branch_deleted"] * 2

    @pytest.mark.parametrize("ref", ["refs/tags/main", "main", "refs/notes/main", "refs/heads"])
    def test_tags_deploy_nothing(self, any_host: GitHost, ref: str, admin: Client) -> None:
        assert any_host.counts(any_host.push(ref=ref)) == (0, 0)
        assert log(admin)[0]["reason"] == "not_a_branch"

    @pytest.mark.parametrize("event", ["ping", "pull_request", "Tag Push Hook", "push_", "PUSH", "star"])
    def test_other_events_are_taken_and_not_even_read(self, any_host: GitHost, event: str) -> None:
        assert any_host.counts(b"{ this is no JSON", event=event) == (0, 0)
        assert Deployment.select().count() == 0

    def test_all_apps_that_follow_the_branch_are_deployed(self, host: GitHost, admin: Client) -> None:
        for name, branch in (("shop", "main"), ("next", "next")):
            admin("POST", "/apps", {"name": name})
            admin("POST", f"/apps/{name}/github", CONNECTION | {"branch": branch})
        assert host.counts() == (2, 2)
        assert {one.app.name for one in Deployment.select()} == {"blog", "shop"}

    def test_an_app_that_is_just_removed_is_left_alone(self, host: GitHost) -> None:
        App.update(deleting=True).execute()
        assert host.counts() == (0, 0)

    def test_the_next_push_supersedes_one_that_waits(self, host: GitHost) -> None:
        host.send()
        host.send(host.push(after="d" * 40))
        waiting = Deployment.select().where(Deployment.status == "queued")
        assert [one.commit_sha for one in waiting] == ["d" * 40]

    def test_a_wake_comes_after_the_commit(self, host: GitHost, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else the worker looks before there is anything to see, and the deployment waits for the next one."""
        seen: list[int] = []

        def look(*, rollback: bool) -> None:
            assert not rollback
            seen.append(_committed())

        monkeypatch.setattr(core.worker, "wake", look)
        assert host.counts() == (1, 1)
        assert seen == [1]


def _committed() -> int:
    """As another connection sees it."""
    found: list[int] = []

    def look() -> None:
        found.append(Deployment.select().count())
        models.database.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


class TestBranch:
    """Without one of its own, a connection follows rustploy.yaml, then the import, then the host's default."""

    @pytest.fixture
    def follows(self, host: GitHost, admin: Client) -> GitHost:
        answer = admin("POST", "/apps/blog/github", {"owner": "anna", "repo": "blog"})
        assert answer.get_json()["branch"] == "main", "the imported one"
        return host

    def test_the_imported_branch(self, follows: GitHost) -> None:
        assert follows.counts(follows.push(branch="other")) == (0, 0)
        assert follows.counts() == (1, 1)

    def test_the_manifests_branch_comes_before_the_imported_one(self, follows: GitHost, admin: Client) -> None:
        App.update(manifest={"version": 1, "deploy": {"auto_deploy_branch": "live"}}).execute()
        assert admin("GET", "/apps/blog/github").get_json()["branch"] == "live"
        assert follows.counts() == (0, 0)
        assert follows.counts(follows.push(branch="live")) == (1, 1)

    def test_the_connections_own_branch_comes_first(self, host: GitHost) -> None:
        App.update(manifest={"version": 1, "deploy": {"auto_deploy_branch": "live"}}).execute()
        assert host.counts(host.push(branch="live")) == (0, 0)
        assert host.counts() == (1, 1)

    def test_the_default_branch_is_left_for_an_app_that_was_never_imported(self, host: GitHost, admin: Client) -> None:
        admin("POST", "/apps", {"name": "bare"})
        assert admin("POST", "/apps/bare/github", {"owner": "eve", "repo": "x"}).get_json()["branch"] is None
        assert host.counts(host.push("eve/x", branch="other")) == (0, 0)
        assert host.counts(host.push("eve/x")) == (1, 1)


class TestRedelivery:
    def test_the_same_delivery_queues_nothing_twice(self, any_host: GitHost, admin: Client) -> None:
        body = any_host.push()
        assert any_host.counts(body, delivery="one") == (1, 1)
        assert any_host.counts(body, delivery="one") == (1, 0)
        assert Deployment.select().count() == 1
        assert [one["times"] for one in log(admin)] == [2]

    def test_a_push_that_differs_is_another_delivery(self, any_host: GitHost) -> None:
        assert any_host.counts(delivery="one") == (1, 1)
        assert any_host.counts(any_host.push(after="d" * 40), delivery="two") == (1, 1)

    def test_a_recorded_push_under_another_id_is_still_the_same(self, host: GitHost) -> None:
        """Else who has seen one delivery can bring an old commit back whenever he likes: ids are not signed."""
        body = host.push()
        host.send(body, delivery="one")
        host.send(host.push(after="d" * 40))
        assert host.counts(body, delivery="two") == (1, 0)
        headers = host.headers(body)
        del headers["X-GitHub-Delivery"]
        assert host.raw(body, headers).get_json()["queued_deployments"] == 0
        assert Deployment.select().count() == 2

    def test_two_webhooks_with_secrets_of_their_own_are_two(self, host: GitHost, admin: Client) -> None:
        """The same body comes twice when staging and live follow one repository."""
        admin("POST", "/apps", {"name": "live"})
        admin("POST", "/apps/live/github", CONNECTION | {"secret": OWN})
        body = host.push()
        assert host.counts(body) == (1, 1)
        assert dataclasses.replace(host, secret=OWN).counts(body) == (1, 1)
        assert sorted(one.app.name for one in Deployment.select()) == ["blog", "live"]

    def test_two_at_once_queue_one(self, any_host: GitHost) -> None:
        body, found = any_host.push(), []
        together = threading.Barrier(4)

        def send() -> None:
            together.wait(10)
            found.append(any_host.counts(body, delivery="same"))
            models.database.close()

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(found) == [(1, 0)] * 3 + [(1, 1)]
        assert Deployment.select().count() == 1

    def test_it_is_remembered_across_a_restart(self, host: GitHost, core: Core) -> None:
        body = host.push()
        host.send(body, delivery="one")
        models.database.close()
        models.open_database(core.settings.paths.database)
        again = GitHost(Client(create_app(core), host.client.token))
        assert again.counts(body, delivery="one") == (1, 0)

    def test_a_push_from_before_the_app_was_connected_can_be_sent_again(self, host: GitHost, admin: Client) -> None:
        """Who sets things up in the wrong order presses "redeliver"."""
        admin("DELETE", "/apps/blog/github")
        body = host.push()
        assert host.counts(body, delivery="one") == (0, 0)
        admin("POST", "/apps/blog/github", CONNECTION)
        assert host.counts(body, delivery="one") == (1, 1)
        assert host.counts(body, delivery="one") == (1, 0)

    def test_what_could_not_be_queued_can_be_sent_again(self, core: Core, host: GitHost, admin: Client) -> None:
        full = dataclasses.replace(core, settings=dataclasses.replace(core.settings, min_free_bytes=2**62))
        refused, body = GitHost(Client(create_app(full), admin.token)), host.push()
        answer = refused.send(body, delivery="one")
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "disk_full")
        assert Deployment.select().count() == 0
        shown = log(admin)[0]
        assert (shown["reason"], shown["apps"][0]["reason"]) == ("disk_full", "disk_full")
        assert host.counts(body, delivery="one") == (1, 1)
        assert [one["reason"] for one in log(admin)] == [None]

    def test_the_log_is_bounded(self, host: GitHost, monkeypatch: pytest.MonkeyPatch, admin: Client) -> None:
        monkeypatch.setattr(deliveries, "KEPT_QUEUED", 3)
        monkeypatch.setattr(deliveries, "KEPT_IGNORED", 2)
        for number in range(5):
            host.send(delivery=f"push-{number}")
            host.send(b"[%d]" % number, event="ping", delivery=f"ping-{number}")
        shown = [one["delivery_id"] for one in log(admin)]
        assert sorted(shown) == ["ping-3", "ping-4", "push-2", "push-3", "push-4"]
        assert DeliveryTarget.select().count() == 3


class TestProof:
    def test_without_any_secret_everything_is_refused(self, admin: Client, blog: str) -> None:
        """No secret must never mean that everybody knows it."""
        admin("POST", "/apps/blog/github", CONNECTION)
        host = GitHost(admin, secret="")
        answer = host.send()
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "webhook_not_configured")
        assert [(one["valid"], one["reason"]) for one in log(admin)] == [(False, "not_configured")]

    def test_the_secret_of_one_host_opens_no_other(self, host: GitHost) -> None:
        other = dataclasses.replace(host, name="gitea")
        assert other.send().status_code == 503

    @pytest.mark.parametrize(
        "secret", ["", "a-secret-of-the-hos", "A-SECRET-OF-THE-HOST", "a-secret-of-the-host ", "ü"]
    )
    def test_another_secret_is_refused(self, any_host: GitHost, secret: str, admin: Client) -> None:
        wrong = dataclasses.replace(any_host, secret=secret)
        body = wrong.push()
        headers = {key: value.encode().decode("latin-1") for key, value in wrong.headers(body).items()}
        answer = wrong.raw(body, headers)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (401, "invalid_signature")
        assert Deployment.select().count() == 0
        assert [(one["valid"], one["reason"]) for one in log(admin)] == [(False, "proof_wrong")]

    def test_a_missing_proof_is_refused(self, any_host: GitHost) -> None:
        body = any_host.push()
        headers = any_host.headers(body)
        del headers[PROVIDERS[any_host.name].proof]
        assert any_host.raw(body, headers).get_json()["error"]["code"] == "invalid_signature"

    @pytest.mark.parametrize("name", ["github", "gitea"])
    def test_the_proof_is_over_the_bytes_that_came(self, admin: Client, blog: str, name: str) -> None:
        """A signature over what the JSON means would let others in who send what only means the same."""
        host = _set_up(admin, name)
        body = host.push()
        for changed in (json.dumps(json.loads(body), indent=1).encode(), body + b"\n", b" " + body, body[:-1]):
            assert host.raw(changed, host.headers(body)).status_code == 401
        assert Deployment.select().count() == 0

    @pytest.mark.parametrize(
        "change", [str.upper, lambda p: p.removeprefix("sha256="), lambda p: p + " ", lambda p: p[:-1]]
    )
    def test_a_proof_is_taken_to_the_letter(self, host: GitHost, change: Any) -> None:
        body = host.push()
        headers = host.headers(body)
        changed = change(headers["X-Hub-Signature-256"])
        if changed.strip() == headers["X-Hub-Signature-256"]:
            changed += ", " + changed
        assert host.raw(body, headers | {"X-Hub-Signature-256": changed}).status_code == 401

    def test_the_old_sha1_signature_proves_nothing(self, host: GitHost) -> None:
        body = host.push()
        headers = host.headers(body)
        proof = headers.pop("X-Hub-Signature-256")
        assert host.raw(body, headers | {"X-Hub-Signature": proof}).status_code == 401

    def test_nothing_is_parsed_before_the_proof(self, any_host: GitHost) -> None:
        """Else every stranger reaches the JSON parser with 25 MB."""
        wrong = dataclasses.replace(any_host, secret="another-one-of-theirs")
        for body in (b"{", b"[" * 100_000, b"", b"\xff"):
            assert wrong.send(body).status_code == 401

    def test_a_forgotten_secret_proves_nothing_any_more(self, host: GitHost, admin: Client) -> None:
        assert admin("DELETE", "/integrations/github/secret").status_code == 204
        assert host.send().status_code == 503
        assert admin.code("DELETE", "/integrations/github/secret") == (404, "secret_not_found")

    def test_a_changed_secret_counts_at_once(self, host: GitHost, admin: Client) -> None:
        admin("PUT", "/integrations/github/secret", {"secret": "quite-another-secret"})
        assert host.send().status_code == 401
        assert dataclasses.replace(host, secret="quite-another-secret").counts() == (1, 1)


class TestOwnSecret:
    @pytest.fixture(params=sorted(PROVIDERS))
    def own(self, request: pytest.FixtureRequest, admin: Client, blog: str) -> GitHost:
        """blog has a secret of its own, shop follows the same branch without one; the host has none."""
        admin("POST", f"/apps/blog/{request.param}", CONNECTION | {"secret": OWN})
        admin("POST", "/apps", {"name": "shop"})
        admin("POST", f"/apps/shop/{request.param}", CONNECTION)
        return GitHost(admin, request.param, secret=OWN)

    def test_it_speaks_for_its_app_alone(self, own: GitHost) -> None:
        assert own.counts() == (1, 1)
        assert [one.app.name for one in Deployment.select()] == ["blog"]

    def test_it_does_not_speak_for_other_repositories(self, own: GitHost, admin: Client) -> None:
        """Else the secret of the least important app deploys the most important one."""
        admin("POST", f"/apps/shop/{own.name}", CONNECTION | {"repo": "shop"})
        assert own.send(own.push("anna/shop")).status_code == 401
        body = own.push("anna/shop", also={"full_name": "anna/blog", "path_with_namespace": "anna/blog"})
        assert own.counts(body) == (0, 0)
        assert Deployment.select().count() == 0

    def test_the_hosts_secret_does_not_speak_for_it(self, own: GitHost, admin: Client, reader: Client) -> None:
        """Else whoever connects an app to another's repository, under a secret of his own, is told of its pushes."""
        admin("PUT", f"/integrations/{own.name}/secret", {"secret": SECRET})
        assert dataclasses.replace(own, secret=SECRET).counts() == (1, 1)
        assert [one.app.name for one in Deployment.select()] == ["shop"]
        assert reader("GET", "/apps/blog/deliveries").get_json()["items"] == []

    def test_a_token_for_certain_apps_connects_them_by_it_only(self, own: GitHost, admin: Client, api: Flask) -> None:
        """The host's secret vouches for all repositories, so another's pushes would be deployed and shown."""
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[App.get(App.name == "shop").id])[0])
        path, other = f"/apps/shop/{own.name}", CONNECTION | {"repo": "secret-plans"}
        answer = restricted("POST", path, other)
        assert answer.status_code == 400
        assert [one["field"] for one in answer.get_json()["error"]["details"]] == ["secret"]
        assert admin("GET", path).get_json()["repo"] == "blog", "what was refused changed something"
        assert restricted("POST", path, CONNECTION | {"branch": "next"}).status_code == 200, "the same repository"
        assert restricted("POST", path, other | {"secret": OWN}).get_json()["own_secret"] is True
        assert restricted("POST", path, other | {"branch": "next"}).get_json()["own_secret"] is True
        assert restricted("DELETE", path).status_code == 204
        assert restricted("POST", path, CONNECTION).status_code == 400

    def test_it_stays_when_the_branch_changes_and_goes_with_the_repository(self, own: GitHost, admin: Client) -> None:
        changed = admin("POST", f"/apps/blog/{own.name}", CONNECTION | {"branch": "next"}).get_json()
        assert changed["own_secret"] is True
        assert own.counts(own.push(branch="next")) == (1, 1)
        changed = admin("POST", f"/apps/blog/{own.name}", CONNECTION | {"repo": "other"}).get_json()
        assert changed["own_secret"] is False

    def test_a_sealed_secret_does_not_open_in_another_row(self, own: GitHost, admin: Client) -> None:
        """Else who can write one row of the database gives himself another's rights."""
        (sealed,) = [one.sealed_secret for one in Connection.select() if one.sealed_secret]
        assert OWN not in sealed
        Connection.update(sealed_secret=sealed).where(Connection.app == App.get(App.name == "shop")).execute()
        answer = own.send()
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (500, "secret_unreadable")


class TestWrongBodies:
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000, b"1" * 5000, b"NaN", b"null"],
    )
    def test_a_push_that_is_no_json_object_is_refused(self, any_host: GitHost, body: bytes, admin: Client) -> None:
        answer = any_host.send(body)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "invalid_json")
        assert log(admin)[0]["reason"] == "unreadable"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"ref": None}, "ref"),
            ({"ref": 7}, "ref"),
            ({"ref": "refs/heads/a..b"}, "ref"),
            ({"ref": "refs/heads/\ud800"}, "ref"),
            ({"ref": "refs/heads/x\n--y"}, "ref"),
            ({"after": "HEAD"}, "after"),
            ({"after": None}, "after"),
            ({"after": COMMIT + "\n"}, "after"),
            ({"deleted": "no"}, "deleted"),
            ({"repository": None}, "repository"),
            ({"repository": []}, "repository"),
            ({"repository": {"full_name": ["anna/blog"]}}, "repository.full_name"),
            ({"repository": {"full_name": "\ud800"}}, "repository.full_name"),
            ({"repository": {"full_name": "anna/blog", "default_branch": {}}}, "repository.default_branch"),
        ],
    )
    def test_a_wrong_field_is_named(self, host: GitHost, change: dict[str, Any], field: str) -> None:
        answer = host.send(host.push(**change))
        assert answer.status_code == 400
        assert field in [one["field"] for one in answer.get_json()["error"]["details"]]
        assert Deployment.select().count() == 0

    def test_a_form_is_told_what_to_choose(self, host: GitHost) -> None:
        """GitHub's own default is a form."""
        body = b"payload=%7B%7D"
        headers = host.headers(body) | {"Content-Type": "application/x-www-form-urlencoded"}
        answer = host.raw(body, headers)
        assert answer.status_code == 415
        assert "application/json" in answer.get_json()["error"]["message"]

    def test_a_missing_event_is_refused(self, host: GitHost) -> None:
        body = host.push()
        headers = host.headers(body)
        del headers["X-GitHub-Event"]
        assert host.raw(body, headers).get_json()["error"]["details"][0]["field"] == "X-GitHub-Event"

    @pytest.mark.parametrize("value", ["x" * 101, "a b", "a\u00fc", "<script>", ""])
    def test_headers_that_no_host_writes_are_not_kept(self, host: GitHost, value: str, admin: Client) -> None:
        body = host.push()
        headers = host.headers(body) | {"X-GitHub-Delivery": value.encode().decode("latin-1")}
        assert host.raw(body, headers).status_code == 202
        assert log(admin)[0]["delivery_id"] is None


class TestLargeBodies:
    def test_25_mib_are_taken(self, any_host: GitHost) -> None:
        body = any_host.push()
        body += b" " * (LARGEST - len(body))
        assert any_host.counts(body) == (1, 1)

    def test_more_is_refused_unread(self, host: GitHost) -> None:
        body = b" " * (LARGEST + 1)
        assert host.send(body).status_code == 413

    def test_elsewhere_the_limit_is_as_it_was(self, admin: Client, blog: str) -> None:
        secret = {"secret": "x" * (1 << 20)}
        assert admin.code("PUT", "/integrations/github/secret", secret) == (413, "body_too_large")


class TestStrangers:
    def test_they_are_counted_in_one_entry_an_hour(
        self, host: GitHost, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong, now = dataclasses.replace(host, secret="not-the-secret-of-this"), deliveries.now_ms()
        for step in (0, 500, 1_500, 3_000, 3_700_000, 3_700_500):
            monkeypatch.setattr(deliveries, "now_ms", lambda step=step: now + step)
            wrong.send()
        assert sorted(one["times"] for one in log(admin)) == [1, 3]

    def test_they_never_push_out_what_was_valid(
        self, host: GitHost, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliveries, "KEPT_INVALID", 3)
        monkeypatch.setattr(deliveries, "NOTED_MS", 0)
        monkeypatch.setattr(deliveries, "STRANGERS_MS", 0)
        host.send(delivery="true")
        wrong = dataclasses.replace(host, secret="not-the-secret-of-this")
        for _ in range(10):
            wrong.send()
        shown = log(admin)
        assert [one["delivery_id"] for one in shown if one["valid"]] == ["true"]
        assert len(shown) == 4

    def test_their_delivery_ids_take_nothing_away(self, host: GitHost) -> None:
        """Else who guesses or reads an id can suppress the deployment."""
        wrong, body = dataclasses.replace(host, secret="not-the-secret-of-this"), host.push()
        wrong.send(body, delivery="one")
        assert host.counts(body, delivery="one") == (1, 1)


class TestLog:
    def test_it_says_what_came_and_what_became_of_it(self, host: GitHost, admin: Client, blog: str) -> None:
        host.send(delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958")
        (shown,) = log(admin)
        expected = {"provider": "github", "valid": True, "event": "push", "repository": "anna/blog", "branch": "main"}
        assert expected.items() <= shown.items()
        assert (shown["delivery_id"], shown["commit_sha"]) == ("72d3162e-cc78-11e3-81ab-4c9367dc0958", COMMIT)
        assert shown["apps"] == [{"app_id": blog, "deployment_id": Deployment.get().id, "reason": None}]

    def test_it_can_be_narrowed(self, host: GitHost, admin: Client) -> None:
        host.send(delivery="ours")
        host.send(host.push("eve/other"), delivery="other")
        gitea = _set_up(admin, "gitea")
        gitea.send(delivery="gitea")
        assert {one["delivery_id"] for one in log(admin)} == {"ours", "other", "gitea"}
        assert [one["delivery_id"] for one in log(admin, "?provider=gitea")] == ["gitea"]
        assert {one["delivery_id"] for one in log(admin, "?app=blog")} == {"ours", "gitea"}
        assert [one["delivery_id"] for one in log(admin, "?provider=github&app=blog&limit=1")] == ["ours"]

    def test_it_comes_in_pages(self, host: GitHost, admin: Client) -> None:
        for number in range(5):
            host.send(delivery=f"push-{number}")
        seen, cursor = [], ""
        while cursor is not None:
            answer = admin("GET", f"/apps/blog/deliveries?limit=2{cursor and '&cursor=' + cursor}").get_json()
            seen += [one["delivery_id"] for one in answer["items"]]
            cursor = answer["next_cursor"]
        assert sorted(seen) == [f"push-{number}" for number in range(5)]

    def test_strangers_are_looked_up_without_reading_the_whole_log(self, opened: None) -> None:
        """Else each of a million wrong guesses reads six thousand rows."""
        rows = Delivery.select().where(deliveries.INVALID).order_by(Delivery.created_at_unix_ms.desc())
        plan = str(models.database.execute_sql("EXPLAIN QUERY PLAN " + rows.sql()[0], rows.sql()[1]).fetchall())
        assert "SEARCH" in plan and "delivery_by_time" in plan, plan

    @pytest.mark.parametrize(("query", "code"), [("provider=svn", 400), ("limit=0", 400), ("app=nobody", 400)])
    def test_a_wrong_filter_is_refused(self, admin: Client, query: str, code: int) -> None:
        assert admin("GET", f"/integrations/deliveries?{query}").status_code == code

    def test_an_apps_log_shows_nothing_of_other_apps(self, host: GitHost, admin: Client, reader: Client) -> None:
        admin("POST", "/apps", {"name": "shop"})
        admin("POST", "/apps/shop/github", CONNECTION)
        host.send()
        host.send(host.push("eve/other"))
        (shown,) = reader("GET", "/apps/shop/deliveries").get_json()["items"]
        assert [one["app_id"] for one in shown["apps"]] == [App.get(App.name == "shop").id]

    def test_neither_secret_nor_body_is_in_the_database(self, any_host: GitHost, admin: Client, core: Core) -> None:
        admin("POST", f"/apps/blog/{any_host.name}", CONNECTION | {"secret": OWN})
        any_host.send(any_host.push(pusher={"email": "private@example.org"}))
        models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        stored = core.settings.paths.database.read_bytes()
        for text in (SECRET, OWN, "private@example.org"):
            assert text.encode() not in stored
        assert b"anna/blog" in stored


def test_a_delivery_outlives_its_app_and_a_connection_does_not(admin: Client, host: GitHost, api: Flask) -> None:
    host.send()
    Deployment.update(status="failed").execute()
    assert admin("DELETE", "/apps/blog").status_code == 204
    assert Connection.select().count() == 0
    assert len(log(admin)) == 1 and Delivery.select().count() == 1
