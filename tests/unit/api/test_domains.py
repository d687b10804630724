"""/apps/{app}/domains: a name leads to one app, a certificate is right before visitors see it, no answer has a key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from rustploy_agent import auth, domains
from rustploy_agent.config import Settings
from rustploy_agent.models import Domain
from tests.unit.api.conftest import Client
from tests.unit.certificate_authority import DAY, Issued, issue

pytestmark = pytest.mark.processes
NAME = "www.example.org"


@pytest.fixture(scope="module")
def issued() -> Issued:
    return issue(NAME, "*.example.net")


def upload(issued: Issued, **more: Any) -> dict[str, Any]:
    return {"domain": NAME, "certificate": issued.certificate, "private_key": issued.key} | more


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 400, answer.get_json()
    return [detail["field"] for detail in answer.get_json()["error"]["details"]]


def test_a_domain_is_managed_unless_said_otherwise(admin: Client, blog: str) -> None:
    made = admin("POST", f"/apps/{blog}/domains", {"domain": "Bücher.example"})
    assert made.status_code == 201
    about = made.get_json()
    assert (about["domain"], about["tls_mode"], about["cert_path"]) == ("xn--bcher-kva.example", "managed", None)
    assert admin("GET", f"/apps/{blog}/domains").get_json()["items"][0]["id"] == about["id"]
    for key in (about["id"], about["domain"]):
        assert admin("GET", f"/apps/{blog}/domains/{key}").get_json()["domain"] == about["domain"]


def test_a_domain_says_what_is_the_matter_with_it(admin: Client, blog: str) -> None:
    state = admin("POST", f"/apps/{blog}/domains", {"domain": "nothing.invalid"}).get_json()["state"]
    assert state["ok"] is state["dns"]["ok"] is state["certificate"]["ok"] is False
    assert state["dns"]["message"]
    assert state["certificate"]["message"]


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "192.0.2.1", "http://a.org", "a.org:80", "", None, 5])
def test_what_is_no_public_name_is_refused(admin: Client, blog: str, name: object) -> None:
    assert fields(admin("POST", f"/apps/{blog}/domains", {"domain": name})) == ["domain"]


def test_a_name_belongs_to_one_app(admin: Client, blog: str) -> None:
    other = admin("POST", "/apps", {"name": "shop"}).get_json()["id"]
    admin("POST", f"/apps/{blog}/domains", {"domain": NAME})
    for app in (blog, other):
        assert admin.code("POST", f"/apps/{app}/domains", {"domain": NAME.upper()}) == (409, "domain_taken")
    assert admin.code("GET", f"/apps/{other}/domains/{NAME}") == (404, "domain_not_found")
    assert admin("DELETE", f"/apps/{blog}/domains/{NAME}").status_code == 204
    assert admin("POST", f"/apps/{other}/domains", {"domain": NAME}).status_code == 201


class TestNamesThatAreTaken:
    """Those that apps and the API have by themselves."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        ingress = dataclasses.replace(settings.ingress, base_domain="apps.example.org")
        return dataclasses.replace(settings, ingress=ingress, api_domain="api.example.org")

    def test_they_are_refused(self, admin: Client, blog: str) -> None:
        admin("POST", "/apps", {"name": "shop"})
        for name in ("shop.apps.example.org", "blog.apps.example.org", "API.example.org"):
            assert admin.code("POST", f"/apps/{blog}/domains", {"domain": name}) == (409, "domain_taken")

    def test_no_app_is_made_whose_address_another_one_has(self, admin: Client, blog: str) -> None:
        """Else its visitors, with their passwords, come to the other one, at an address that the API shows for it."""
        made = admin("POST", f"/apps/{blog}/domains", {"domain": "shop.apps.example.org"})
        assert made.status_code == 201
        assert admin.code("POST", "/apps", {"name": "shop"}) == (409, "domain_taken")
        assert admin("GET", "/apps/shop").status_code == 404
        admin("DELETE", f"/apps/{blog}/domains/shop.apps.example.org")
        assert admin("POST", "/apps", {"name": "shop"}).status_code == 201

    def test_the_wildcard_of_all_addresses_is_not_for_those_of_one_app(
        self, admin: Client, api: Flask, blog: str
    ) -> None:
        """It would get the visitors of every app that is yet to come."""
        wild = "*.apps.example.org"
        own = issue(wild)
        request = {"domain": wild, "certificate": own.certificate, "private_key": own.key}
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
        assert fields(restricted("POST", f"/apps/{blog}/domains", request)) == ["domain"]
        assert admin("POST", f"/apps/{blog}/domains", request).status_code == 201

    def test_a_certificate_for_one_is_not_for_those_of_one_app(self, admin: Client, api: Flask, blog: str) -> None:
        name = "www.example.com"
        own = issue(name, "shop.apps.example.org")
        request = {"domain": name, "certificate": own.certificate, "private_key": own.key}
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
        assert fields(restricted("POST", f"/apps/{blog}/domains", request)) == ["certificate"]

    @pytest.mark.parametrize(
        "name",
        [
            *("apps.example.org", "example.org", "*.example.org", "shop.apps.example.org", "tocome.apps.example.org"),
            *("x.shop.apps.example.org", "*.shop.apps.example.org", "a.b.tocome.apps.example.org"),
            *("xblog.apps.example.org", "blog.blog2.apps.example.org", "API.example.org", "x.api.example.org"),
        ],
    )
    def test_a_token_for_one_app_does_not_get_them(self, admin: Client, api: Flask, blog: str, name: str) -> None:
        """Else it gets the visitors, and their cookies, of the API, of another app, or of one that is yet to come."""
        admin("POST", "/apps", {"name": "shop"})
        own = issue(name.lower())
        request = {"domain": name, "certificate": own.certificate, "private_key": own.key}
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
        assert fields(restricted("POST", f"/apps/{blog}/domains", request)) == ["domain"]
        assert not Domain.select().exists()

    @pytest.mark.parametrize("name", ["x.blog.apps.example.org", "*.blog.apps.example.org", "www.example.com"])
    def test_a_token_for_one_app_gets_names_below_its_own_and_free_ones(
        self, admin: Client, api: Flask, blog: str, name: str
    ) -> None:
        own = issue(name)
        request = {"domain": name, "certificate": own.certificate, "private_key": own.key}
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
        assert restricted("POST", f"/apps/{blog}/domains", request).status_code == 201

    @pytest.mark.parametrize(
        ("taken", "wanted"),
        [("*.example.com", "a.example.com"), ("a.example.com", "*.example.com"), ("a.example.com", "a.example.com")],
    )
    def test_a_token_for_one_app_gets_no_visitors_of_another(
        self, admin: Client, api: Flask, blog: str, taken: str, wanted: str
    ) -> None:
        """A name goes before the other's wildcard, and a wildcard's certificate may be shown for the other's name."""
        admin("POST", "/apps", {"name": "shop"})
        first, own = issue(taken), issue(wanted)
        request = {"domain": taken, "certificate": first.certificate, "private_key": first.key}
        assert admin("POST", "/apps/shop/domains", request).status_code == 201
        request = {"domain": wanted, "certificate": own.certificate, "private_key": own.key}
        restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
        assert restricted("POST", f"/apps/{blog}/domains", request).status_code in (400, 409)
        assert Domain.select().count() == 1

    def test_others_beside_them_are_free(self, admin: Client, blog: str) -> None:
        for name in ("www.apps.example.org", "www.shop.apps.example.org", "apps.example.org"):
            assert admin("POST", f"/apps/{blog}/domains", {"domain": name}).status_code == 201


