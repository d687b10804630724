"""The door to Caddy and the care for what it serves, against an admin API played on a real unix socket."""

from __future__ import annotations

import dataclasses
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rustploy_agent import pairs, vault
from rustploy_agent.config import Settings
from rustploy_agent.ingress import CertificateRefused, Ingress, IngressDown, IngressRefused
from rustploy_agent.models import App, Domain, Process
from rustploy_agent.routing import CONFIGURATION, Routing, urls
from tests.unit.caddy import Caddy
from tests.unit.certificate_authority import issue
from tests.unit.waiting import until

pytestmark = pytest.mark.processes


class Admin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    document: Any = None
    refusal: bytes | None = None
    hosts: tuple[str, ...] = ()


class Handler(BaseHTTPRequestHandler):
    server: Admin

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.server.hosts += (str(self.headers["Host"]),)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.server.document).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusal is not None:
            return self._answer(400, self.server.refusal)
        self.server.document = json.loads(body)
        self._answer(200, b"")


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with Admin(str(tmp_path / "admin.sock"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_was_loaded_runs(admin: Admin, tmp_path: Path) -> None:
    door = Ingress(tmp_path / "admin.sock")
    assert door.running() == {}, "a Caddy without any configuration answers null"
    door.load({"apps": {}})
    assert door.running() == {"apps": {}}
    assert set(admin.hosts) == {"rustploy-ingress"}, "another Host is refused by Caddy"


def test_a_refusal_is_told_in_caddy_s_own_words(admin: Admin, tmp_path: Path) -> None:
    admin.refusal = b'{"error":"listen tcp :80: bind: address already in use"}'
    with pytest.raises(IngressRefused, match="address already in use"):
        Ingress(tmp_path / "admin.sock").load({})


def test_a_certificate_that_caddy_does_not_take_is_told_apart(admin: Admin, tmp_path: Path) -> None:
    """By the words of Caddy 2.6; else one app's certificate keeps every other app's changes from being served."""
    admin.refusal = (
        b'{"error":"loading config: loading new config: loading tls app module: provision tls: loading certificates: '
        b'PEM pair 12: x509: cannot parse URI \\"https://a b/\\""}'
    )
    with pytest.raises(CertificateRefused) as caught:
        Ingress(tmp_path / "admin.sock").load({})
    assert (caught.value.place, caught.value.problem) == (12, "x509: cannot parse URI ")


def test_an_absent_ingress_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(IngressDown, match="journalctl -u rustploy-ingress"):
        Ingress(tmp_path / "admin.sock").running()


@pytest.fixture
def routing(settings: Settings, opened: None, ingress: Caddy) -> Routing:
    app = App.create(name="blog")
    Process.create(app=app, type="web", port_a=20000, port_b=20001)
    Domain.create(app=app, name="www.example.org")
    return Routing(settings, ingress)


def test_caddy_starts_from_what_it_has_taken(routing: Routing, settings: Settings, ingress: Caddy) -> None:
    """Else it serves after a reboot what it did before the last change, until the agent comes."""
    kept = settings.paths.routes / CONFIGURATION
    routing.update()
    assert json.loads(kept.read_text()) == ingress.document and "www.example.org" in kept.read_text()


def test_what_caddy_refuses_is_not_what_it_starts_from(routing: Routing, settings: Settings, ingress: Caddy) -> None:
    """Else a wrong certificate is an outage of everything at the next reboot."""
    routing.update()
    before = (settings.paths.routes / CONFIGURATION).read_text()
    Domain.update(name="other.example.org").execute()
    ingress.failure = IngressRefused("no")
    routing.update()
    assert (settings.paths.routes / CONFIGURATION).read_text() == before
    assert (routing.state, routing.problem) == ("down", "no")
    ingress.failure = None
    routing.update()
    assert routing.state == "ok" and "other.example.org" in str(ingress.document)


def own_certificate(name: str, settings: Settings) -> str:
    """Of a domain that is made for it."""
    pair = issue(name)
    domain = Domain.create(app=App.get(), name=name, tls_mode="custom", certificate=pair.certificate)
    sealed = vault.unlock(settings.paths).seal(pair.key, "domain", domain.id)
    Domain.update(private_key=sealed).where(Domain.id == domain.id).execute()
    return pair.certificate


def test_a_certificate_that_caddy_refuses_costs_its_own_domain_only(
    routing: Routing, settings: Settings, ingress: Caddy, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one app's upload keeps every other app's changes from being served, and all of it after a reboot."""
    ingress.unusable = {own_certificate(f"bad{number}.example.org", settings) for number in (1, 2)}
    good = own_certificate("good.example.org", settings)
    routing.update()
    assert (routing.state, ingress.loaded) == ("ok", 1)
    assert [pair["certificate"] for pair in pairs.of(ingress.document)] == [good]
    assert json.loads((settings.paths.routes / CONFIGURATION).read_text()) == ingress.document
    assert "bad1.example.org" in str(ingress.document), "its name is served, without a certificate"
    assert "the certificate of bad1.example.org: the certificate is refused by the ingress: x509" in caplog.text
    newer = own_certificate("newer.example.org", settings)
    routing.update()
    assert [pair["certificate"] for pair in pairs.of(ingress.document)] == [good, newer]
    ingress.unusable.add(own_certificate("third.example.org", settings))
    routing.update()
    assert (routing.state, ingress.loaded) == ("ok", 3)


def test_a_caddy_that_does_not_start_for_a_certificate_gets_a_file_without_it(
    routing: Routing, settings: Settings, ingress: Caddy
) -> None:
    """Else a newer Caddy, which refuses what an older one took, serves nobody after the upgrade of a host."""
    good, bad = (own_certificate(f"{name}.example.org", settings) for name in ("good", "late"))
    routing.update()
    kept = settings.paths.routes / CONFIGURATION
    assert [pair["certificate"] for pair in pairs.of(json.loads(kept.read_text()))] == [good, bad]
    ingress.failure, before = IngressDown("it does not start"), kept.read_text()
    routing.update()
    assert kept.read_text() == before, "an ingress that is only stopped keeps what it had"
    ingress.unusable = {bad}
    Routing(settings, ingress, ingress.refusal_of).update()
    assert [pair["certificate"] for pair in pairs.of(json.loads(kept.read_text()))] == [good]


def test_what_runs_as_it_should_is_not_loaded_again(routing: Routing, ingress: Caddy) -> None:
    """Each load ends every websocket."""
    for _ in range(3):
        routing.update()
    assert ingress.loaded == 1
    ingress.document["apps"] = {}
    routing.update()
    assert ingress.loaded == 2 and "www.example.org" in str(ingress.document)


def elsewhere(settings: Settings, ingress: Caddy, *addresses: str, **more: Any) -> Routing:
    """The agent after its settings were changed."""
    changed = dataclasses.replace(settings.ingress, addresses=addresses, **more)
    return Routing(dataclasses.replace(settings, ingress=changed), ingress)


def test_other_addresses_are_taken_once_those_before_are_left(
    routing: Routing, settings: Settings, ingress: Caddy
) -> None:
    """Caddy cannot listen on all addresses and on one of them; it would leave listeners behind that nobody serves."""
    routing.update()
    moved = elsewhere(settings, ingress, "127.0.0.1")
    moved.update()
    assert (moved.state, ingress.loaded) == ("ok", 3)
    before, between, after = ingress.history
    assert "apps" not in between and before["logging"] == after["logging"]
    listening = [server["listen"] for server in after["apps"]["http"]["servers"].values()]
    assert listening and all(address.startswith("127.0.0.1:") for (address,) in listening)


def test_addresses_of_another_host_are_told_and_cost_no_visitor_anything(
    routing: Routing, settings: Settings, ingress: Caddy
) -> None:
    routing.update()
    moved = elsewhere(settings, ingress, "127.0.0.1", "192.0.2.7")
    moved.update()
    assert moved.problem == "ingress.addresses: 192.0.2.7 is not of this host" and ingress.loaded == 1


def test_addresses_that_are_refused_all_the_same_leave_visitors_those_before(
    routing: Routing, settings: Settings, ingress: Caddy
) -> None:
    routing.update()
    before, ingress.refused = ingress.document, "127.0.0.1"
    moved = elsewhere(settings, ingress, "127.0.0.1")
    moved.update()
    assert (moved.problem, ingress.document) == ("no 127.0.0.1", before)


@pytest.mark.parametrize(
    "altered",
    [{"apps": None}, {"apps": {"http": None}}, {"apps": {"http": {"servers": None}}}]
    + [{"apps": {"http": {"servers": {"x": server}}}} for server in (None, {}, {"listen": None})],
)
def test_whatever_somebody_loaded_is_put_right(routing: Routing, ingress: Caddy, altered: dict[str, Any]) -> None:
    """Else the agent's care for the ingress ends with the first part that is null."""
    routing.update()
    right, ingress.document = ingress.document, altered
    routing.update()
    assert ingress.document == right


@pytest.mark.parametrize("content", [None, b"", b'{"apps": '])
def test_a_file_that_it_cannot_start_from_is_made_anew(
    routing: Routing, settings: Settings, ingress: Caddy, content: bytes | None
) -> None:
    routing.update()
    kept = settings.paths.routes / CONFIGURATION
    right = kept.read_bytes()
    kept.unlink()
    if content is not None:
        kept.write_bytes(content)
    ingress.failure = IngressDown("it does not answer")
    routing.update()
    assert kept.read_bytes() == right


def test_an_ingress_that_cannot_start_gets_other_ports_by_its_file(
    routing: Routing, settings: Settings, ingress: Caddy
) -> None:
    """Else a web server that has port 80 after a reboot keeps every app unreachable, whatever the settings say."""
    routing.update()
    ingress.failure = IngressDown("it does not answer")
    kept = settings.paths.routes / CONFIGURATION
    before = kept.read_bytes()
    Domain.update(name="other.example.org").execute()
    routing.update()
    assert kept.read_bytes() == before, "nothing but where it listens shall come to it unseen"
    elsewhere(settings, ingress, "", http_port=8081).update()
    assert ":8081" in kept.read_text() and "other.example.org" in kept.read_text()


def test_who_asks_how_the_ingress_is_has_it_looked_at(routing: Routing, ingress: Caddy) -> None:
    """Else monitoring learns minutes later that visitors reach no app."""
    routing.update()
    routing.watch()
    ingress.failure = IngressDown("nobody answers")
    routing.look()
    time.sleep(0.1)
    assert routing.state == "ok"  # looked at a moment ago; a crowd that asks costs no more than one
    routing._looked -= 60
    routing.look()
    until(lambda: routing.state == "down")


def test_a_removed_app_leaves_the_configuration_without_being_waited_for(routing: Routing, ingress: Caddy) -> None:
    """Else its names are the ingress's for five minutes more, or who removes an app waits for those of all others."""
    routing.update()
    assert "blog.b" in str(ingress.document)
    routing.watch()
    App.update(deleting=True).execute()
    routing.update_soon()
    until(lambda: "blog.b" not in str(ingress.document))


def test_the_addresses_that_visitors_use_are_shown(settings: Settings, routing: Routing) -> None:
    app = App.get(App.name == "blog")
    Domain.create(app=app, name="example.org", redirect_to="www.example.org")
    below = dataclasses.replace(settings, ingress=dataclasses.replace(settings.ingress, base_domain="apps.example.org"))
    assert urls(app, below) == ["https://blog.apps.example.org", "https://www.example.org"]
    assert urls(app, settings) == ["https://www.example.org"]
    assert urls(App.create(name="worker"), below) == []
    off = dataclasses.replace(settings.ingress, enabled=False)
    assert urls(app, dataclasses.replace(settings, ingress=off)) == []
