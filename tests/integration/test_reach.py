"""What apps and builds reach of the network: their own ports and the world, but no other app's ports and no metadata.

The machine has a network of its own, for rules of nftables act on a whole network. There the unit that loads them is
left out under systemd-nspawn; a drop-in takes that condition away, and all else is as shipped.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.byhand import APPS, ByHand, app, process, slot
from tests.machine import Machine

FIREWALL = "rustploy-firewall.service"
TABLE = ["nft", "list", "table", "inet", "rustploy"]
METADATA, OTHER = "169.254.169.254", "10.99.0.1"
#: An app that listens on all addresses. Asked for /HOST/PORT it connects there and answers `yes`, or why it could not.
SERVER = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, host, port = self.path.split("/")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
            said = b"yes"
        except OSError as error:
            said = str(error).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer
server.address_family = socket.AF_INET6
server(("::", int(os.environ["PORT"])), Handler).serve_forever()
"""
TRY = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
    print("yes")
except OSError as error:
    print(error)
"""


class Reach:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.hand = machine, ByHand(machine)
        self.ports = {"one": machine.place.port + 20, "two": machine.place.port + 22}

    def wish(self, *names: str, closed: bool = True) -> None:
        apps = [app(name, process("web", slot(self.ports[name]), slot(self.ports[name] + 1))) for name in names]
        api = [self.machine.place.port] if closed else []
        self.hand.make(*apps, closed_ports=api, deny_addresses=["169.254.0.0/16"])

    def start(self, name: str) -> None:
        directory = self.hand.slug(name, {"server.py": SERVER})
        command = "exec python3 server.py"
        self.hand.slot_file(name, "web-a", directory, command, {"PORT": str(self.ports[name])})
        self.machine.run(["systemctl", "start", f"rustploy-app@{name}-web-a"])
        self.machine.wait_for(lambda: self.by("root", "127.0.0.1", self.ports[name]) == "yes", 20, f"{name} to listen")

    def by(self, user: str, host: str, port: int) -> str:
        return self.machine.run(["python3", "-c", TRY, host, str(port)], user=user).stdout.strip()

    def from_app(self, name: str, host: str, port: int) -> str:
        """What comes of it inside that app's unit."""
        return str(self.machine.http("GET", f"/{host}/{port}", port=self.ports[name]).body)

    def from_build(self, name: str, host: str, port: int) -> str:
        unit, mark = f"rustploy-build@{name}.service", f"{APPS}/{name}/results/reached"
        script = f"{APPS}/{name}/jobs/try.py"
        self.machine.write(script, TRY, 0o640, f"rustploy:rpb-{name}")
        run = f"/bin/sh -c 'exec /usr/bin/python3 -I {script} {host} {port} >{mark}'"
        self.machine.write(
            f"/run/systemd/system/{unit}.d/90-try.conf", f"[Service]\nType=oneshot\nExecStart=\nExecStart={run}\n"
        )
        self.machine.run(["systemctl", "daemon-reload"])
        try:
            self.machine.run(["systemctl", "start", unit])
            return self.machine.read(mark).strip()
        finally:
            self.machine.run(["rm", "-r", f"/run/systemd/system/{unit}.d"])
            self.machine.run(["systemctl", "daemon-reload"])

    def loaded(self) -> bool:
        return self.machine.run(TABLE, check=False).returncode == 0


@pytest.fixture(scope="module")
def reach(release: str, deb: Path) -> Iterator[Reach]:
    machine = Machine.create(release, private_network=True)
    try:
        machine.write(f"/etc/systemd/system/{FIREWALL}.d/test.conf", "[Unit]\nConditionVirtualization=\n")
        machine.install(deb)
        for address in (METADATA, OTHER):
            machine.run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
        machine.run(["systemctl", "stop", "rustploy-agent"])
        made = Reach(machine)
        made.wish("one", "two")
        made.start("one")
        made.start("two")
        machine.run(["systemctl", "start", "rustploy-agent.socket"])
        yield made
    finally:
        machine.end()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", OTHER])
def test_an_app_s_port_is_for_itself_the_agent_the_ingress_and_root(reach: Reach, host: str) -> None:
    """Else apps reach each other past the ingress: its maintenance page, its limits, the headers it takes off."""
    one, two = reach.ports["one"], reach.ports["two"]
    assert reach.from_app("one", host, one) == "yes"
    for user in ("root", "rustploy", "rustploy-ingress"):
        assert reach.by(user, host, two) == "yes", user
    for user in ("rp-two", "rpb-one", "rpb-two", "nobody"):
        assert "refused" in reach.by(user, host, one), user
    assert "refused" in reach.from_app("one", host, two)
    assert "refused" in reach.from_build("two", host, two)


def test_the_api_is_not_for_apps_and_builds_unless_it_shall_be(reach: Reach) -> None:
    """Else an app that was taken over tries passwords there, and fills its queue of connections."""
    port = reach.machine.place.port
    try:
        for host in ("127.0.0.1", "::1"):
            assert reach.by("nobody", host, port) == reach.by("root", host, port) == "yes"
            assert "refused" in reach.from_app("one", host, port)
            assert "refused" in reach.from_build("one", host, port)
        reach.wish("one", "two", closed=False)
        assert reach.from_app("one", "127.0.0.1", port) == "yes"
        assert "refused" in reach.from_app("one", "127.0.0.1", reach.ports["two"])
    finally:
        reach.wish("one", "two")


