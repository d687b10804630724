"""The ingress: apps answer at their names, whatever happens to the agent, and nothing hostile is passed on."""

import gzip
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import helpers, ingress_apps
from tests.integration.helpers import Deployments, echoes
from tests.integration.helpers_prober import Prober
from tests.integration.load import Listener, Load
from tests.machine import Machine, Response

pytestmark = pytest.mark.usefixtures("machine")
API_HOST, BASE = "api.example.org", "apps.example.org"
ADMIN_SOCKET = "/run/rustploy-ingress/admin.sock"
#: The full count is 20, and 5 rollbacks, as CONTRIBUTING.md says; the time of a CI run is better spent elsewhere.
SWITCHES = int(os.environ.get("RUSTPLOY_SWITCHES", "4"))
#: Requests a second that are a load; where the machine answers fewer without any deployment, most of those.
RATE, MOST_OF, CALM_SECONDS = 200, 0.8, 3


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    quick = json.loads(helpers.quick_settings(session_machine))
    quick["deployments"]["timeouts"] |= {"drain_seconds": 4, "health_seconds": 30}
    quick["releases"] = {"keep": 3 + SWITCHES}
    before = helpers.replace_settings(session_machine, json.dumps(quick))
    found = Deployments(session_machine)
    try:
        yield found
    finally:
        found.delete_all()
        helpers.restore_settings(session_machine, before)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    name = api.create("shown", ingress_apps.python("one"))
    api.healthy(name)
    return name


def get(api: Deployments, app: str, path: str = "/", **headers: str) -> Response:
    sent = {"Host": f"{app}.{BASE}"} | {key.replace("_", "-"): value for key, value in headers.items()}
    return api.machine.http("GET", path, port=api.machine.place.http_port, headers=sent)


def by_hand(api: Deployments, request: bytes) -> bytes:
    """What the ingress answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", api.machine.place.http_port), timeout=15) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_app_answers_at_its_name_and_no_other(api: Deployments, app: str) -> None:
    assert get(api, app).body == "one"
    assert get(api, app.upper()).body == "one", "names have no case"
    for stranger in ("nobody.apps.example.org", "", "127.0.0.1", f"{app}.{BASE}.evil.example"):
        answer = api.machine.http("GET", "/", port=api.machine.place.http_port, headers={"Host": stranger})
        assert (answer.status, answer.body) in ((404, "There is no such site here.\n"), (400, answer.body))
        assert "one" not in answer.body


def test_an_app_learns_who_asks_from_the_ingress_and_not_from_the_visitor(api: Deployments, app: str) -> None:
    """Else a visitor writes any address into the app's log, or passes for one from inside."""
    lies = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    lies |= {"Forwarded": "for=198.51.100.1", "X-Real-Ip": "198.51.100.1"}
    answer = api.machine.http(
        "GET", "/headers", port=api.machine.place.http_port, headers=lies | {"Host": f"{app}.{BASE}"}
    )
    got = {name.lower(): value for name, value in answer.body}
    assert got["host"] == f"{app}.{BASE}"
    assert (got["x-forwarded-for"], got["x-forwarded-proto"], got["x-real-ip"]) == ("127.0.0.1", "http", "127.0.0.1")
    assert "198.51.100.1" not in json.dumps(answer.body) and "evil" not in json.dumps(answer.body)


