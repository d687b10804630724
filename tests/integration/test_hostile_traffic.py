"""Hostile visitors: what the ingress passes on has one meaning and a true sender; what it refuses is in the journal."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract import tools
from tests.integration import helpers, hostile, recorder
from tests.integration.helpers import Deployments
from tests.integration.hostile import ATTEMPTS, BROKEN, CUT_SHORT, FORGED, TAKEN, TURNED_AWAY, one_request
from tests.machine import Machine
from tests.machine.machine import API_DOMAIN

pytestmark = pytest.mark.usefixtures("machine")
NAME = "recorder"
SEEN = f"/var/lib/rustploy/apps/{NAME}/data/seen"
#: After an answer, a connection that says nothing for so long has said all.
SILENCE = 0.7


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    found = Deployments(session_machine)
    try:
        found.create(NAME, recorder.files())
        found.healthy(NAME)
        yield found
    finally:
        found.delete_all()


def marks() -> dict[str, str]:
    return {name: f"attempt-{number}-" for number, name in enumerate(ATTEMPTS)}


def ask(machine: Machine, request: bytes) -> tuple[bytes, bool]:
    """All that is answered, and whether the ingress ended the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", machine.place.http_port), timeout=15) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
                connection.settimeout(SILENCE)
        except TimeoutError:
            return answer, False
        except OSError:
            pass  # it was ended before all of the request was read
        return answer, True


def tried(machine: Machine, host: str, hidden: bytes, *, without: str = "") -> dict[str, tuple[bytes, bool]]:
    """Every attempt, many at once; what was answered to each."""

    def attempt(name: str) -> tuple[bytes, bool]:
        mark = marks()[name]
        own = hidden.replace(b"MARK", mark.encode())
        return ask(machine, hostile.filled(ATTEMPTS[name], mark, host, own))

    names = [name for name in ATTEMPTS if name != without]
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(names, pool.map(attempt, names), strict=True))


def recorded(machine: Machine) -> list[bytes]:
    """The bytes of every connection to the app, as far as it was noted."""
    return [bytes.fromhex(line) for line in machine.read(SEEN).split()]


@pytest.fixture(scope="module")
def answers(api: Deployments) -> dict[str, tuple[bytes, bool]]:
    host = api.host(NAME)
    return tried(api.machine, host, f"GET /MARKhidden HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


@pytest.fixture(scope="module")
def reached(api: Deployments, answers: dict[str, tuple[bytes, bool]]) -> list[bytes]:
    return recorded(api.machine)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_app_gets_one_clear_request_or_none(
    api: Deployments, answers: dict[str, tuple[bytes, bool]], reached: list[bytes], name: str
) -> None:
    """Else a request that hides in another one's body gets what belongs to the next visitor, or to a neighbour."""
    answer, ended = answers[name]
    seen = [one for one in reached if marks()[name].encode() in one]
    end = ATTEMPTS[name].end
    if end in (BROKEN, TURNED_AWAY):
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")) and seen == [], (answer, seen)
        assert ended or end == TURNED_AWAY
        return
    assert answer.startswith(b"HTTP/1.1 200" if end == TAKEN else b"HTTP/1.1 502"), answer
    assert len(seen) == answer.count(b"HTTP/1.1 ")
    for one in seen:
        headers = one_request(one, whole=end == TAKEN)
        asked = headers["host"].lower()
        assert asked == api.host(NAME) == headers["x-forwarded-host"].lower()
        assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert FORGED not in str(headers) and "evil" not in str(headers) and "x-smuggled" not in headers
    if end == CUT_SHORT:
        with pytest.raises(AssertionError):
            one_request(seen[0])


def test_what_is_turned_away_is_in_the_journal(api: Deployments, answers: dict[str, tuple[bytes, bool]]) -> None:
    """Else nobody learns of an attack before it succeeds. With the address that it came from."""
    lines = [
        str(entry["MESSAGE"])
        for match in ("SYSLOG_IDENTIFIER=rustploy-ingress-access", f"RUSTPLOY_APP={NAME}")
        for entry in api.machine.journal(match, "_SYSTEMD_UNIT=rustploy-ingress.service")
    ]
    for name, mark in marks().items():
        if ATTEMPTS[name].end in (TURNED_AWAY, TAKEN, CUT_SHORT):
            found = [line for line in lines if mark in line]
            assert found and '"remote_ip": "127.0.0.1"' in found[0], name


def test_no_request_is_smuggled_to_the_api(api: Deployments) -> None:
    """Else who can make an admin's browser or CI send bytes can make it delete an app."""
    machine = api.machine
    credential = f"Authorization: Bearer {machine.token}"
    hidden = f"DELETE /api/v1/apps/{NAME} HTTP/1.1\r\nHost: {API_DOMAIN}\r\n{credential}\r\n\r\n".encode()
    assert "authorization" in one_request(hidden), "it would not be carried out if it came"
    since = machine.run(["date", "+%s"]).stdout.strip()
    with_next_request = "chunks that end before the length does"
    for name, (answer, _) in tried(machine, API_DOMAIN, hidden, without=with_next_request).items():
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), (name, answer)
    assert machine.http("GET", f"/api/v1/apps/{NAME}").status == 200
    audited = machine.http("GET", f"/api/v1/audit?app={NAME}").body["items"]
    assert [one["action"] for one in audited if one["action"] == "delete_app"] == []
    said = machine.journal("_SYSTEMD_UNIT=rustploy-agent.service", f"--since=@{since}")
    assert [entry["MESSAGE"] for entry in said if "Traceback" in str(entry["MESSAGE"])] == []


