"""What was tried on domains by somebody who wanted more than an app's own names, and held."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from flask import Flask

from rustploy_agent import auth, vault
from rustploy_agent.clock import new_id
from rustploy_agent.config import Settings
from rustploy_agent.models import Domain
from tests.unit.api.conftest import Client
from tests.unit.caddy import Caddy
from tests.unit.certificate_authority import Issued, issue

pytestmark = pytest.mark.processes

#: Ways to write api.example.org that are not those letters: wide ones, other dots, a soft hyphen, circles, bold ones.
DISGUISED = (
    *("API.example.org", "\uff41\uff50\uff49.example.org", "api\u3002example.org", "api\uff0eexample\uff0eorg"),
    *("ap\u00adi.example.org", "\u24d0\u24df\u24d8.example.org", "\U0001d41a\U0001d429\U0001d422.example.org"),
)
#: What is no name, and would be more than a name in a configuration, a log line, a path or a command.
NO_NAMES = (
    *("api.example.org.", ".example.org", "example..org", "*", "*.*.example.org", "a.*.example.org", "**.example.org"),
    *("{http.request.host}", "{env.HOME}.example.org", "a.example.org\nRUSTPLOY_APP=shop", "a.example.org\0"),
    *("../../etc/passwd", "a.example.org/../x", "$(id).example.org", '"},"x":{"example.org', "a_b.example.org"),
    *("xn--api-.example.org", "xn--a.example.org", "-a.example.org", "a-.example.org", "a" * 64 + ".example.org"),
    *(".".join(["a" * 60] * 5) + ".org", "0x7f000001", "127.1", "[::1]", "2130706433", "a.localhost", "rustploy.local"),
    *("\u202egro.elpmaxe", "a\u200d.example.org", "ex ample.org", "\ud800.example.org"),
)
#: Files that are no certificates, or no files.
NO_FILES = (
    "/etc/shadow",
    "/dev/zero",
    "/proc/self/environ",
    "/proc/1/mem",
    "/var/lib/rustploy/key/vault.key",
    "/dev/stdin",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    ingress = dataclasses.replace(settings.ingress, base_domain="apps.example.org")
    return dataclasses.replace(settings, ingress=ingress, api_domain="api.example.org")


@pytest.fixture(scope="module")
def issued() -> Issued:
    return issue("shop.example.com")


@pytest.fixture
def eve(admin: Client, api: Flask, blog: str, issued: Issued, settings: Settings) -> Client:
    """Who has an admin's token for the app blog alone; shop is another one, with a domain and a certificate."""
    shop, identity = admin("POST", "/apps", {"name": "shop"}).get_json()["id"], new_id()
    sealed = vault.unlock(settings.paths).seal(issued.key, "domain", identity)
    about = {"tls_mode": "custom", "certificate": issued.certificate, "private_key": sealed}
    Domain.create(id=identity, app=shop, name="shop.example.com", **about)
    return Client(api, auth.create_token("eve", ["admin"], None, apps=[blog])[0])


@pytest.fixture
def victim(eve: Client) -> Domain:
    domain: Domain = Domain.get()
    return domain


def test_a_disguised_name_of_the_api_is_the_api_s(eve: Client, admin: Client, blog: str) -> None:
    for name in DISGUISED:
        for client in (eve, admin):
            assert client("POST", f"/apps/{blog}/domains", {"domain": name}).status_code in (400, 409), ascii(name)
    assert Domain.select().count() == 1


def test_what_is_no_name_reaches_nothing(eve: Client, blog: str, ingress: Caddy) -> None:
    loaded, before = ingress.loaded, json.dumps(ingress.document)
    for name in NO_NAMES:
        for wish in ({"domain": name}, {"domain": "x.example.com", "redirect_to": name}):
            assert eve("POST", f"/apps/{blog}/domains", wish).status_code == 400, ascii(name)
    assert Domain.select().count() == 1
    assert (ingress.loaded, json.dumps(ingress.document)) == (loaded, before)


def test_another_app_s_domain_is_out_of_reach_by_id_and_by_name(
    eve: Client, blog: str, victim: Domain, issued: Issued
) -> None:
    change = {"certificate": issued.certificate, "private_key": issued.key}
    shop, before = victim.app_id, victim.certificate
    for app in (blog, shop, "shop"):
        for key in (victim.id, victim.name, victim.name.upper()):
            path = f"/apps/{app}/domains/{key}"
            calls: list[tuple[str, str, Any]] = [("GET", path, None), ("PATCH", path, change), ("DELETE", path, None)]
            for method, where, body in [*calls, ("POST", f"{path}/verify", None)]:
                assert eve(method, where, body).status_code == 404, (method, where)
    for app in (shop, "shop"):
        assert eve("GET", f"/apps/{app}/domains").status_code == 404
        assert eve("POST", f"/apps/{app}/domains", {"domain": "x.example.com"}).status_code == 404
    assert (Domain.get().certificate, Domain.get().app_id) == (before, shop)


def test_visitors_are_sent_to_no_other_app_and_no_other_host(eve: Client, blog: str, victim: Domain) -> None:
    for target in (victim.name, "api.example.org", "shop.apps.example.org", "evil.example"):
        wish = {"domain": "x.example.com", "redirect_to": target}
        assert eve("POST", f"/apps/{blog}/domains", wish).status_code == 400
    assert Domain.select().count() == 1


@pytest.mark.parametrize(
    ("names", "common_name"),
    [
        (("SHOP.example.com",), "tests"),
        (("API.example.org",), "tests"),
        (("*.apps.example.org",), "tests"),
        ((), "shop.example.com"),
        ((), "API.example.org"),
    ],
)
def test_no_certificate_is_for_others_names(eve: Client, blog: str, names: tuple[str, ...], common_name: str) -> None:
    own = issue("x.example.com", *names, common_name=common_name)
    wish = {"domain": "x.example.com", "certificate": own.certificate, "private_key": own.key}
    answer = eve("POST", f"/apps/{blog}/domains", wish)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "invalid_certificate")


def test_no_file_of_the_host_is_read_to_anybody(admin: Client, eve: Client, blog: str) -> None:
    """Its content is in no answer, and nobody waits for a device."""
    for path in NO_FILES:
        for wish in ({"cert_path": path, "key_path": path}, {"cert_path": "/etc/hostname", "key_path": path}):
            assert eve("POST", f"/apps/{blog}/domains", {"domain": "x.example.com", **wish}).status_code == 400
            answer = admin("POST", f"/apps/{blog}/domains", {"domain": "x.example.com", **wish})
            assert answer.status_code == 400, path
            said = answer.get_json()["error"]["details"][0]["message"]
            assert "root:" not in said and "PATH=" not in said and len(said) < 300
    assert Domain.select().count() == 1


def test_a_private_key_is_in_no_answer(admin: Client, victim: Domain) -> None:
    secret = victim.private_key[:40]
    shown = admin("GET", "/apps/shop/domains").text + admin("GET", f"/apps/shop/domains/{victim.id}").text
    shown += admin("POST", f"/apps/shop/domains/{victim.id}/verify").text + admin("GET", "/audit").text
    assert secret not in shown and "PRIVATE KEY" not in shown and "BEGIN" not in shown


def test_an_app_fills_neither_the_table_nor_the_ingress(eve: Client, blog: str) -> None:
    Domain.insert_many(
        [{"id": new_id(), "app": blog, "name": f"n{number}.example.com"} for number in range(100)]
    ).execute()
    assert eve.code("POST", f"/apps/{blog}/domains", {"domain": "n.example.com"}) == (409, "too_many_domains")