def test_no_app_and_no_build_reaches_the_metadata_of_a_cloud(reach: Reach) -> None:
    """Else one request of a hostile package has the credentials of the whole server."""
    for kind in ("app@one-web-a", "task@one", "fetch@one", "build@one"):
        assert reach.machine.property(f"rustploy-{kind}.service", "IPAddressDeny") == "169.254.0.0/16"
    port = reach.machine.place.port + 40
    serve = f"import socket,time; s=socket.create_server(('', {port})); time.sleep(1000)"
    reach.machine.run(["systemd-run", "--quiet", "--unit=metadata", "python3", "-c", serve])
    reach.machine.wait_for(lambda: reach.by("root", METADATA, port) == "yes", 10, "the server")
    try:
        assert reach.from_app("one", OTHER, port) == reach.from_build("one", OTHER, port) == "yes"
        assert "timed out" in reach.from_app("one", METADATA, port)
        assert "timed out" in reach.from_build("one", METADATA, port)
    finally:
        reach.machine.run(["systemctl", "stop", "metadata.service"])


def test_a_connection_that_stands_lives_through_new_rules(reach: Reach) -> None:
    """Else every new app breaks off the downloads and websockets of all others."""
    keep = (
        "import socket,sys,time; s=socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "print('up', flush=True); sys.stdin.read()\n"
        "s.sendall(b'GET /127.0.0.1/1 HTTP/1.0\\r\\n\\r\\n'); print(s.recv(12))"
    )
    argv = reach.machine.argv(["python3", "-c", keep, str(reach.ports["one"])])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout and client.stdout.readline() == "up\n"
        reach.machine.run(["systemctl", "reload", FIREWALL])
        assert "HTTP/1.0 200" in client.communicate(timeout=20)[0]


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_the_rules_survive_what_debian_s_firewall_does(reach: Reach, action: str) -> None:
    """Its nftables.service flushes every table: after an administrator's change apps would be open to each other."""
    reach.machine.run(["systemctl", "start", "nftables.service"])
    reach.machine.run(["systemctl", action, "nftables.service"])
    reach.machine.wait_for(reach.loaded, 10, "the rules to be back")
    assert "refused" in reach.from_app("one", "127.0.0.1", reach.ports["two"])


def test_the_rules_follow_the_apps_that_there_are(reach: Reach) -> None:
    """Else a port that another app gets later is shut to that app, and open to the one before."""
    rules = json.loads(reach.machine.run([TABLE[0], "--json", *TABLE[1:]]).stdout)["nftables"]
    ports = next(one["set"]["elem"] for one in rules if one.get("set", {}).get("name") == "ports")
    assert ports == [port + more for port in reach.ports.values() for more in (0, 1)]
    reach.hand.remove("two")
    assert str(reach.ports["two"]) not in reach.machine.run(TABLE).stdout
    assert str(reach.ports["one"]) in reach.machine.run(TABLE).stdout, "an app that a wish does not name keeps its own"
    reach.wish("one", "two")
    assert str(reach.ports["two"]) in reach.machine.run(TABLE).stdout


def test_doctor_tells_of_rules_that_are_not_loaded(reach: Reach) -> None:
    """Another program may flush them; nothing else would show it."""
    check = "from rustploy_agent import config, reach; print(reach.app_ports(config.load()))"
    assert reach.machine.run(["python3", "-c", check]).stdout == "None\n"
    reach.machine.run([*TABLE[:1], "delete", *TABLE[2:]])
    said = reach.machine.run(["rustploy-agent", "doctor"], check=False).stdout
    assert "PROBLEM  ports of apps" in said and f"systemctl restart {FIREWALL}" in said
    reach.machine.run(["systemctl", "restart", FIREWALL])
    assert reach.machine.run(["python3", "-c", check]).stdout == "None\n"


def test_systemd_finds_little_exposed_of_what_loads_the_rules(reach: Reach) -> None:
    said = reach.machine.run(["systemd-analyze", "security", "--no-pager", FIREWALL]).stdout.splitlines()[-1]
    assert float(said.split(": ")[1].split()[0]) <= 2.5


def test_the_rules_are_there_after_a_reboot_before_any_app(reach: Reach) -> None:
    reach.machine.reboot()
    assert reach.loaded()
    reach.machine.wait_for(lambda: reach.by("root", "127.0.0.1", reach.ports["one"]) == "yes", 20, "one to run")
    began = [
        int(reach.machine.property(unit, "ActiveEnterTimestampMonotonic"))
        for unit in (FIREWALL, "rustploy-app@one-web-a")
    ]
    assert began == sorted(began)


def test_what_all_apps_may_use_together_is_as_the_settings_say(reach: Reach) -> None:
    """Else fifty apps, each within its limits, leave nothing for the host to be logged in to."""

    def shown(name: str) -> dict[str, str]:
        said = reach.machine.run(["systemctl", "show", f"rustploy-{name}.slice", "-pMemoryMax,MemorySwapMax,TasksMax"])
        return dict(line.partition("=")[::2] for line in said.stdout.splitlines())

    machine = reach.machine
    before = {name: shown(name) for name in ("apps", "build")}
    assert not [value for each in before.values() for value in each.values() if value in ("infinity", "0")]
    settings = yaml.safe_load(machine.read("/etc/rustploy/agent.yaml"))
    settings["apps"]["total"] = {"memory_percent": 40, "swap_percent": 0, "tasks_percent": 30}
    machine.write("/etc/rustploy/agent.yaml", yaml.safe_dump(settings), 0o640, "root:rustploy")
    machine.run(["systemctl", "restart", "rustploy-agent"])
    machine.wait_for_agent()
    machine.wait_for(lambda: shown("apps")["MemorySwapMax"] == "0", 30, "the new totals")
    assert abs(int(shown("apps")["MemoryMax"]) * 2 - int(before["apps"]["MemoryMax"])) <= 1 << 20
    assert abs(int(shown("apps")["TasksMax"]) * 2 - int(before["apps"]["TasksMax"])) <= 2
    assert shown("build") == before["build"]