def test_a_token_for_some_apps_may_not_use_files_of_the_host(admin: Client, api: Flask, blog: str) -> None:
    restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
    request = {"domain": NAME, "cert_path": "/etc/ssl/c.pem", "key_path": "/etc/ssl/k.pem"}
    assert fields(restricted("POST", f"/apps/{blog}/domains", request)) == ["cert_path"]


@pytest.mark.parametrize(
    ("more", "right"),
    [
        (("example.org",), True),
        (("*.example.org",), False),
        (("shop.example.com",), False),
        (("own.example.com",), True),
        (("taken.example.com",), False),
    ],
)
def test_a_token_for_some_apps_gives_no_certificate_for_others_names(
    admin: Client, api: Flask, blog: str, more: tuple[str, ...], right: bool
) -> None:
    """The ingress takes any that names who is asked for, so visitors of another app, or of one to come, were warned."""
    shop = admin("POST", "/apps", {"name": "shop"}).get_json()["id"]
    for app, name in ((blog, "own.example.com"), (shop, "taken.example.com")):
        assert admin("POST", f"/apps/{app}/domains", {"domain": name}).status_code == 201
    request = upload(issue(NAME, *more))
    restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
    answer = restricted("POST", f"/apps/{blog}/domains", request)
    if right:
        assert answer.status_code == 201, answer.get_json()
        return
    assert fields(answer) == ["certificate"]
    assert admin("POST", f"/apps/{blog}/domains", request).status_code == 201
    del request["domain"]
    assert fields(restricted("PATCH", f"/apps/{blog}/domains/{NAME}", request)) == ["certificate"]