def test_answers_are_compressed_and_events_come_at_once(api: Deployments, app: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.machine.place.http_port, timeout=20)
    connection.request("GET", "/bytes/20000", headers={"Host": f"{app}.{BASE}", "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == b"x" * 20000
    connection.request("GET", "/events", headers={"Host": f"{app}.{BASE}", "Accept-Encoding": "gzip"})
    stream = connection.getresponse()
    begin = time.monotonic()
    assert [stream.readline() for _ in range(3)] == [b"data: 0\n", b"\n", b"data: 1\n"]
    assert time.monotonic() - begin < 10, "an event waits for later ones"
    connection.close()


def test_an_app_s_visits_are_in_its_journal(api: Deployments, app: str) -> None:
    """With every byte a visitor sends as data: no field of the journal is theirs."""
    get(api, app, "/visited?a=b%0ARUSTPLOY_APP=other", User_Agent="x\tRUSTPLOY_APP=other")
    found = api.machine.wait_for(
        lambda: [
            entry
            for entry in api.machine.journal(f"RUSTPLOY_APP={app}", "_SYSTEMD_UNIT=rustploy-ingress.service")
            if "/visited" in str(entry["MESSAGE"])
        ],
        10,
        "the visit in the journal",
    )
    assert '"status": 200' in found[0]["MESSAGE"] and found[0]["SYSLOG_IDENTIFIER"] == f"{app}-ingress"
    assert api.machine.journal("RUSTPLOY_APP=other") == []


def test_no_visit_is_too_long_for_the_journal(api: Deployments, app: str) -> None:
    """Else who attacks hides it in a target that makes the line longer than journald takes."""
    host = f" HTTP/1.1\r\nHost: {app}.{BASE}\r\nConnection: close\r\n\r\n".encode()
    taken, refused = (by_hand(api, b"GET /long?" + b"\xff" * length + host) for length in (28_000, 40_000))
    assert taken.startswith(b"HTTP/1.1 200") and refused.startswith(b"HTTP/1.1 431")
    api.machine.wait_for(
        lambda: any("/long?" in str(entry["MESSAGE"]) for entry in api.machine.journal(f"RUSTPLOY_APP={app}")),
        10,
        "the visit in the journal",
    )


SMUGGLED = [
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length : 5\r\n",
    b"Host: other.example.org\r\n",
]


@pytest.mark.parametrize("headers", SMUGGLED)
def test_a_request_of_two_meanings_is_one_request_or_none(api: Deployments, app: str, headers: bytes) -> None:
    """Else a second request hides in the first one's body, and another visitor gets its answer."""
    host = f"Host: {app}.{BASE}\r\n".encode()
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + host + b"\r\n"
    answer = by_hand(api, b"POST / HTTP/1.1\r\n" + host + headers + b"\r\n" + hidden)
    assert b"one" not in answer.partition(b"HTTP/1.1 200")[2].partition(b"HTTP/1.1")[0]
    assert answer.startswith(b"HTTP/1.1 4") or answer.count(b"HTTP/1.1 200") <= 2, answer


@pytest.mark.parametrize("host", [b"a b", b"shown.apps.example.org/../x", b"*", b"[::1", b"\xff\xfe", b"x" * 4000])
def test_a_hostile_host_meets_no_app(api: Deployments, app: str, host: bytes) -> None:
    answer = by_hand(api, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer


def test_the_api_answers_at_its_name_and_knows_who_asks(api: Deployments) -> None:
    port, token = api.machine.place.http_port, str(api.machine.token)
    headers = {"Host": API_HOST, "X-Forwarded-For": "198.51.100.1"}
    answer = api.machine.http("GET", "/api/v1/apps", port=port, token=token, headers=headers)
    assert answer.status == 200
    assert api.machine.http("GET", "/api/v1/apps", port=port, headers=headers).status == 401


def test_only_the_agent_and_root_can_lead_the_ingress(api: Deployments, app: str) -> None:
    """Else an app takes over the traffic of all others, or passes for the ingress before the agent."""
    look = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for path in (ADMIN_SOCKET, "/run/rustploy-api/socket"):
        for user in (f"rp-{app}", f"rpb-{app}", "nobody"):
            tried = api.machine.run(["python3", "-c", look, path], user=user, check=False)
            assert "PermissionError" in tried.stderr, (path, user, tried.stderr)
    for path in ("/var/lib/rustploy/routes/caddy.json", "/var/lib/rustploy/ingress"):
        for user in (f"rp-{app}", "nobody"):
            assert api.machine.run(["ls", path], user=user, check=False).returncode != 0 or path.endswith("ingress")
            assert api.machine.run(["cat", path], user=user, check=False).returncode != 0


def _configuration(api: Deployments) -> dict[str, object]:
    argv = ["curl", "-sS", "--unix-socket", ADMIN_SOCKET, "http://rustploy-ingress/config/"]
    return dict(json.loads(api.machine.run(argv).stdout))


def test_routes_are_there_without_the_agent_and_altered_ones_are_repaired(api: Deployments, app: str) -> None:
    machine = api.machine
    right = _configuration(api)
    machine.run(["systemctl", "stop", "rustploy-agent.service"])
    machine.run(["systemctl", "kill", "--signal=KILL", "rustploy-ingress.service"])

    def serves() -> bool:
        try:
            return bool(get(api, app).body == "one")
        except OSError:
            return False

    machine.wait_for(serves, 30, "the ingress to serve again by itself")
    assert _configuration(api) == right
    wrong = json.dumps({"admin": right["admin"], "logging": right["logging"]})
    argv = ["curl", "-sS", "--unix-socket", ADMIN_SOCKET, "-HContent-Type: application/json", "-d", wrong]
    machine.run([*argv, "http://rustploy-ingress/load"])
    assert not serves()
    machine.run(["systemctl", "start", "rustploy-agent.service"])
    machine.wait_for_agent()
    machine.wait_for(serves, 30, "the agent to repair what was altered")
    assert _configuration(api) == right


def test_deployments_go_on_without_an_ingress_and_are_served_when_it_is_back(api: Deployments) -> None:
    machine = api.machine
    machine.run(["systemctl", "stop", "rustploy-ingress.service"])
    try:
        name = api.create("later", ingress_apps.python("late"))
        api.healthy(name)
        assert api.get(name).body == "late", "not even on loopback"
        health = machine.http("GET", "/health").body
        assert health["status"] == "ok" and health["ingress"] == "down"
        assert "PROBLEM  ingress" in machine.run(["rustploy-agent", "doctor"], check=False).stdout
    finally:
        machine.run(["systemctl", "start", "rustploy-ingress.service"])

    def serves() -> bool:
        try:
            return bool(get(api, name).body == "late")
        except OSError:
            return False

    machine.wait_for(serves, 40, "the app that came meanwhile to be served")
    machine.wait_for(lambda: machine.http("GET", "/health").body["ingress"] == "ok", 20, "health to say so")


@pytest.mark.parametrize("kind", ["python", "node"])
def test_no_visitor_notices_deployments_and_rollbacks(api: Deployments, app: str, kind: str) -> None:
    """At 200 requests a second: fresh and kept connections, slow ones, posts, an own websocket and another app's."""
    make = getattr(ingress_apps, kind)
    name = api.create(f"busy-{kind}", make("0"))
    api.healthy(name)
    with Load(api.machine.place.http_port, f"{name}.{BASE}") as calm:
        time.sleep(CALM_SECONDS)
    beside = api.websocket(app)
    with Load(api.machine.place.http_port, f"{name}.{BASE}") as seen:
        for number in range(1, SWITCHES + 1):
            own, stream = api.websocket(name), Listener(api.machine.place.http_port, f"{name}.{BASE}")
            api.commit(name, {"version.txt": str(number)})
            about = api.wait(name, api.start(name))
            assert about["status"] == "healthy", about
            assert get(api, name).body == str(number), "healthy, but visitors still meet the old release"
            assert echoes(own), "a websocket did not live through the switch"
            assert stream.hears(time.monotonic() + 0.2), "an event stream did not live through the switch"
            own.close()
            api.wait_until_settled(name)
        for _ in range(max(1, SWITCHES // 4)):
            api.healthy(name, "rollback")
    assert echoes(beside), "another app's websocket was ended"
    beside.close()
    assert seen.failures == []
    wanted = min(RATE, MOST_OF * calm.per_second)
    rates = f"{seen.per_second:.0f} a second, {calm.per_second:.0f} without deployments"
    sys.stdout.write(f"{kind}: {seen.answers} answers in {seen.seconds:.0f} s, {rates}\n")
    assert seen.per_second >= wanted, f"{rates}: that is no load"
    assert seen.versions[0] == "0" and str(SWITCHES) in seen.versions


def test_a_stopped_app_stays_so_and_maintenance_is_a_page(api: Deployments, app: str) -> None:
    """Over a restart of the agent, which settles what it finds."""
    machine = api.machine
    assert machine.http("PATCH", f"/api/v1/apps/{app}", {"maintenance": True}).status == 200
    answer = get(api, app)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60") and "worked on" in answer.body
    assert machine.http("PATCH", f"/api/v1/apps/{app}", {"maintenance": False}).status == 200
    assert get(api, app).status == 200
    assert machine.http("POST", f"/api/v1/apps/{app}/stop").status == 200
    assert api.running(app) == [] and get(api, app).body == "This app is not running.\n"
    machine.run(["systemctl", "restart", "rustploy-agent.service"])
    machine.wait_for_agent()
    assert api.running(app) == [] and get(api, app).status == 503
    assert machine.http("POST", f"/api/v1/apps/{app}/start").status == 200
    assert get(api, app).status == 200
    with Prober(machine.place.http_port, host=f"{app}.{BASE}") as seen:
        assert machine.http("POST", f"/api/v1/apps/{app}/restart").status == 200
    assert seen.failures == [], "visitors did not wait for the restart"


def test_a_request_that_is_too_large_or_too_slow_ends_at_the_ingress(api: Deployments, app: str) -> None:
    machine, host = api.machine, {"Host": f"{app}.{BASE}"}
    changed = machine.http("PATCH", f"/api/v1/apps/{app}", {"ingress": {"max_body_bytes": 1000, "timeout_seconds": 1}})
    assert changed.status == 200
    port = machine.place.http_port
    assert machine.http("POST", "/", "x" * 2000, port=port, headers=host).status == 413
    assert machine.http("POST", "/", "x" * 500, port=port, headers=host).status == 200
    assert get(api, app, "/slow/3").status == 504
    back = {"ingress": {"max_body_bytes": None, "timeout_seconds": None}}
    assert machine.http("PATCH", f"/api/v1/apps/{app}", back).status == 200


def test_a_port_that_another_program_has_is_told_and_taken_when_it_is_free(api: Deployments, app: str) -> None:
    """Else a web server that was there before keeps every app unreachable, and nobody says why."""
    machine, port = api.machine, api.machine.place.http_port
    machine.run(["systemctl", "stop", "rustploy-ingress.service"])
    with socket.create_server(("0.0.0.0", port)):
        machine.run(["systemctl", "start", "--no-block", "rustploy-ingress.service"])
        told = machine.run(["rustploy-agent", "doctor"], check=False).stdout
        assert f"another program listens on port {port}" in told
        assert machine.http("GET", "/health").body["status"] == "ok"
        assert api.get(app).body == "one", "not even on loopback"
    machine.wait_for(lambda: _answers(api, app), 30, "the ingress to take its port")


def test_the_addresses_that_it_listens_on_are_changed_by_the_settings(api: Deployments, app: str) -> None:
    """With QUIC, whose sockets exclude each other: else visitors are cut off, and doctor says that all is well."""
    machine = api.machine
    before = machine.read("/etc/rustploy/agent.yaml")
    settings = json.loads(before)
    settings["ingress"] |= {"tls": "internal"}

    def move(*addresses: str) -> None:
        settings["ingress"]["addresses"] = addresses
        helpers.restore_settings(machine, json.dumps(settings))
        machine.wait_for(
            lambda: machine.http("GET", "/health").body["ingress"] == "ok", 20, "the ingress to have moved"
        )

    try:
        for addresses in ([], ["127.0.0.1"], ["127.0.0.1", "::1"], []):
            move(*addresses)
            url = f"https://{app}.{BASE}:{settings['ingress']['https_port']}/"
            reached = machine.run(
                ["curl", "-skS", "--max-time", "20", "--resolve", f"{url.split('/')[2]}:127.0.0.1", url]
            )
            assert reached.stdout == "one", addresses
            found = machine.run(["ss", "-Hltnp", f"sport = :{settings['ingress']['http_port']}"]).stdout.splitlines()
            assert len(found) == max(1, len(addresses)), f"listeners that nobody serves: {found}"
        machine.run(["systemctl", "restart", "rustploy-ingress.service"])
    finally:
        helpers.restore_settings(machine, before)
    machine.wait_for(lambda: _answers(api, app), 20, "the ingress to serve as before")


def test_addresses_that_are_not_of_this_host_are_told_and_cost_no_visitor_anything(api: Deployments, app: str) -> None:
    machine = api.machine
    before = machine.read("/etc/rustploy/agent.yaml")
    settings = json.loads(before)
    settings["ingress"]["addresses"] = ["192.0.2.7"]
    helpers.restore_settings(machine, json.dumps(settings))
    try:
        assert machine.http("GET", "/health").body["ingress"] == "down"
        assert any(one.startswith("ingress: it does not serve what it should") for one in helpers.troubles(machine))
        said = machine.journal("--unit=rustploy-agent", "--grep=ingress.addresses", "--lines=1")
        assert "192.0.2.7 is not of this host" in said[0]["MESSAGE"]
        assert _answers(api, app)
    finally:
        helpers.restore_settings(machine, before)
    assert helpers.troubles(machine) == []


def test_another_port_is_taken_when_the_one_before_went_to_another_program(api: Deployments, app: str) -> None:
    """Caddy cannot start then, so nobody can tell it the new port; doctor advises to change it."""
    machine = api.machine
    before = machine.read("/etc/rustploy/agent.yaml")
    settings = json.loads(before)
    taken, settings["ingress"]["http_port"] = settings["ingress"]["http_port"], machine.place.port + 3
    machine.run(["systemctl", "stop", "rustploy-ingress.service"])
    try:
        with socket.create_server(("0.0.0.0", taken)):
            machine.run(["systemctl", "start", "--no-block", "rustploy-ingress.service"])
            helpers.restore_settings(machine, json.dumps(settings))
            machine.wait_for(lambda: _at(api, app, machine.place.port + 3), 30, "the ingress to take the other port")
    finally:
        helpers.restore_settings(machine, before)
    machine.wait_for(lambda: _answers(api, app), 20, "the ingress to serve as before")


def _at(api: Deployments, app: str, port: int) -> bool:
    try:
        return api.machine.http("GET", "/", port=port, headers={"Host": f"{app}.{BASE}"}).status == 200
    except OSError:
        return False


def test_the_ingress_cannot_take_the_host_s_memory(api: Deployments) -> None:
    """Else visitors who open connections enough have the kernel kill apps, or the host's own services."""
    shown = api.machine.run(["systemctl", "show", "rustploy-ingress.service", "--property=MemoryMax"]).stdout
    assert shown.strip() == f"MemoryMax={512 << 20}"


def _takes_datagrams(port: int) -> bool:
    """Whether anybody on this host listens there over UDP."""
    lines = [line.split() for table in ("udp", "udp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return any(fields[1].endswith(f":{port:04X}") for fields in lines)


def _answers(api: Deployments, app: str) -> bool:
    return _at(api, app, api.machine.place.http_port)


def test_with_tls_visitors_are_sent_to_https_which_speaks_1_only(api: Deployments, app: str) -> None:
    machine = api.machine
    settings = json.loads(machine.read("/etc/rustploy/agent.yaml"))
    before = helpers.replace_settings(
        machine, json.dumps(settings | {"ingress": settings["ingress"] | {"tls": "internal"}})
    )
    try:
        port = machine.place.port + 2
        sent = get(api, app, "/path?a=b")
        assert (sent.status, sent.headers["Location"]) == (308, f"https://{app}.{BASE}:{port}/path?a=b")
        assert machine.http("GET", "/", port=machine.place.http_port, headers={"Host": "other.example"}).status == 404

        def secure(host: str, path: str) -> str:
            where = ["--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}{path}"]
            return machine.run(["curl", "-sSik", "--http2", "--max-time", "20", *where], check=False).stdout

        machine.wait_for(lambda: secure(f"{app}.{BASE}", "/").startswith("HTTP/1.1 200"), 30, "a certificate")
        assert "alt-svc" not in secure(f"{app}.{BASE}", "/").lower(), "HTTP/3 is offered"
        assert '"https"' in secure(f"{app}.{BASE}", "/headers")
        assert secure("other.example.org", "/") == "", "a certificate for a name that nobody has"
        assert not _takes_datagrams(port), "HTTP/3 is served"
    finally:
        helpers.restore_settings(machine, before)
    machine.wait_for(lambda: _answers(api, app), 30, "plain HTTP again")
