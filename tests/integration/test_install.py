"""install.sh on a booted Debian: one clear sentence when it cannot, everything when it can."""

import socket
import subprocess
from collections.abc import Sequence

import pytest
import yaml

from tests.machine import Machine
from tests.machine.base import REPOSITORY

SOURCE = "/usr/local/src/rustploy-agent"
PARTS = ("install.sh", "pyproject.toml", "openapi.yaml", "buildpacks", "docs", "packaging", "rustploy_agent", "units")


@pytest.fixture
def fresh(bare_machine: Machine) -> Machine:
    """A machine with the source tree and a port of its own in the settings."""
    tree = subprocess.run(
        ["tar", "-C", REPOSITORY, "--exclude=__pycache__", "-c", *PARTS], check=True, capture_output=True
    )
    bare_machine.run(["mkdir", "-p", SOURCE])
    subprocess.run(bare_machine.argv(["tar", "-C", SOURCE, "-x", "--no-same-owner"]), input=tree.stdout, check=True)
    settings = {key: value for key, value in bare_machine.settings().items() if key != "source"}
    bare_machine.write("/etc/rustploy/agent.yaml", yaml.safe_dump(settings), 0o640)
    return bare_machine


def install(
    machine: Machine, *arguments: str, prefix: Sequence[str] = (), user: str | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*prefix, f"{SOURCE}/install.sh", *arguments]
    return machine.run(command, check=False, user=user, timeout=400)


def refused(machine: Machine, done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence on stderr with these words, status 1, and nothing of the package on the machine."""
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("install.sh: ")
    assert [word for word in words if word not in lines[0]] == [], lines[0]
    status = machine.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", "rustploy-agent"], check=False)
    assert status.stdout in ("", "not-installed")
    assert machine.run(["getent", "passwd", "rustploy"], check=False).stdout == ""
    assert not machine.exists("/var/lib/rustploy")


def test_refuses_what_it_cannot_install_on(fresh: Machine) -> None:
    """Each reason in one sentence; an installer that went on would leave half an installation."""
    refused(fresh, install(fresh, user="nobody"), "root")
    refused(fresh, install(fresh, "--demmo"), "--demmo", "usage", "--demo")
    for option in ("--help", "-h"):
        told = install(fresh, option, user="nobody")
        assert told.returncode == 0 and told.stdout.startswith("usage: ./install.sh"), told.stderr

    fresh.write("/var/tmp/os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n")
    elsewhere = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind /var/tmp/os-release /etc/os-release && exec "$@"',
        "sh",
    ]
    refused(fresh, install(fresh, prefix=elsewhere), "ubuntu", "Debian 12")

    fresh.write("/var/tmp/old/systemctl", "#!/bin/sh\necho 'systemd 247 (247.3-7)'\n", 0o755)
    old = ["env", "PATH=/var/tmp/old:/usr/sbin:/usr/bin:/sbin:/bin"]
    refused(fresh, install(fresh, prefix=old), "systemd 247", "252")

    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run/systemd && exec "$@"', "sh"]
    refused(fresh, install(fresh, prefix=hidden), "PID 1", "systemd", "--demo")

    with socket.create_server(("127.0.0.1", fresh.place.port)):  # the host's network is the machine's
        refused(fresh, install(fresh), f"port {fresh.place.port}", "taken", "agent.yaml")


def test_refuses_when_the_package_index_is_out_of_reach(fresh: Machine) -> None:
    fresh.write("/etc/apt/sources.list", "deb http://127.0.0.1:9/debian bookworm main\n")
    fresh.run(["sh", "-c", "rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*"])
    fresh.run(["dpkg", "--purge", "--force-depends", "python3-waitress"])
    refused(fresh, install(fresh), "package index", "nothing was installed", "127.0.0.1")


def test_installs_then_upgrades(fresh: Machine) -> None:
    """The password is shown once: an upgrade that made a new one would lock the admin out."""
    done = install(fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    api = f"http://127.0.0.1:{fresh.place.port}/api/v1"
    assert api in done.stdout
    assert "admin@localhost" in done.stdout
    assert len(_password(done.stdout)) >= 16
    assert done.stdout.count("  curl ") == 3
    assert fresh.http("GET", "/api/v1/health").body["status"] == "ok"
    assert fresh.failed_units() == []
    started = _started(fresh)
    accounts = fresh.run(["rustploy-agent", "token", "create", "--name", "kept", "--scope", "read"]).stdout.splitlines()

    again = install(fresh)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "password" not in again.stdout
    assert _started(fresh) > started
    assert fresh.http("GET", "/api/v1/apps", token=accounts[-1]).status == 200


def test_the_demo_ends_with_the_apps_answer(fresh: Machine) -> None:
    """The first thing a visitor runs; without a terminal, as from a script."""
    done = install(fresh, "--demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("/apps/import", "--request POST", "/deployments"):
        assert command in done.stdout
    sample = (REPOSITORY / "packaging" / "sample" / "index.html").read_text()
    assert sample in done.stdout
    assert done.stdout.strip().endswith("journalctl RUSTPLOY_APP=sample -f")
    assert fresh.journal("RUSTPLOY_APP=sample") != []
    again = install(fresh, "--demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert sample in again.stdout
    assert "Next" not in done.stdout, "in the middle of the demo, about an app that is not there"
    tokens = fresh.run(["rustploy-agent", "token", "list"]).stdout.splitlines()
    left = [line for line in tokens if "  demo" in line and "  revoked  " not in line]
    assert left == [], "each demo leaves an admin's token"


def _password(output: str) -> str:
    return next(line.split()[1] for line in output.splitlines() if line.strip().startswith("password "))


def _started(machine: Machine) -> int:
    shown = machine.run(["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", "rustploy-agent"])
    return int(shown.stdout)