def test_a_common_name_is_a_name_too(admin: Client, api: Flask, blog: str) -> None:
    """The ingress looks certificates up by it: visitors of another app would have been shown this one."""
    shop = admin("POST", "/apps", {"name": "shop"}).get_json()["id"]
    assert admin("POST", f"/apps/{shop}/domains", {"domain": "shop.example.com"}).status_code == 201
    restricted = Client(api, auth.create_token("ci", ["admin"], None, apps=[blog])[0])
    wrong = upload(issue(NAME, common_name="Shop.example.com"))
    assert fields(restricted("POST", f"/apps/{blog}/domains", wrong)) == ["certificate"]
    assert restricted("POST", f"/apps/{blog}/domains", upload(issue(NAME, common_name="Acme Inc."))).status_code == 201


class TestCertificates:
    def test_text_around_an_upload_is_not_kept(self, admin: Client, blog: str, issued: Issued) -> None:
        """The ingress would read it in its own way, and find another certificate in it."""
        hidden = f"x{issued.certificate}{issue('api.example.org').certificate}"
        assert admin("POST", f"/apps/{blog}/domains", upload(issued, certificate=hidden)).status_code == 201
        assert Domain.get().certificate == hidden.removeprefix("x")

    def test_an_upload_is_used_and_its_key_never_shown(self, admin: Client, blog: str, issued: Issued) -> None:
        made = admin("POST", f"/apps/{blog}/domains", upload(issued))
        assert made.status_code == 201, made.get_json()
        assert made.get_json()["tls_mode"] == "custom"
        assert made.get_json()["state"]["certificate"]["message"] == "valid"
        secret = issued.key.splitlines()[1]
        assert secret not in made.text + admin("GET", f"/apps/{blog}/domains").text
        assert secret not in Domain.get().private_key

    def test_files_of_the_host_are_used(self, admin: Client, blog: str, issued: Issued, tmp_path: Path) -> None:
        (tmp_path / "c.pem").write_text(issued.certificate)
        (tmp_path / "k.pem").write_text(issued.key)
        (tmp_path / "k.pem").chmod(0o600)
        paths = {"cert_path": str(tmp_path / "c.pem"), "key_path": str(tmp_path / "k.pem")}
        made = admin("POST", f"/apps/{blog}/domains", {"domain": NAME, "tls_mode": "custom"} | paths)
        assert made.status_code == 201, made.get_json()
        (tmp_path / "k.pem").chmod(0o644)
        state = admin("POST", f"/apps/{blog}/domains/{NAME}/verify").get_json()["state"]
        assert state["certificate"]["ok"] is False
        assert "is open to every user" in state["certificate"]["message"]

    def test_a_wrong_one_is_refused_and_nothing_stays(self, admin: Client, blog: str, issued: Issued) -> None:
        expired, other = issue(NAME, begins=-2 * DAY, ends=-DAY), issue("other.example.org")
        wrong = [
            ("certificate", upload(expired)),
            ("certificate", upload(other)),
            ("private_key", upload(issued, private_key=other.key)),
            ("private_key", upload(issued, private_key=issued.certificate)),
            ("certificate", upload(issued, certificate="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")),
        ]
        for field, request in wrong:
            answer = admin("POST", f"/apps/{blog}/domains", request)
            assert (answer.get_json()["error"]["code"], fields(answer)) == ("invalid_certificate", [field])
        assert not Domain.select().exists()

    @pytest.mark.parametrize(
        "more",
        [
            {"tls_mode": "custom"},
            {"certificate": "-----BEGIN x"},
            {"cert_path": "/c.pem"},
            {"tls_mode": "managed", "cert_path": "/c", "key_path": "/k"},
        ],
    )
    def test_half_a_certificate_is_refused(self, admin: Client, blog: str, more: dict[str, Any]) -> None:
        assert fields(admin("POST", f"/apps/{blog}/domains", {"domain": NAME} | more)) == ["tls_mode"]

    def test_a_path_is_absolute_and_readable(self, admin: Client, blog: str) -> None:
        for path in ("c.pem", "/etc/../etc/c.pem", "/nowhere.pem", "/"):
            request = {"domain": NAME, "cert_path": path, "key_path": "/nowhere.key"}
            assert fields(admin("POST", f"/apps/{blog}/domains", request)) == ["cert_path"]

    def test_a_wildcard_needs_one_of_its_own(self, admin: Client, blog: str, issued: Issued) -> None:
        assert fields(admin("POST", f"/apps/{blog}/domains", {"domain": "*.example.net"})) == ["tls_mode"]
        assert admin("POST", f"/apps/{blog}/domains", upload(issued, domain="*.example.net")).status_code == 201

    def test_another_certificate_takes_its_place(self, admin: Client, blog: str, issued: Issued) -> None:
        admin("POST", f"/apps/{blog}/domains", {"domain": NAME})
        newer = {"certificate": issued.certificate, "private_key": issued.key}
        assert admin("PATCH", f"/apps/{blog}/domains/{NAME}", newer).get_json()["tls_mode"] == "custom"
        back = admin("PATCH", f"/apps/{blog}/domains/{NAME}", {"tls_mode": "managed"})
        assert back.get_json()["tls_mode"] == "managed"
        assert (Domain.get().certificate, Domain.get().private_key) == (None, None)


