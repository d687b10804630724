"""The walk: every route that is registered, with every kind of credential. One that forgets its check fails here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from rustploy_agent import auth, integrations, webhooks
from rustploy_agent.api.client import FORWARDED
from rustploy_agent.api.resource import Resource
from rustploy_agent.clock import now_ms
from rustploy_agent.core import Core
from rustploy_agent.models import App, Meta, Token, User
from tests.unit.api.conftest import REPOSITORY

#: Scope of the route -> what may use it.
ALLOWED = {
    "anybody": {"none", "malformed", "checksum", "unknown", "expired", "revoked", "basic", "read", "deploy", "admin"},
    "read": {"read", "deploy", "admin", "person"},
    "deploy": {"deploy", "admin", "person"},
    "admin": {"admin", "person"},
    "session": {"person"},
    "local": {"none", "read", "deploy", "admin", "person"},  # of the test client's connection, which is from this host
    "signature": set(),
}
#: A person's browser, made to ask by a page that is not ours.
FOREIGN = {
    "cross-site person": {"Sec-Fetch-Site": "cross-site"},
    "same-site person": {"Sec-Fetch-Site": "same-site"},
    "old browser's person": {"Origin": "http://localhost:20000"},
}
KINDS = sorted(ALLOWED["anybody"] | {"person", "stranger's session", *FOREIGN})


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def credentials(token: Callable[..., str], api: Flask, core: Core) -> dict[str, dict[str, str]]:
    """Headers for each kind of caller. The git hosts' secrets are set, so that a call without them is a stranger's."""
    from rustploy_agent import sessions

    for host in webhooks.PROVIDERS.values():
        integrations.set_secret(host, "a-secret-of-the-host", core.settings.paths)

    good = token("read")
    wrong_sum = good[:-1] + ("0" if good[-1] != "0" else "1")
    revoked, expired, unknown = token("admin"), token("admin"), token("admin")
    rows = list(Token.select().order_by(Token.created_at_unix_ms.desc(), Token.id))
    by_hash = {row.token_hash: row for row in rows}
    auth.revoke(by_hash[auth._hash(revoked)])
    Token.update(expires_at_unix_ms=now_ms() - 1).where(Token.token_hash == auth._hash(expired)).execute()
    Token.delete().where(Token.token_hash == auth._hash(unknown)).execute()
    auth.reset_admin_password("admin@localhost")
    person = {"Cookie": f"rustploy_session={sessions.begin(User.get())[0]}"}
    return {
        "none": {},
        "malformed": bearer("rpt_"),
        "checksum": bearer(wrong_sum),
        "unknown": bearer(unknown),
        "expired": bearer(expired),
        "revoked": bearer(revoked),
        "basic": {"Authorization": "Basic cm9vdDpyb290"},
        "read": bearer(good),
        "deploy": bearer(token("deploy")),
        "admin": bearer(token("admin")),
        "person": person,
        "stranger's session": {"Cookie": f"rustploy_session={sessions.begin(User.get(), '198.51.100.7')[0]}"},
    } | {kind: person | headers for kind, headers in FOREIGN.items()}


def routes(api: Flask) -> list[tuple[str, str, str]]:
    """(method, a path that names nothing that exists, declared scope)."""
    return [
        (method, re.sub(r"<[^>]+>", "nothing", rule.rule), api.view_functions[rule.endpoint].scope)  # type: ignore[attr-defined]
        for rule in api.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_route_lets_in_whom_its_scope_names_and_nobody_else(
    kind: str, api: Flask, credentials: dict[str, dict[str, str]]
) -> None:
    walked = 0
    for method, path, scope in routes(api):
        if (scope == "anybody" and kind not in ALLOWED["anybody"]) or (kind, scope) == ("person", "session"):
            continue
        with api.test_client(use_cookies=False) as client:
            status = client.open(path, method=method, headers=credentials[kind]).status_code
        if kind in ALLOWED[scope]:
            assert status not in (401, 403), f"{kind} is kept from {method} {path}"
        else:
            without = 403 if kind in FOREIGN or (kind in ("read", "deploy") and scope != "session") else 401
            without = 401 if scope == "signature" else without  # it looks at no other credentials
            assert status == without, f"{kind} got {status} from {method} {path}"
        walked += 1
    assert walked > 20


def test_a_refusal_comes_before_anything_is_looked_up(api: Flask, credentials: dict[str, dict[str, str]]) -> None:
    """Else 404 and 400 tell strangers what exists."""
    with api.test_client(use_cookies=False) as client:
        answers = {
            client.post("/api/v1/apps", data=b"{", headers=credentials["none"]).status_code,
            client.get("/api/v1/apps/blog").status_code,
        }
    assert answers == {401}


class TestATokenForOneApp:
    """Who holds it can be a stranger to the other apps; a route that forgets that must not exist."""

    #: Routes that look after themselves, and the test that each has.
    FILTERED = frozenset({"apps.list_apps", "apps.import_app"})

    @pytest.fixture
    def only_blog(self, api: Flask) -> dict[str, str]:
        for name in ("blog", "shop"):
            App.create(name=name)
        return bearer(auth.create_token("blog's", ["admin"], None, apps=[App.get(name="blog").id])[0])

    def test_another_app_is_not_there_and_the_host_is_not_its_business(
        self, api: Flask, only_blog: dict[str, str]
    ) -> None:
        walked = 0
        for rule in api.url_map.iter_rules():
            view = api.view_functions[rule.endpoint]
            if view.scope not in auth.SCOPES or rule.endpoint in self.FILTERED:  # type: ignore[attr-defined]
                continue
            for key in ("shop", App.get(name="shop").id) if "app_id" in rule.arguments else ("",):
                path = re.sub(r"<[^>]+>", "x", re.sub(r"<(?:\w+:)?app_id>", key, rule.rule))
                for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
                    with api.test_client(use_cookies=False) as client:
                        answer = client.open(path, method=method, headers=only_blog)
                    error = answer.get_json()["error"]
                    wanted = (404, "app_not_found") if key else (403, "insufficient_scope")
                    assert (answer.status_code, error["code"]) == wanted, f"{method} {path}"
                    assert not key or error["message"] == f"there is no app {key!r}"
                    walked += 1
        assert walked > 20

    def test_only_these_routes_look_after_themselves(self, api: Flask) -> None:
        known = {name for name, view in api.view_functions.items() if getattr(view, "filtered", False)}
        assert known == self.FILTERED

    def test_it_sees_its_own_app_and_changes_it(self, api: Flask, only_blog: dict[str, str]) -> None:
        client = api.test_client(use_cookies=False)
        assert [app["name"] for app in client.get("/api/v1/apps", headers=only_blog).get_json()["items"]] == ["blog"]
        answer = client.put("/api/v1/apps/blog/env", json={"key": "A", "value": "b"}, headers=only_blog)
        assert answer.status_code == 200

    @pytest.mark.parametrize("name", ["shop", "new"])
    def test_it_imports_no_other_app(self, api: Flask, only_blog: dict[str, str], name: str) -> None:
        client = api.test_client(use_cookies=False)
        answer = client.post("/api/v1/apps/import", json={"repository": REPOSITORY, "name": name}, headers=only_blog)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "insufficient_scope")
        assert sorted(app.name for app in App.select()) == ["blog", "shop"]

    def test_a_new_app_of_an_old_name_is_another_app(self, api: Flask, only_blog: dict[str, str]) -> None:
        App.delete().where(App.name == "blog").execute()
        App.create(name="blog")
        client = api.test_client(use_cookies=False)
        assert client.get("/api/v1/apps/blog", headers=only_blog).status_code == 404
        assert client.get("/api/v1/apps", headers=only_blog).get_json()["items"] == []


def test_a_route_without_a_scope_does_not_register() -> None:
    for scope in (None, "", "root", "write"):
        with pytest.raises(TypeError, match="scope"):
            Resource("x", __name__).route("/x", scope=scope)


class TestBootstrap:
    """Open only while there has never been a user or token, and only from this host itself."""

    @pytest.fixture
    def client(self, api: Flask) -> FlaskClient:
        return api.test_client()

    @staticmethod
    def ask(client: FlaskClient, address: str = "127.0.0.1", **headers: str) -> int:
        environment: dict[str, Any] = {"REMOTE_ADDR": address}
        return client.get("/api/v1/tokens", environ_overrides=environment, headers=headers).status_code

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1"])
    def test_it_is_open_from_loopback(self, client: FlaskClient, address: str) -> None:
        assert self.ask(client, address) == 200

    @pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "0.0.0.0", "::ffff:192.0.2.1"])
    def test_it_is_closed_from_elsewhere(self, client: FlaskClient, address: str) -> None:
        assert self.ask(client, address) == 401

    @pytest.mark.parametrize("header", FORWARDED)
    def test_it_is_closed_for_what_a_proxy_passes_on(self, client: FlaskClient, header: str) -> None:
        assert self.ask(client, **{header: "for=192.0.2.1"}) == 401

    def test_a_wrong_token_does_not_open_it(self, client: FlaskClient) -> None:
        assert self.ask(client, Authorization="Bearer rpt_x") == 401

    def test_the_first_token_closes_it_for_good(self, client: FlaskClient) -> None:
        made = client.post("/api/v1/tokens", json={"name": "first", "scopes": ["admin"]})
        assert made.status_code == 201
        assert self.ask(client) == 401
        Token.delete().execute()
        assert self.ask(client) == 401

    def test_the_first_user_closes_it_for_good(self, client: FlaskClient) -> None:
        auth.reset_admin_password("admin@localhost")
        User.delete().execute()
        assert self.ask(client) == 401
        assert Meta.select().where(Meta.key == "bootstrap_closed").count() == 1
