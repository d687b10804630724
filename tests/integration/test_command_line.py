"""Root's commands on the host: the way in when there is no other, and the one that says what is wrong."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.integration.helpers import troubles
from tests.machine import Machine

RULE = "/usr/share/polkit-1/rules.d/50-rustploy.rules"
WATCHDOG = "/run/systemd/system/rustploy-agent.service.d/test-watchdog.conf"


def agent(machine: Machine, *arguments: str, check: bool = True) -> list[str]:
    return machine.run(["rustploy-agent", *arguments], check=check).stdout.splitlines()


def may_list(machine: Machine, token: str) -> bool:
    return machine.http("GET", "/api/v1/apps", token=token).status == 200


def main_pid(machine: Machine) -> str:
    return machine.property("rustploy-agent.service", "MainPID")


def answers(machine: Machine) -> bool:
    try:
        return machine.http("GET", "/api/v1/health").status == 200
    except OSError:
        return False


def test_a_token_is_alone_on_the_last_line_works_and_is_gone_when_revoked(machine: Machine) -> None:
    """Scripts take the last line; a revoked token that still works is a leak nobody can close."""
    token = agent(machine, "token", "create", "--name", "from root", "--scope", "read")[-1]
    assert token.startswith("rpt_") and " " not in token
    assert may_list(machine, token)
    assert machine.http("POST", "/api/v1/apps", {"name": "never"}, token=token).status == 403
    listed = [line for line in agent(machine, "token", "list") if "from root" in line]
    assert len(listed) == 1 and "read" in listed[0] and token not in listed[0]

    agent(machine, "token", "revoke", "from root")
    assert not may_list(machine, token)
    assert any("from root" in line and "revoked" in line for line in agent(machine, "token", "list"))


def test_what_cannot_be_done_is_said_and_leaves_nothing(machine: Machine) -> None:
    before = agent(machine, "token", "list")
    for arguments in (
        ["create", "--name", "", "--scope", "read"],
        ["create", "--name", "x", "--scope", "root"],
        ["create", "--name", "x", "--scope", "read", "--expires-in-seconds", "0"],
        ["revoke", "nobody"],
    ):
        done = machine.run(["rustploy-agent", "token", *arguments], check=False)
        assert done.returncode != 0 and done.stderr and "Traceback" not in done.stderr, arguments
    assert agent(machine, "token", "list") == before


def test_a_new_admin_password_opens_the_api_and_ends_old_sessions(machine: Machine) -> None:
    """The way back in for somebody who lost the password, and the way out for whoever found it."""

    def login(password: str) -> tuple[int, str]:
        answer = machine.http("POST", "/api/v1/auth/login", {"email": email, "password": password}, token="")
        return answer.status, (answer.headers.get("Set-Cookie") or "").partition(";")[0]

    def me(cookie: str) -> int:
        return machine.http("GET", "/api/v1/auth/me", token="", headers={"Cookie": cookie}).status

    first = dict(line.split() for line in agent(machine, "admin", "reset-password"))
    email = first["email:"]
    status, cookie = login(first["password:"])
    assert status == 200 and me(cookie) == 200
    second = dict(line.split() for line in agent(machine, "admin", "reset-password"))
    assert me(cookie) == 401
    assert (login(first["password:"])[0], login(second["password:"])[0]) == (401, 200)


def test_doctor_finds_nothing_on_a_healthy_host(machine: Machine) -> None:
    """A check that always complains is one that nobody reads; of limits it complains where they do not hold.

    The rules for the apps' ports are not loaded on this machine, which is in its host's network: it tells that, once
    there was an app.
    """
    assert troubles(machine) == []
    done = machine.run(["rustploy-agent", "doctor"], check=False)
    controllers = machine.read("/sys/fs/cgroup/cgroup.controllers").split()
    missing = [name for name in ("cpu", "memory", "pids") if name not in controllers]
    open_ports = machine.exists("/var/lib/rustploy/apply/firewall.nft")
    assert done.returncode == bool(missing or open_ports)
    assert ("PROBLEM  ports of apps: any program of this host reaches them" in done.stdout) == open_ports
    assert (
        not missing
        or f"PROBLEM  limits of apps: they do not hold, for this system has no control of {', '.join(missing)}\n"
        in done.stdout
    )


@pytest.fixture
def without_polkit_rule(machine: Machine) -> Iterator[None]:
    machine.run(["mv", RULE, f"{RULE}.away"])
    yield
    machine.run(["mv", f"{RULE}.away", RULE])


def test_doctor_names_what_is_wrong_and_what_to_do(machine: Machine, without_polkit_rule: None) -> None:
    machine.run(["systemctl", "stop", "rustploy-agent"])
    try:
        done = machine.run(["rustploy-agent", "doctor"], check=False)
    finally:
        machine.run(["systemctl", "start", "rustploy-agent"])
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert any("rustploy-agent.service is inactive" in line for line in wrong), done.stdout
    assert any(RULE in line for line in wrong)
    assert "ok       API port" in done.stdout, "systemd holds it while the agent is stopped"
    assert "journalctl -u rustploy-agent" in done.stdout and "--reinstall rustploy-agent" in done.stdout


def test_the_agent_starts_with_this_debian_s_flask_without_the_parts_it_never_uses(machine: Machine) -> None:
    """Else it takes a tenth more of the server's memory, and nobody notices which upgrade brought that."""
    said = machine.journal("--unit=rustploy-agent", "--grep=listening on|imported whole")
    assert said and not [one["MESSAGE"] for one in said if "whole" in one["MESSAGE"]]


def test_idle_connections_do_not_keep_others_out(machine: Machine) -> None:
    """Every app on the host can open them; at Waitress's own limit of 100 nobody else was served."""
    with contextlib.ExitStack() as idle:
        for _ in range(150):
            idle.enter_context(socket.create_connection(("127.0.0.1", machine.place.port), timeout=5))
        assert answers(machine)


@pytest.fixture
def impatient_watchdog(machine: Machine) -> Iterator[None]:
    machine.write(WATCHDOG, "[Service]\nWatchdogSec=6\nWatchdogSignal=SIGKILL\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "rustploy-agent"])
    yield
    machine.run(["rm", WATCHDOG])
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "rustploy-agent"])


def test_an_agent_that_hangs_is_started_anew_and_one_that_answers_is_not(
    machine: Machine, impatient_watchdog: None
) -> None:
    """Nobody watches the agent at night but systemd."""
    machine.wait_for(lambda: answers(machine), 30, "the agent to answer")
    before = main_pid(machine)
    machine.run(["sleep", "8"])
    assert main_pid(machine) == before
    machine.run(["kill", "-STOP", before])
    machine.wait_for_restart("rustploy-agent.service", before)
    machine.wait_for(lambda: answers(machine), 30, "the agent to answer again")
