"""Domains for real: certificates by ACME from a second Caddy, certificates of one's own, and states in true words.

The machine shares the host's network, so the ingress of these tests listens on loopback addresses of its own: there the
ports 80 and 443, at which a certificate authority calls back, are free.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.helpers import (
    Deployments,
    deployments,
    quick_settings,
    replace_settings,
    restore_settings,
    server,
)
from tests.machine import Machine
from tests.unit.certificate_authority import STRANGE_LINK, issue

DIRECTORY = "https://ca.example.test/acme/local/directory"
CONFIGURATION = "/var/lib/rustploy/routes/caddy.json"
CA, ROOT = "/var/tmp/test-ca", "/etc/rustploy-test-ca.crt"
NAMES = ("www.example.test", "example.test", "lost.example.test", "ca.example.test", "own.example.test")
WILD, IDN = "any.wild.example.test", "xn--bcher-kva.example.test"


class Site:
    """The addresses of this machine's ingress and of its certificate authority, and how a visitor sees a name."""

    def __init__(self, machine: Machine, api: Deployments) -> None:
        self.machine, self.api = machine, api
        number = machine.place.number
        self.ingress, self.ca = (f"127.77.{number}.{last}" for last in (1, 2))

    def visit(self, url: str, *options: str) -> tuple[int, str]:
        """Status (0: no answer that a browser would take) and body."""
        done = self.machine.run(
            ["curl", "--silent", "--max-time", "10", "--cacert", ROOT, "--write-out", "\n%{http_code}", *options, url],
            check=False,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def renew(self, name: str) -> None:
        """As Caddy always does it, only that nearly the whole life of a certificate counts as its end.

        Without the agent, which would put the configuration right.
        """
        stored = f"/var/lib/rustploy/ingress/caddy/certificates/*/{name}/{name}.crt"
        before = self.machine.run(["sh", "-c", f"cat {stored}"]).stdout
        self.machine.run(["systemctl", "stop", "rustploy-agent.service"])
        configuration = json.loads(self.machine.read(CONFIGURATION))
        configuration["apps"]["tls"]["automation"]["policies"][0]["renewal_window_ratio"] = 0.99999
        self.machine.run(["tee", CONFIGURATION], input=json.dumps(configuration))
        try:
            self.machine.run(["systemctl", "restart", "rustploy-ingress.service"])
            # A challenge that fails once is tried again after a minute.
            self.machine.wait_for(
                lambda: self.machine.run(["sh", "-c", f"cat {stored}"]).stdout != before, 180, f"{name} to be renewed"
            )
        except AssertionError as late:
            said = self.machine.run(["journalctl", "--unit=rustploy-ingress", "--output=cat", "--lines=60"]).stdout
            raise AssertionError(f"{late}\n{said}") from None
        finally:
            self.machine.run(["systemctl", "start", "rustploy-agent.service"])
            self.machine.wait_for_agent()

    def domain(self, app: str, name: str) -> dict[str, Any]:
        return dict(self.machine.http("POST", f"/api/v1/apps/{app}/domains/{name}/verify").body)

    def wait_for_certificate(self, app: str, name: str) -> dict[str, Any]:
        def there() -> dict[str, Any]:
            state = self.domain(app, name)["state"]["certificate"]
            return state if state["ok"] else {}

        return self.machine.wait_for(there, 60, f"{name} to have a certificate")


@pytest.fixture(scope="module")
def site(session_machine: Machine) -> Iterator[Site]:
    """An app behind an ingress that gets its certificates from a Caddy acting as certificate authority."""
    machine = session_machine
    for api in deployments(machine):
        site = Site(machine, api)
        hosts = machine.read("/etc/hosts") if machine.exists("/etc/hosts") else ""
        leads = dict.fromkeys((*NAMES, WILD, IDN), site.ingress) | {"ca.example.test": site.ca}
        machine.write("/etc/hosts", hosts + "".join(f"{address} {name}\n" for name, address in leads.items()))
        before = _with_authority(site)
        try:
            yield site
        finally:
            restore_settings(machine, before)
            machine.write("/etc/hosts", hosts)
            machine.run(["systemctl", "stop", "test-ca.service"], check=False)


def _start_authority(site: Site, *before: dict[str, Any]) -> None:
    """With these routes before its own."""
    site.machine.run(["systemctl", "stop", "test-ca.service"], check=False)
    site.machine.write(f"{CA}/caddy.json", json.dumps(_authority(site, *before)))
    environment = [f"--setenv=HOME={CA}", f"--setenv=XDG_DATA_HOME={CA}"]
    argv = ["systemd-run", "--quiet", "--unit=test-ca", *environment, "caddy", "run", "--config", f"{CA}/caddy.json"]
    site.machine.run(argv)
    site.machine.wait_for(lambda: site.visit(DIRECTORY, "--insecure")[0] == 200, 30, "the authority to answer")


def _with_authority(site: Site) -> str:
    machine = site.machine
    _start_authority(site)
    made = f"{CA}/caddy/pki/authorities/local/root.crt"
    machine.write(ROOT, machine.read(made))
    ingress = {"addresses": [site.ingress], "http_port": 80, "https_port": 443, "tls": "acme"}
    acme = {"directory": DIRECTORY, "ca_root": ROOT}
    return replace_settings(machine, quick_settings(machine, ingress=ingress | {"acme": acme}, api={}))


def _authority(site: Site, *before: dict[str, Any]) -> dict[str, Any]:
    name = "ca.example.test"
    route = {"match": [{"host": [name]}], "handle": [{"handler": "acme_server", "ca": "local", "host": name}]}
    routes = {"routes": [*before, route]}
    listener = {"listen": [f"{site.ca}:443"], "automatic_https": {"disable_redirects": True}} | routes
    return {
        "admin": {"disabled": True},
        "apps": {
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            "http": {"servers": {"ca": listener}},
            "tls": {"automation": {"policies": [{"subjects": [name], "issuers": [{"module": "internal"}]}]}},
        },
    }


@pytest.fixture(scope="module")
def blog(site: Site) -> str:
    app = site.api.create("blog", server("1"))
    site.api.healthy(app)
    return app


def add(site: Site, app: str, name: str, **more: Any) -> dict[str, Any]:
    answer = site.machine.http("POST", f"/api/v1/apps/{app}/domains", {"domain": name} | more)
    assert answer.status == 201, answer.body
    return dict(answer.body)


def test_a_managed_domain_gets_its_certificate_and_a_newer_one_in_time(site: Site, blog: str) -> None:
    add(site, blog, "www.example.test")
    first = site.wait_for_certificate(blog, "www.example.test")
    assert "Caddy" in first["issuer"]
    state = site.domain(blog, "www.example.test")["state"]
    assert state["dns"]["addresses"] == [site.ingress]
    assert site.visit("https://www.example.test/") == (200, "1")
    status, _ = site.visit("http://www.example.test/x")
    assert status == 308

    time.sleep(1.1)  # a certificate counts its time in seconds
    site.renew("www.example.test")
    second = site.wait_for_certificate(blog, "www.example.test")
    assert second["valid_until_unix_ms"] > first["valid_until_unix_ms"]
    assert site.visit("https://www.example.test/") == (200, "1")


def test_a_certificate_of_ones_own_serves_with_and_without_the_agent(site: Site, blog: str) -> None:
    own = issue("own.example.test")
    add(site, blog, "own.example.test", certificate=own.certificate, private_key=own.key)
    site.machine.write("/var/tmp/own.crt", own.certificate)
    visit = ("https://own.example.test/", "--cacert", "/var/tmp/own.crt")
    site.machine.wait_for(lambda: site.visit(*visit) == (200, "1"), 20, "the uploaded certificate to be served")
    site.machine.run(["systemctl", "stop", "rustploy-agent.service"])
    site.machine.run(["systemctl", "restart", "rustploy-ingress.service"])
    try:
        site.machine.wait_for(lambda: site.visit(*visit) == (200, "1"), 20, "the ingress to be back by itself")
        assert site.visit("https://www.example.test/") == (200, "1")
    finally:
        site.machine.run(["systemctl", "start", "rustploy-agent.service"])
        site.machine.wait_for_agent()
    found = site.machine.run(["grep", "-rlF", own.key.splitlines()[1], "/var/lib/rustploy/agent"], check=False)
    assert found.stdout == "", "the private key lies open beside the database"


def test_a_wildcard_and_an_international_name_serve_from_files_that_are_read_anew(site: Site, blog: str) -> None:
    """Else whoever renews certificates by other means has them expire, and names in other scripts have none."""
    machine, directory = site.machine, "/etc/rustploy-own"
    paths = {"cert_path": f"{directory}/cert.pem", "key_path": f"{directory}/key.pem"}

    def renew() -> str:
        pair = issue("*.wild.example.test", IDN)
        machine.write(paths["cert_path"], pair.certificate)
        machine.write(paths["key_path"], pair.key, 0o640, "root:rustploy")
        return pair.certificate

    def visits(name: str, certificate: str) -> bool:
        machine.write("/var/tmp/own.crt", certificate)
        return site.visit(f"https://{name}/", "--cacert", "/var/tmp/own.crt") == (200, "1")

    first = renew()
    assert add(site, blog, "*.wild.example.test", **paths)["state"]["certificate"]["ok"]
    assert add(site, blog, "bücher.example.test", **paths)["domain"] == IDN
    machine.wait_for(lambda: visits(WILD, first) and visits(IDN, first), 20, "the certificate to be served")
    second = renew()
    assert not visits(WILD, second)
    assert (
        machine.http("DELETE", f"/api/v1/apps/{blog}/domains/{IDN}").status == 204
    )  # it looks at the files, as at times
    machine.wait_for(lambda: visits(WILD, second), 20, "the newer certificate to be served")
    assert machine.http("DELETE", f"/api/v1/apps/{blog}/domains/*.wild.example.test").status == 204


def test_no_certificate_keeps_others_from_being_served(site: Site, blog: str) -> None:
    """One app's upload, which only the ingress finds wrong, would keep every other app's domain from being served."""
    strange = issue("strange.example.test", more=(STRANGE_LINK,))
    made = add(site, blog, "strange.example.test", certificate=strange.certificate, private_key=strange.key)
    assert made["state"]["certificate"]["ok"] is False
    assert made["state"]["certificate"]["message"].startswith("the certificate is refused by the ingress: x509: ")
    good = issue("good.example.test")
    site.machine.write("/var/tmp/good.crt", good.certificate)
    add(site, blog, "good.example.test", certificate=f"note\n{good.certificate}note\n", private_key=good.key)
    visit = ("https://good.example.test/", "--cacert", "/var/tmp/good.crt", "--resolve")

    def served() -> bool:
        return site.visit(*visit, f"good.example.test:443:{site.ingress}") == (200, "1")

    site.machine.wait_for(served, 20, "the other certificate to be served")
    site.machine.run(["systemctl", "restart", "rustploy-ingress.service"])
    site.machine.wait_for(served, 20, "the ingress to start without the one that it refuses")

    site.machine.run(["systemctl", "stop", "rustploy-agent.service"])
    configuration = json.loads(site.machine.read(CONFIGURATION))
    pairs = configuration["apps"]["tls"]["certificates"]["load_pem"]
    pairs.insert(0, {"certificate": strange.certificate, "key": strange.key})
    site.machine.run(["tee", CONFIGURATION], input=json.dumps(configuration))
    try:
        site.machine.run(["systemctl", "restart", "rustploy-ingress.service"], check=False)
        assert not served(), "it starts from a certificate that it refuses"
    finally:
        site.machine.run(["systemctl", "start", "rustploy-agent.service"])
        site.machine.wait_for_agent()
    site.machine.wait_for(served, 30, "the ingress to start from what a newer Caddy takes")
    for name in ("strange.example.test", "good.example.test"):
        assert site.machine.http("DELETE", f"/api/v1/apps/{blog}/domains/{name}").status == 204


def test_a_wildcard_takes_no_visitors_from_another_app(site: Site, blog: str) -> None:
    """Else whoever may give one app its domains reads what visitors send to the others."""
    machine, other = site.machine, site.api.create("aaa", server("2"))
    site.api.healthy(other)
    pair = issue("*.example.test")
    machine.write("/var/tmp/own.crt", pair.certificate)
    add(site, other, "*.example.test", certificate=pair.certificate, private_key=pair.key)
    free = ("https://lost.example.test/", "--cacert", "/var/tmp/own.crt")
    machine.wait_for(lambda: site.visit(*free) == (200, "2"), 20, "the wildcard to be served")
    assert site.visit("https://www.example.test/") == (200, "1")
    site.api.delete(other)


def test_www_leads_to_the_apex_over_https(site: Site, blog: str) -> None:
    add(site, blog, "example.test", redirect_to="www.example.test")
    site.wait_for_certificate(blog, "example.test")
    option = ("--write-out", "%{redirect_url}\n%{http_code}")
    assert site.visit("https://example.test/a?b=c", *option) == (308, "https://www.example.test/a?b=c")


def test_a_deleted_domain_is_gone_from_the_ingress(site: Site, blog: str) -> None:
    assert site.machine.http("DELETE", f"/api/v1/apps/{blog}/domains/own.example.test").status == 204
    assert site.visit("https://own.example.test/", "--insecure")[0] in (0, 404)


def test_a_refused_certificate_says_why(site: Site, blog: str) -> None:
    problem = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "this name is on no list of ours"}
    headers = {"Content-Type": ["application/problem+json"]}
    refusal = {"handler": "static_response", "status_code": 403, "headers": headers, "body": json.dumps(problem)}
    _start_authority(site, {"match": [{"path": ["*/new-order"]}], "handle": [refusal], "terminal": True})
    add(site, blog, "lost.example.test")

    def told() -> str:
        message = str(site.domain(blog, "lost.example.test")["state"]["certificate"]["message"])
        return message if "being asked for" not in message else ""

    message = site.machine.wait_for(told, 60, "the refusal to show up in the domain's state")
    assert message.startswith("there is no certificate yet: ")
    assert "this name is on no list of ours" in message
    assert site.visit("https://www.example.test/") == (200, "1"), "one domain's trouble must not touch another"
