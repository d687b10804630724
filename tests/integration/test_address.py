"""The API's address belongs to systemd: no app can take it, and nobody is refused, while the agent comes and goes."""

import contextlib
import http.client
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.helpers import troubles
from tests.machine import Machine

#: As an app on Debian 12 could: again and again, every way there is, and what it got goes to its output.
THIEF = """
import select, socket, sys
port = int(sys.argv[1])
ways = [(family, host) for family, host in ((2, "127.0.0.1"), (2, "0.0.0.0"), (10, "::1"), (10, "::"))]
print("trying", flush=True)
while not select.select([sys.stdin], [], [], 0.0005)[0]:
    for family, host in ways:
        for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket(family) as thief:
                try:
                    if option:
                        thief.setsockopt(socket.SOL_SOCKET, option, 1)
                    thief.bind((host, port))
                    thief.listen()
                    print("took", host, option, flush=True)
                except OSError:
                    pass
"""
OTHER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listens", flush=True)
    sys.stdin.read()
"""
AGENT = "rustploy-agent.service"


class Asking:
    """Asks for the agent's health without a pause; `failures` are the requests that had no answer."""

    def __init__(self, port: int) -> None:
        self._port, self._over = port, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers, self.failures = 0, list[str]()

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=45)
                connection.request("GET", "/health", headers={"Connection": "close"})
                assert connection.getresponse().read()
                self.answers += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"{type(error).__name__} {error}")
            time.sleep(0.002)


@contextlib.contextmanager
def program(machine: Machine, text: str, first: str) -> Iterator[None]:
    """Runs in the machine as a user without rights, and ends with its input; AssertionError when it said more."""
    argv = machine.argv(["python3", "-c", text, str(machine.place.port)], user="nobody")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == f"{first}\n"
        try:
            yield
        finally:
            process.stdin.close()
            more = process.stdout.read()
    assert more == "", more


def thief(machine: Machine) -> contextlib.AbstractContextManager[None]:
    """Somebody without rights who wants the address, and must not get it."""
    return program(machine, THIEF, "trying")


def anew(machine: Machine, before: str) -> None:
    machine.wait_for_restart(AGENT, before, 60)
    machine.wait_for_agent(60)


def test_nobody_is_refused_and_no_app_gets_the_address_at_a_restart_or_an_upgrade(machine: Machine, deb: Path) -> None:
    """A listener in between would be sent the tokens of whoever asks then; a refused request is a failed CI run."""
    before = machine.property(AGENT, "MainPID")
    with thief(machine), Asking(machine.place.port) as asking:
        machine.run(["systemctl", "restart", AGENT])
        assert machine.property(AGENT, "MainPID") != before
        machine.install(deb)
        machine.wait_for_agent(60)
    assert asking.failures == []
    assert asking.answers > 10
    assert machine.http("GET", "/api/v1/apps").status == 200


def test_no_app_gets_the_address_when_the_agent_is_killed_or_stopped(machine: Machine) -> None:
    """Killed, it answers those in flight no more, but who comes next waits for its successor."""
    before = machine.property(AGENT, "MainPID")
    with thief(machine), Asking(machine.place.port) as asking:
        machine.run(["kill", "-KILL", before])
        anew(machine, before)
    assert not [one for one in asking.failures if "refused" in one.lower()], asking.failures
    assert len(asking.failures) <= 1, asking.failures
    with thief(machine):
        machine.run(["systemctl", "stop", AGENT])
        with pytest.raises(TimeoutError):
            machine.http("GET", "/health", timeout=2)
        assert machine.property(AGENT, "ActiveState") == "inactive", "a connection started what somebody had stopped"
        machine.run(["systemctl", "start", AGENT])
    machine.wait_for_agent()


def test_the_address_follows_the_settings_and_one_that_is_taken_is_named(machine: Machine) -> None:
    """`systemctl restart rustploy-agent` is all that agent.yaml asks for after a change."""
    before = machine.read("/etc/rustploy/agent.yaml")
    settings, port = yaml.safe_load(before), machine.place.port + 7  # of the block, and nobody's
    held = "/etc/systemd/system/rustploy-agent.socket.d/50-rustploy.conf"
    try:
        machine.write(
            "/etc/rustploy/agent.yaml", json.dumps(settings | {"listen": {"port": port}}), 0o640, "root:rustploy"
        )
        machine.run(["systemctl", "restart", AGENT])
        assert machine.http("GET", "/health", port=port).body["status"] == "ok"
        with pytest.raises(ConnectionRefusedError):
            machine.http("GET", "/health")
        assert f"127.0.0.1:{port}" in machine.read(held)
        listening = machine.run(["ss", "-Hltnp", f"sport = :{port}"]).stdout
        assert "systemd" in listening, listening
    finally:
        with program(machine, OTHER, "listens"):
            machine.write("/etc/rustploy/agent.yaml", before, 0o640, "root:rustploy")
            machine.run(["systemctl", "restart", AGENT], check=False)
            said = [str(one["MESSAGE"]) for one in machine.journal("-u", AGENT, "-n", "20")]
        machine.run(["systemctl", "reset-failed"])
        machine.run(["systemctl", "restart", AGENT])
        machine.wait_for_agent()
    sentence = rf"listen: 127\.0\.0\.1:{machine.place.port} cannot be had: Address already in use; `ss"
    assert any(re.search(sentence, line) for line in said), said
    assert troubles(machine) == []
