"""Who may do what on a real host: its apps sit on the same address as its admin, and must not pass for one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.helpers import replace_settings, restore_settings
from tests.machine import Machine, Response
from tests.mailbox import Mailbox, certificate

OWNER = "anna@example.org"
#: Run as a user of the machine: one request each for the lines of stdin, printed with its status.
CLIENT = """
import http.client, json, sys
for line in sys.stdin:
    port, method, path, body, headers = json.loads(line)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode("utf-8", "replace")]), flush=True)
    connection.close()
"""
JSON = {"Content-Type": "application/json"}


def ask_as(user: str, machine: Machine, *requests: tuple[str, str, Any, dict[str, str]]) -> list[int]:
    """Statuses of these requests from within the machine."""
    lines = "".join(json.dumps([machine.place.port, *request]) + "\n" for request in requests)
    done = machine.run(["python3", "-c", CLIENT], user=user, input=lines, timeout=120)
    return [json.loads(line)[0] for line in done.stdout.splitlines()]


def login(password: str, email: str = OWNER) -> tuple[str, str, Any, dict[str, str]]:
    return "POST", "/api/v1/auth/login", {"email": email, "password": password}, JSON


def log_in(machine: Machine, password: str) -> Response:
    method, path, body, _ = login(password)
    return machine.http(method, path, body, token="")


@pytest.fixture
def password(machine: Machine) -> str:
    machine.run(["rustploy-agent", "admin", "set-email", OWNER])
    shown = machine.run(["rustploy-agent", "admin", "reset-password"]).stdout
    return dict(line.split() for line in shown.splitlines())["password:"]


@pytest.fixture
def app(machine: Machine) -> Iterator[str]:
    """An app that was never deployed has its users already."""
    assert machine.http("POST", "/api/v1/apps", {"name": "intruder"}).status == 201
    yield "intruder"
    assert machine.http("DELETE", "/api/v1/apps/intruder", timeout=120).status == 204


def cookie_of(machine: Machine, password: str) -> str:
    answer = log_in(machine, password)
    assert answer.status == 200, answer.body
    return (answer.headers["Set-Cookie"] or "").partition(";")[0]


def test_every_operation_refuses_who_may_not(machine: Machine, password: str, app: str) -> None:
    """The installed package's own document names the operations; none may have forgotten to ask."""
    document = machine.http("GET", "/api/v1/openapi.json").body
    made = [("read", {"scopes": ["read"]}), ("other's", {"scopes": ["admin"], "apps": [app]})]
    tokens = {
        kind: machine.http("POST", "/api/v1/tokens", {"name": kind.removesuffix("'s")} | new).body for kind, new in made
    }
    bearer = {kind: {"Authorization": f"Bearer {one['token']}"} for kind, one in tokens.items()}
    cookie = {"Cookie": cookie_of(machine, password)}
    foreign = [cookie | {"Sec-Fetch-Site": site} for site in ("cross-site", "same-site")]
    walked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            scope = operation.get("x-scope") if method in ("get", "put", "post", "patch", "delete") else None
            if scope not in ("read", "deploy", "admin", "session"):
                continue
            root = item.get("servers", document["servers"])[0]["url"].rstrip("/")
            url = root + re.sub(r"\{[a-z_]+\}", "nothing", path)

            def status(headers: dict[str, str], method: str = method, url: str = url) -> int:
                return machine.http(method.upper(), url, token="", headers=headers).status

            assert status({}) == 401, url
            assert status({"Authorization": "Bearer rpt_" + "0" * 72}) == 401, url
            assert [status(headers) for headers in foreign] == [403, 403], url
            if scope in ("deploy", "admin"):
                assert status(bearer["read"]) == 403, url
            if scope != "session" and (method, path) not in (("get", "/apps"), ("post", "/apps/import")):
                assert status(bearer["other's"]) == (404 if "{app_id}" in path else 403), url
            walked += 1
    assert walked > 20
    for one in tokens.values():
        machine.http("DELETE", f"/api/v1/tokens/{one['summary']['id']}")
    assert machine.http("GET", "/api/v1/apps", token=tokens["read"]["token"]).status == 401


def test_an_app_that_guesses_passwords_keeps_nobody_else_out(machine: Machine, password: str, app: str) -> None:
    guesses = ask_as(f"rp-{app}", machine, *[login(f"guess {number}") for number in range(30)])
    assert guesses.count(401) == 5 and guesses.count(429) == 25
    assert ask_as(f"rp-{app}", machine, login(password)) == [429]
    assert ask_as(f"rpb-{app}", machine, login(password)) == [200]
    assert log_in(machine, password).status == 200


def test_an_app_cannot_use_the_session_that_a_browser_showed_it(machine: Machine, password: str, app: str) -> None:
    me = ("GET", "/api/v1/auth/me", None, {"Cookie": cookie_of(machine, password)})
    assert ask_as(f"rp-{app}", machine, me) == [401]
    assert ask_as("root", machine, me) == [200]