def from_address(machine: Machine, address: str, host: str, method: str, path: str, body: Any = None) -> Any:
    """A request of a visitor at that address of this host, who claims to be somebody else."""
    target = "::1" if ":" in address else "127.0.0.1"
    connection = http.client.HTTPConnection(target, machine.place.http_port, 20, source_address=(address, 0))
    lies = {"X-Forwarded-For": FORGED, "X-Real-Ip": FORGED, "Forwarded": f"for={FORGED}", "X_Forwarded_For": FORGED}
    headers = lies | {"Host": host, "Authorization": f"Bearer {machine.token}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    assert answer.status in (200, 201), content
    return json.loads(content) if body else content


@pytest.mark.parametrize("address", ["127.0.0.9", "::1"])
def test_the_true_address_of_a_visitor_reaches_the_app_and_the_audit_trail(api: Deployments, address: str) -> None:
    """Else the trail names whomever an attacker likes, and an app's rate limit is for nobody."""
    machine, mark = api.machine, f"/from-{address.replace(':', '-')}"
    from_address(machine, address, api.host(NAME), "GET", mark)
    (seen,) = [one for one in recorded(machine) if mark.encode() in one]
    headers = one_request(seen)
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == address and FORGED not in str(headers)
    wish = {"name": "from there", "scopes": ["read"]}
    made = from_address(machine, address, API_DOMAIN, "POST", "/api/v1/tokens", wish)
    machine.secrets.add(made["token"])
    newest = machine.http("GET", "/api/v1/audit?limit=1").body["items"][0]
    assert (newest["action"], newest["address"]) == ("create_token", address)
    assert machine.http("DELETE", f"/api/v1/tokens/{made['summary']['id']}").status == 204


#: Headers in the place of the plain ones, headers beside them, a body, and whether a server that speaks HTTP/2 would
#: have to take it.
H2: dict[str, tuple[dict[str, str], list[tuple[str, str]], str, bool]] = {
    "nothing odd": ({}, [], "", True),
    "a line break in a value": ({}, [("x-a", "b\r\nX-Smuggled: 1")], "", False),
    "a line break in a name": ({}, [("x-a: b\r\nx-smuggled", "1")], "", False),
    "a line break in a cookie": ({}, [("cookie", "a=b\r\nX-Smuggled: 1")], "", False),
    "NUL in a value": ({}, [("x-a", "b\0c")], "", False),
    "a request in the path": ({":path": "/MARK HTTP/1.1\r\nX-Smuggled: 1\r\n\r\nGET /x"}, [], "", False),
    "a request in the method": ({":method": "GET /MARK HTTP/1.1\r\nX-Smuggled: 1"}, [], "", False),
    "a path in the method": ({":method": "GET /MARK"}, [], "", False),
    "a line break in the authority": ({":authority": "HOST\r\nX-Smuggled: 1"}, [], "", False),
    "another site as the port": ({":authority": "HOST:evil.example"}, [], "", False),
    "a user in the authority": ({":authority": "evil@HOST"}, [], "", False),
    "another host beside the authority": ({}, [("host", "evil.example")], "", True),
    "chunks": ({":method": "POST"}, [("transfer-encoding", "chunked")], "0\r\n\r\nHIDDEN", False),
    "two paths": ({}, [(":path", "/MARK/x")], "", False),
    "a header of the connection": ({}, [("connection", "x-forwarded-for")], "", False),
    "another client": ({}, [("x-forwarded-for", FORGED), ("x_forwarded_for", FORGED)], "", True),
    "an echo": ({":method": "TRACE"}, [], "", False),
    "more body than its length": ({":method": "POST"}, [("content-length", "4")], "0\r\n\r\nHIDDEN", False),
}


def test_http_2_reaches_nobody(api: Deployments) -> None:
    """Caddy's HTTP/2 is older than rapid resets: one client can use up the host by it, so nobody may be served it."""
    machine, host = api.machine, api.host(NAME)
    settings = json.loads(json.dumps(machine.settings()))
    settings["ingress"]["tls"] = "internal"
    before = helpers.replace_settings(machine, json.dumps(settings))
    try:
        port = machine.place.port + 2
        machine.wait_for(lambda: _has_certificate(machine, host, port), 30, "a certificate")
        wishes = [_wish(number, name, host) for number, name in enumerate(H2)]
        ends = json.loads(tools.visitor("h2", host, str(port), input=json.dumps(wishes)))
    finally:
        helpers.restore_settings(machine, before)
    assert dict(zip(H2, ends, strict=True)) == dict.fromkeys(H2, "refused")
    assert not [one for one in recorded(machine) if b"h2-" in one]


def _wish(number: int, name: str, host: str) -> tuple[list[tuple[str, str]], str]:
    instead, beside, body, _ = H2[name]
    plain = {":method": "GET", ":scheme": "https", ":authority": "HOST", ":path": "/MARK"} | instead
    hidden = f"GET /h2-{number}-hidden HTTP/1.1\r\nHost: {host}\r\n\r\n"
    words = {"HOST": host, "MARK": f"h2-{number}-", "HIDDEN": hidden}

    def filled(text: str) -> str:
        for word, meant in words.items():
            text = text.replace(word, meant)
        return text

    return [(key, filled(value)) for key, value in (*plain.items(), *beside)], filled(body)


def _has_certificate(machine: Machine, host: str, port: int) -> bool:
    """It has one: a visitor over HTTP/1.1 is answered, also one who would rather have HTTP/2."""
    where = ["--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/"]
    return machine.run(["curl", "-sSik", "--http2", *where], check=False).stdout.startswith("HTTP/1.1 200")
