"""A private repository over ssh, with a real sshd: the way to it is the deploy key that the refused import names."""

import re
from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
HOME = "/srv/githost"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture
def clone_url(session_machine: Machine) -> Iterator[str]:
    """An sshd of its own on a port of the machine's, with a user that may only run git."""
    machine, port = session_machine, session_machine.place.last_port
    machine.run(["systemctl", "mask", "--quiet", "ssh.service", "ssh.socket"])
    install = ["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", "openssh-server"]
    machine.run(["env", "DEBIAN_FRONTEND=noninteractive", *install], timeout=300)
    machine.run(
        ["useradd", "--system", "--create-home", "--home-dir", HOME, "--shell", "/usr/bin/git-shell", "githost"]
    )
    machine.run(["install", "-d", "-m", "0700", "-o", "githost", f"{HOME}/.ssh"])
    machine.run(["install", "-d", "-m", "0755", "/run/sshd"])
    options = ["-o", f"Port={port}", "-o", "ListenAddress=127.0.0.1", "-o", "PasswordAuthentication=no"]
    machine.run(["systemd-run", "--quiet", "--unit=test-sshd", "/usr/sbin/sshd", "-D", *options])
    yield f"ssh://githost@127.0.0.1:{port}{HOME}/private.git"
    machine.run(["systemctl", "stop", "test-sshd"])
    machine.run(["userdel", "--force", "--remove", "githost"])


def make_private(machine: Machine, path: str) -> None:
    machine.repositories.create("ssh-private", {"index.html": "from behind ssh"})
    machine.run(["git", "clone", "--quiet", "--bare", machine.repositories.path("ssh-private"), path])
    machine.run(["chown", "-R", "githost:", path])
    machine.run(["chmod", "0700", path])


def authorise(machine: Machine, key: str) -> None:
    machine.write(f"{HOME}/.ssh/authorized_keys", f"restrict {key}\n")
    machine.run(["chown", "githost:", f"{HOME}/.ssh/authorized_keys"])


def test_a_private_repository_is_deployed_once_its_deploy_key_is_added(api: Deployments, clone_url: str) -> None:
    """Without it private code can only be deployed with a token in the URL."""
    machine = api.machine
    make_private(machine, f"{HOME}/private.git")
    repository = {"provider": "git", "owner": "me", "name": "ssh-private", "clone_url": clone_url}
    refused = machine.http("POST", "/api/v1/apps/import", json={"repository": repository})
    assert (refused.status, refused.body["error"]["code"]) == (400, "authentication_failed")
    key = re.search(r"ssh-ed25519 [A-Za-z0-9+/=]+ rustploy-ssh-private", refused.body["error"]["message"])
    assert key, refused.body

    authorise(machine, key[0])
    assert machine.http("POST", "/api/v1/apps/import", json={"repository": repository}).status == 201
    api.healthy("ssh-private")
    assert api.get("ssh-private").body == "from behind ssh"

    assert (
        machine.run(["find", "/var/lib/rustploy/apps/ssh-private", "-name", "id_ed25519", "-perm", "/077"]).stdout == ""
    )
