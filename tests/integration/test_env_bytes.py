"""Environment variables: every byte arrives at the process, and nowhere else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")

VALUES = {
    "EMPTY": "",
    "SPACES": "  leading and trailing  ",
    "SINGLE_QUOTES": "it's 'quoted' ''",
    "DOUBLE_QUOTES": 'say "hello" ""',
    "DOLLARS": "$HOME ${PATH} $(id) $$ $1",
    "PERCENT": "%i %n %% 100%",
    "BACKSLASHES": "\\ \\n \\' \\\\ ends with \\",
    "BACKTICKS": "`id`",
    "NEWLINES": "\nfirst\n\nlast\n\n",
    "CARRIAGE_RETURNS": "one\r\ntwo\r",
    "TABS": "\ta\tb\t",
    "CONTROL": "".join(map(chr, range(1, 32))) + "\x7f",
    "UTF8": "Grüße, мир, 世界, 🚀, e\u0301, \u202e, \ufeff",
    "SHELL": "; rm -rf / # & | > < * ? [a] {b} ~ !!",
    "ASSIGNMENT": "A=B=C export D='E'",
    "HEREDOC": "<<EOF\nEOF\n",
    "PEM": "-----BEGIN KEY-----\n" + "A" * 64 + "\n-----END KEY-----\n",
    "LARGE": "0123456789abcdef" * (60 * 1024 // 16),
    "lower_case": "lower",
    "_LEADING": "underscore",
}
SECRET = "s3cr3t-that-must-not-leak-b1946ac9"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    """Deployed with all the values; its build looks for the secret in its own environment."""
    build = "if env | grep -q MARKER; then echo the build sees the environment; exit 9; fi"
    api.create("envbytes", scripted("one", build), build_mode="script")
    for key, value in VALUES.items():
        api.set_env("envbytes", key, value)
    api.set_env("envbytes", "MARKER", SECRET)
    api.healthy("envbytes")
    return "envbytes"


def test_every_value_arrives_byte_for_byte(api: Deployments, app: str) -> None:
    """Else a password with a quote, or a key with its last newline gone, is a riddle of hours."""
    arrived = dict(item.split(b"=", 1) for item in api.environ(app).split(b"\0") if item)
    wrong = {
        key: (value, arrived.get(key.encode()))
        for key, value in VALUES.items()
        if arrived.get(key.encode()) != value.encode()
    }
    assert wrong == {}


def test_values_come_back_from_the_api_as_they_were_given(api: Deployments, app: str) -> None:
    """Else what the dashboard saves again is not what it loaded."""
    items = api.machine.http("GET", f"/api/v1/apps/{app}/env").body["items"]
    assert {item["key"]: item["value"] for item in items} == VALUES | {"MARKER": SECRET}


REFUSED: dict[str, tuple[str, Any, str]] = {
    "NUL": ("KEY", "a\0b", "value"),
    "lone surrogate": ("KEY", "a\ud800b", "value"),
    "number": ("KEY", 7, "value"),
    "too long": ("KEY", "x" * (64 * 1024 + 1), "value"),
    "no name": ("", "x", "key"),
    "a digit first": ("1KEY", "x", "key"),
    "an equals sign": ("KEY=", "x", "key"),
    "a hyphen": ("MY-KEY", "x", "key"),
    "a newline": ("KEY\nOTHER", "x", "key"),
    "not ASCII": ("SCHLÜSSEL", "x", "key"),
    "PORT": ("PORT", "80", "key"),
    "HOME": ("HOME", "/root", "key"),
    "RUSTPLOY_": ("RUSTPLOY_APP", "other", "key"),
    "the shell's": ("IFS", "x", "key"),
    "the launcher's": ("rustploy_command", "id", "key"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_arrive_is_refused_with_the_fields_name(api: Deployments, app: str, what: str) -> None:
    """Else a value is silently changed or lost on the way, or breaks the app's start."""
    key, value, field = REFUSED[what]
    before = api.machine.http("GET", f"/api/v1/apps/{app}/env").body
    answer = api.machine.http("PUT", f"/api/v1/apps/{app}/env", {"key": key, "value": value})
    assert answer.status == 400, answer.body
    assert [detail["field"] for detail in answer.body["error"]["details"]] == [field]
    assert api.machine.http("GET", f"/api/v1/apps/{app}/env").body == before


def test_a_secret_is_seen_by_no_unit_command_line_log_or_build(api: Deployments, app: str) -> None:
    """Else every user of the host, and whoever reads the logs, has the app's passwords."""
    machine = api.machine
    assert SECRET in api.environ(app).decode(errors="replace")
    assert SECRET not in machine.run(["systemctl", "show", "rustploy-*"]).stdout
    assert SECRET not in machine.run(["systemctl", "cat", "rustploy-*"]).stdout
    assert SECRET not in machine.run(["ps", "-eww", "-o", "args"], check=False).stdout
    assert SECRET not in json.dumps(machine.journal("--output-fields=MESSAGE"))
    files = ["grep", "-rlsF", SECRET, "/etc", "/run", "/tmp", "/var/tmp", "/var/lib/rustploy", "/usr/lib/systemd"]
    active = api.app(app)["active_slot"]
    allowed = {f"/var/lib/rustploy/apps/{app}/slots/web-{active}.env"}
    holding = {path for path in machine.run(files, check=False).stdout.split() if not path.startswith(DATABASE)}
    assert holding == allowed
    for path in allowed:
        assert machine.run(["stat", "--format=%U:%G %a", path]).stdout == f"rustploy:rp-{app} 640\n"
    for user in (f"rpb-{app}", "nobody"):
        assert machine.run(["cat", *allowed], user=user, check=False).returncode != 0


DATABASE = "/var/lib/rustploy/agent/rustploy.db"


def test_readers_see_only_stars(api: Deployments, app: str) -> None:
    """Else every dashboard and CI token that may read has the app's passwords."""
    created = api.machine.http("POST", "/api/v1/tokens", {"name": "reader", "scopes": ["read"]}).body
    answer = api.machine.http("GET", f"/api/v1/apps/{app}/env", token=created["token"])
    assert {item["value"] for item in answer.body["items"]} == {"********"}
    assert SECRET not in json.dumps(answer.body)


def test_a_deleted_variable_is_gone_from_the_next_release(api: Deployments, app: str) -> None:
    """Else a revoked secret lives on in the process."""
    answer = api.machine.http("DELETE", f"/api/v1/apps/{app}/env/lower_case")
    assert answer.status == 204
    assert api.machine.http("DELETE", f"/api/v1/apps/{app}/env/lower_case").status == 404
    api.healthy(app)
    assert "lower_case" not in api.environment(app)
    assert api.environment(app)["_LEADING"] == "underscore"