def reset_token(text: str) -> str:
    found = re.search(r"rpr_[A-Za-z0-9_-]{43}", text)
    assert found, text
    return found[0]


def set_password(machine: Machine, secret: str, password: str) -> int:
    body = {"reset_token": secret, "new_password": password}
    return machine.http("POST", "/api/v1/auth/password-reset/confirm", body, token="").status


def ask_for_reset(machine: Machine) -> None:
    answer = machine.http("POST", "/api/v1/auth/password-reset/request", {"email": OWNER}, token="")
    assert (answer.status, answer.body) == (202, {"accepted": True})


def test_a_forgotten_password_without_a_mail_server_is_root_s_to_hand_out(
    machine: Machine, password: str, app: str
) -> None:
    ask_for_reset(machine)

    def logged() -> list[str]:
        entries = machine.journal("-u", "rustploy-agent", "-n", "20")
        return [str(entry["MESSAGE"]) for entry in entries if "reset_token" in str(entry["MESSAGE"])]

    secret = reset_token(machine.wait_for(logged, 30, "the token in the journal")[-1])
    seen = machine.run(["journalctl", "-u", "rustploy-agent"], user=f"rp-{app}", check=False).stdout
    assert "rpr_" not in seen
    cookie = {"Cookie": cookie_of(machine, password)}
    assert set_password(machine, secret, "chosen by myself") == 200
    assert machine.http("GET", "/api/v1/auth/me", token="", headers=cookie).status == 401
    assert (log_in(machine, password).status, log_in(machine, "chosen by myself").status) == (401, 200)


def test_a_forgotten_password_is_answered_by_mail_from_within_the_sandbox(
    machine: Machine, password: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By name and over TLS, which need what a sandbox easily takes away; the password file is root's."""
    pem = certificate(tmp_path_factory.mktemp("tls"), "mail.example.org")
    machine.run(["sh", "-c", "echo 127.0.0.1 mail.example.org >>/etc/hosts"])
    machine.send(pem, "/etc/rustploy/mail-root.pem")
    machine.write("/etc/rustploy/mail-password", "s3cret\n", 0o640, "root:rustploy")
    box = Mailbox(certificate=pem)
    with box.open() as port:
        mail = {"host": "mail.example.org", "port": port, "from": "agent@example.org", "username": "agent"}
        mail |= {"ca_file": "/etc/rustploy/mail-root.pem", "password_file": "/etc/rustploy/mail-password"}
        before = replace_settings(machine, json.dumps(machine.settings() | {"mail": mail}))
        try:
            ask_for_reset(machine)
            text = box.wait().get_content()
        except AssertionError as late:
            said = machine.run(["journalctl", "-u", "rustploy-agent", "-n", "20"]).stdout
            raise AssertionError(f"{late}\n{said}") from None
        finally:
            restore_settings(machine, before)
    assert (box.over_tls, box.logins) == ([True], ["agent s3cret"])
    assert set_password(machine, reset_token(text), "chosen again") == 200
    assert log_in(machine, "chosen again").status == 200


def test_an_agent_that_lost_everything_is_open_to_root_and_not_to_apps(machine: Machine, app: str) -> None:
    """The package closes the bootstrap at its installation; here nothing is left that says so."""
    state, tokens = "/var/lib/rustploy/agent", ("GET", "/api/v1/tokens", None, dict[str, str]())
    assert ask_as("root", machine, tokens) == [401]
    machine.run(["systemctl", "stop", "rustploy-agent"])
    try:
        machine.run(["mv", state, f"{state}.kept"])
        machine.run(["install", "-d", "-m", "0700", "-o", "rustploy", "-g", "rustploy", state])
        machine.run(["systemctl", "start", "rustploy-agent"])
        machine.wait_for_agent()
        assert ask_as(f"rp-{app}", machine, tokens) == [401]
        assert ask_as("root", machine, tokens) == [200]
        passed_on = ("GET", "/api/v1/tokens", None, {"X-Forwarded-For": "192.0.2.1"})
        assert ask_as("root", machine, passed_on) == [401]
        made = ("POST", "/api/v1/tokens", {"name": "first", "scopes": ["admin"]}, JSON)
        assert ask_as("root", machine, made, tokens) == [201, 401]
        machine.run(["systemctl", "stop", "rustploy-agent"])
        machine.run(["sh", "-c", f"rm {state}/rustploy.db*"])
        machine.run(["systemctl", "start", "rustploy-agent"])
        machine.wait_for_agent()
        assert ask_as("root", machine, tokens) == [401]
    finally:
        machine.run(["systemctl", "stop", "rustploy-agent"])
        machine.run(["rm", "-rf", state])
        machine.run(["mv", f"{state}.kept", state])
        machine.run(["systemctl", "start", "rustploy-agent"])
        machine.wait_for_agent()