class TestRedirects:
    @pytest.fixture(autouse=True)
    def apex(self, admin: Client, blog: str) -> None:
        admin("POST", f"/apps/{blog}/domains", {"domain": "example.org"})

    def test_www_leads_to_the_apex_and_back(self, admin: Client, blog: str) -> None:
        made = admin("POST", f"/apps/{blog}/domains", {"domain": NAME, "redirect_to": "example.org"})
        assert made.get_json()["redirect_to"] == "example.org"
        ended = admin("PATCH", f"/apps/{blog}/domains/{NAME}", {"redirect_to": None})
        assert ended.get_json()["redirect_to"] is None
        turned = admin("PATCH", f"/apps/{blog}/domains/example.org", {"redirect_to": NAME})
        assert turned.get_json()["redirect_to"] == NAME

    @pytest.mark.parametrize("target", [NAME, "elsewhere.example.org", "localhost"])
    def test_it_leads_to_another_domain_of_the_app(self, admin: Client, blog: str, target: str) -> None:
        request = {"domain": NAME, "redirect_to": target}
        assert fields(admin("POST", f"/apps/{blog}/domains", request)) == ["redirect_to"]

    def test_never_in_a_circle_nor_into_nothing(self, admin: Client, blog: str) -> None:
        admin("POST", f"/apps/{blog}/domains", {"domain": NAME, "redirect_to": "example.org"})
        turned = admin("PATCH", f"/apps/{blog}/domains/example.org", {"redirect_to": NAME})
        assert fields(turned) == ["redirect_to"]
        assert admin.code("DELETE", f"/apps/{blog}/domains/example.org") == (409, "domain_in_use")

    def test_of_two_changes_at_once_both_are_made(
        self, admin: Client, blog: str, issued: Issued, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the redirect that somebody has just made is gone with another's certificate, and nobody is told."""
        admin("POST", f"/apps/{blog}/domains", {"domain": NAME})
        check = domains._check_tls

        def while_it_is_checked(*arguments: Any) -> domains.Tls:
            checked = check(*arguments)
            Domain.update(redirect_to="example.org").where(Domain.name == NAME).execute()
            return checked

        monkeypatch.setattr(domains, "_check_tls", while_it_is_checked)
        newer = {"certificate": issued.certificate, "private_key": issued.key}
        changed = admin("PATCH", f"/apps/{blog}/domains/{NAME}", newer).get_json()
        assert (changed["tls_mode"], changed["redirect_to"]) == ("custom", "example.org")
