"""What an app, its release phase, a fetch and a build can see and do: their own things, and nothing else of the host.

The four kinds of units run tests/integration/probe.py in place of their programs; all else of them is as shipped.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.byhand import APPS, ByHand, app, process, quoted, slot
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
PROBE = (Path(__file__).parent / "probe.py").read_text()
KINDS = ("app", "task", "fetch", "build")
UNITS = {
    "app": "rustploy-app@intruder-web-a",
    "task": "rustploy-task@intruder",
    "fetch": "rustploy-fetch@intruder",
    "build": "rustploy-build@intruder",
}
SECRET = "the-victims-secret"
SLEEP = "exec sleep infinity"
VICTIM = f"{APPS}/victim"
OWN = f"{APPS}/intruder"
SERVER = """
import os, socket, time
server = socket.socket(socket.AF_UNIX)
path = os.environ["HOME"] + "/private.sock"
if os.path.exists(path):
    os.unlink(path)
server.bind(path)
server.listen()
os.chmod(path, 0o777)
open("/tmp/victims-file", "w").write("x")
open("/dev/shm/victims-file", "w").write("x")
print("ready", flush=True)
time.sleep(100000)
"""


class Neighbours:
    """A running app with secrets, and another one whose units run the probe."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.hand = machine, ByHand(machine)
        self.port = machine.place.port + 20
        self.hand.make(
            app("victim", process("web", a=slot(self.port), b=slot(self.port + 1))),
            app("intruder", process("web", a=slot(self.port + 2), b=slot(self.port + 3))),
            deny_ports=[{"first": machine.place.port, "last": machine.place.last_port}],
        )
        self.victim_dir = self.hand.slug("victim", {"server.py": SERVER, "source.txt": SECRET})
        self.own_dir = self.hand.slug("intruder", {"probe.py": PROBE, "source.txt": "mine"})
        machine.write(f"{VICTIM}/data/file", SECRET, 0o644, "rp-victim:rp-victim")
        machine.write(f"{OWN}/mirror/file", "mirror", 0o600, "rpb-intruder:rpb-intruder")
        machine.write(f"{OWN}/cache/file", "cache", 0o600, "rpb-intruder:rpb-intruder")
        machine.write(f"{OWN}/data/file", "data", 0o600, "rp-intruder:rp-intruder")
        machine.write(f"{OWN}/jobs/probe.py", PROBE, 0o640, "rustploy:rpb-intruder")
        self.hand.slot_file("victim", "web-a", self.victim_dir, "python3 server.py", {"SECRET": SECRET})
        self.hand.slot_file("intruder", "web-b", self.own_dir, SLEEP, {"SECRET": SECRET})
        machine.run(["systemctl", "start", "rustploy-app@victim-web-a", "rustploy-app@intruder-web-b"])
        machine.wait_for(lambda: machine.exists(f"{VICTIM}/data/private.sock"), 10, "the victim to listen")

    def probe(self, kind: str, *attempts: tuple[str, Any]) -> dict[str, Any]:
        """What came of the attempts in that kind of unit, by attempt."""
        launched = kind in ("app", "task")
        script = f"{self.own_dir}/probe.py" if launched else f"{OWN}/jobs/probe.py"
        plan = f"{OWN}/data/plan.json" if launched else f"{OWN}/jobs/plan.json"
        self.machine.write(plan, json.dumps(attempts), 0o640, f"root:{'rp' if launched else 'rpb'}-intruder")
        unit, command = UNITS[kind], f"/usr/bin/python3 -I {script} {plan}"
        if kind == "app":
            self.hand.slot_file("intruder", "web-a", self.own_dir, f"{command}; {SLEEP}")
        elif kind == "task":
            self.hand.slot_file("intruder", "task", self.own_dir, command)
        else:
            override = f"[Service]\nExecStart=\nExecStart={command}\n"
            self.machine.write(f"/run/systemd/system/{unit}.service.d/90-probe.conf", override)
            self.machine.run(["systemctl", "daemon-reload"])
        self.machine.run(["journalctl", "--sync"])
        since = time.time()
        self.machine.run(["systemctl", "restart" if kind == "app" else "start", unit], timeout=120)
        return self.machine.wait_for(lambda: self.output(unit, since), 60, f"the probe's answer from {unit}")

    def output(self, unit: str, since: float) -> Any:
        for entry in self.machine.journal(f"_SYSTEMD_UNIT={unit}.service", f"--since=@{since:.6f}"):
            if str(entry["MESSAGE"]).startswith("{"):
                return json.loads(entry["MESSAGE"])
        return None

    def end(self) -> None:
        self.machine.run(
            ["rm", "-rf", *(f"/run/systemd/system/{UNITS[kind]}.service.d" for kind in ("fetch", "build"))]
        )
        self.hand.remove("victim", "intruder")


@pytest.fixture(scope="module")
def neighbours(session_machine: Machine) -> Iterator[Neighbours]:
    made = Neighbours(session_machine)
    yield made
    made.end()


def successes(outcome: dict[str, Any]) -> dict[str, Any]:
    return {attempt: got for attempt, got in outcome.items() if got is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_the_agent_and_of_other_apps_cannot_be_read(neighbours: Neighbours, kind: str) -> None:
    """Else one hostile app reads every app's secrets, or the tokens of the API."""
    hidden = [
        "/var/lib/rustploy/agent",
        "/var/lib/rustploy/agent/rustploy.db",
        "/var/lib/rustploy/agent/desired.json",
        "/var/lib/rustploy/apply/result.json",
        "/etc/rustploy/agent.yaml",
        "/etc/shadow",
        VICTIM,
        f"{VICTIM}/data/file",
        f"{VICTIM}/slots/web-a.env",
        f"{neighbours.victim_dir}/source.txt",
        "/root",
        "/home",
    ]
    outcome = neighbours.probe(
        kind,
        *(("read", path) for path in hidden),
        ("read", "/var/lib/rustploy/apps"),
        ("connect", f"{VICTIM}/data/private.sock"),
        ("read", "/tmp/victims-file"),
        ("read", "/dev/shm/victims-file"),
        ("read", f"{neighbours.own_dir}/source.txt"),
    )
    own = {f"read {neighbours.own_dir}/source.txt": "mine"} if kind in ("app", "task") else {}
    assert successes(outcome) == {"read /var/lib/rustploy/apps": ["intruder"], **own}


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("app", {"data", "slots", "slugs"}),
        ("task", {"data", "slots", "slugs"}),
        ("fetch", {"jobs", "mirror", "results", "slugs"}),
        ("build", {"cache", "jobs", "results", "slugs"}),
    ],
)
def test_a_unit_sees_only_the_directories_it_works_with(neighbours: Neighbours, kind: str, seen: set[str]) -> None:
    """Else a build reads the app's environment and data, or a running app poisons the next build's cache."""
    outcome = neighbours.probe(kind, ("read", OWN))
    assert set(outcome[f"read {OWN}"]) == seen


@pytest.mark.parametrize("kind", KINDS)
def test_processes_of_others_can_neither_be_seen_nor_touched(neighbours: Neighbours, kind: str) -> None:
    """Else an app reads another's environment from /proc, or ends it; of its own app's other slot too."""
    victim = neighbours.hand.main_pid("rustploy-app@victim-web-a")
    sibling = neighbours.hand.main_pid("rustploy-app@intruder-web-b")
    attempts = [(name, pid) for pid in (victim, sibling) for name in ("ptrace", "memory")]
    attempts += [
        ("read", f"/proc/{pid}/{file}") for pid in (victim, sibling) for file in ("environ", "cmdline", "maps")
    ]
    outcome = neighbours.probe(kind, ("processes", ""), ("kill", victim), *attempts)
    assert successes(outcome) == {}
    assert neighbours.hand.main_pid("rustploy-app@victim-web-a") == victim


@pytest.mark.parametrize("kind", KINDS)
def test_no_release_and_nothing_of_the_host_can_be_written(neighbours: Neighbours, kind: str) -> None:
    """Else a taken-over app changes what it will be started from, or what root runs."""
    own = Path(neighbours.own_dir)
    places = [
        own / "new",
        own / "source.txt",
        own.parent / "new",
        OWN + "/new",
        f"{OWN}/slots/web-b.env",
        f"{OWN}/slots/new",
        "/etc/systemd/system/new.service",
        "/run/systemd/system/new.service",
        "/usr/lib/rustploy-agent/launch",
        "/etc/sysusers.d/new.conf",
        "/etc/cron.d/new",
        "/usr/local/bin/new",
        "/var/lib/rustploy/new",
        "/run/new",
        "/var/cache/new",
        "/opt/new",
        "/proc/sys/kernel/core_pattern",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/fs/cgroup/new",
        f"{OWN}/jobs/new",
    ]
    outcome = neighbours.probe(kind, *(("write", str(place)) for place in places))
    assert successes(outcome) == {}


#: Devices that hold nothing, terminals, and what each unit has for itself and loses when it ends.
WRITABLE_BY_ALL = {
    *(f"/dev/{name}" for name in ("full", "mqueue", "null", "random", "shm", "tty", "urandom", "zero")),
    *("/dev/pts/ptmx", "/run/systemd/journal/dev-log", "/tmp", "/var/tmp"),
}
WRITABLE = {
    "app": {f"{OWN}/data"},
    "task": {f"{OWN}/data"},
    "fetch": {f"{OWN}/mirror", f"{OWN}/results", "/run/systemd/journal/socket"},
    "build": {f"{OWN}/cache", f"{OWN}/results", "/run/systemd/journal/socket"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_that_can_be_written_is_a_known_one(neighbours: Neighbours, kind: str) -> None:
    """Else apps leave files for each other in a shared directory, fill it, or outlive their stop there.

    Sockets that can be connected to count too: services of the host answer whoever comes.
    """
    outcome = neighbours.probe(kind, ("writable", "/"))
    # Where the kernel tells of the load of the host and of the unit itself, and lets a program wait for more of it.
    waits = re.compile(rf"/proc/pressure/[a-z]+|/sys/fs/cgroup/\S+/{UNITS[kind]}\.service/memory\.pressure")
    assert {path for path in outcome["writable /"] if not waits.fullmatch(path)} == WRITABLE_BY_ALL | WRITABLE[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_app_leaves_in_its_own_temporary_places_is_seen_by_nobody(neighbours: Neighbours, kind: str) -> None:
    """Else two apps, or an app and its build, work together through a name in memory or in /tmp."""
    marks = [f"{place}/left-by-{kind}" for place in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")]
    outcome = neighbours.probe(kind, *(("write", mark) for mark in marks))
    assert set(successes(outcome)) >= {f"write {mark}" for mark in marks[:3]}
    assert [mark for mark in marks if neighbours.machine.exists(mark)] == [], "the host has it"
    other = "build" if kind in ("app", "task") else "app"
    assert successes(neighbours.probe(other, *(("read", mark) for mark in marks))) == {}


def test_an_app_cannot_write_where_its_builds_do(neighbours: Neighbours) -> None:
    """Else a taken-over app survives every later deployment."""
    places = [f"{OWN}/slugs/new", f"{OWN}/cache/file", f"{OWN}/mirror/file", f"{OWN}/results/new"]
    assert successes(neighbours.probe("app", *(("write", place) for place in places))) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_gives_a_sandbox_more_rights(neighbours: Neighbours, kind: str) -> None:
    """Else whoever takes over one app takes the host."""
    calls = [
        "setuid",
        "setgid",
        "setgroups",
        "chroot",
        "mount",
        "umount",
        "unshare user",
        "mknod",
        "chown",
        "nice -10",
        "realtime",
        "set clock",
        "hostname",
        "raw socket",
        "packet socket",
        "vsock",
        "personality",
        "swapoff",
        "reboot",
        "bpf",
        "keyctl",
    ]
    commands = ["su -c id", "systemctl stop rustploy-app@victim-web-a", "systemd-run --wait id"]
    outcome = neighbours.probe(
        kind,
        *(("call", call) for call in calls),
        *(("run", command) for command in commands),
        ("make_setuid", "/tmp/setuid"),
    )
    assert successes(outcome) == {}
    status = neighbours.probe(kind, ("run", "cat /proc/self/status"))["run cat /proc/self/status"]
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[key].strip("0 ") for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("kind", KINDS)
def test_the_bus_and_systemds_own_sockets_are_out_of_reach(neighbours: Neighbours, kind: str) -> None:
    """Else an app talks to every service of the host that trusts local processes."""
    sockets = ["/run/dbus/system_bus_socket", "/run/systemd/private"]
    assert successes(neighbours.probe(kind, *(("connect", path) for path in sockets))) == {}


@pytest.mark.parametrize("kind", ["app", "task"])
def test_an_app_cannot_forge_the_journal_fields_of_another(neighbours: Neighbours, kind: str) -> None:
    """Else `journalctl RUSTPLOY_APP=victim` shows an operator what an intruder wrote."""
    assert successes(neighbours.probe(kind, ("send", "/run/systemd/journal/socket"))) == {}
    victims = [str(entry["MESSAGE"]) for entry in neighbours.machine.journal("RUSTPLOY_APP=victim")]
    assert "ready" in victims
    assert not [message for message in victims if "forged" in message]


def test_what_programs_need_works(neighbours: Neighbours) -> None:
    """Else honest apps fail in a sandbox that was made for hostile ones."""
    node = (
        "const os = require('os');"
        "console.log(os.cpus().length > 0 && Object.keys(os.networkInterfaces()).length > 0)"
    )
    python = (
        "import multiprocessing, ssl; pool = multiprocessing.get_context('fork').Pool(2); "
        "print(pool.map(abs, [-1, -2]), multiprocessing.Lock() is not None)"
    )
    commands = {
        f"node -e {quoted(node)}": "true\n",
        f"python3 -c {quoted(python)}": "[1, 2] True\n",
        "nice -n 5 echo nice": "nice\n",
        "taskset -c 0 echo taskset": "taskset\n",
        "id -un": "rp-intruder\n",
        "echo $HOME": f"{OWN}/data\n",
        f"touch {OWN}/data/made && cp -a {OWN}/data/made /tmp/copy && rm {OWN}/data/made && echo made": "made\n",
        "cat /proc/sys/kernel/ostype": "Linux\n",
    }
    for kind in ("app", "task"):
        outcome = neighbours.probe(kind, *(("run", command) for command in commands))
        assert {key.removeprefix("run "): got for key, got in outcome.items()} == commands


def test_builds_can_install_packages_and_leave_programs_that_run(neighbours: Neighbours) -> None:
    """Else no Python or Node app can be built."""
    work = f"{OWN}/slugs/work"
    neighbours.machine.run(["install", "-d", "--owner=rustploy", "--group=rpb-intruder", "--mode=0770", work])
    commands = [
        f"python3 -m venv {work}/venv",
        f"{work}/venv/bin/pip install --quiet six",
        f"{work}/venv/bin/python -c 'import six; print(six.__name__)'",
        "node --version",
    ]
    outcome = neighbours.probe("build", *(("run", command) for command in commands))
    assert outcome[f"run {commands[2]}"] == "six\n", outcome
    assert outcome["run node --version"].startswith("v"), outcome


def test_ports_of_others_cannot_be_taken(neighbours: Neighbours) -> None:
    """Else an app that waits for another's restart receives its visitors, passwords included.

    systemd enforces it from Debian 13 on, with BPF in the kernel and unified control groups.
    """
    machine, port = neighbours.machine, neighbours.port
    shown = machine.run(["systemctl", "show", "--property=SocketBindDeny,SocketBindAllow", UNITS["app"]]).stdout
    assert f"{machine.place.port}-{machine.place.last_port}" in shown and str(port + 2) in shown
    bind = f"import socket; socket.create_server(('127.0.0.1', {port + 1}))"
    anyone = ["systemd-run", "--quiet", "--wait", "--collect", "--property=SocketBindDeny=any", "python3", "-c", bind]
    enforced = machine.run(anyone, check=False).returncode != 0
    outcome = neighbours.probe("app", ("bind", port + 1), ("bind", port + 3), ("bind", port + 2), ("bind", 0))
    others = {} if enforced else {f"bind {port + 1}": "bound", f"bind {port + 3}": "bound"}
    assert successes(outcome) == {f"bind {port + 2}": "bound", "bind 0": "bound", **others}


@pytest.mark.parametrize("kind", UNITS)
def test_the_ingress_s_ports_are_for_nobody_else(neighbours: Neighbours, kind: str) -> None:
    """Else an app that is quicker than the ingress after a reboot has all visitors of all apps. They are free here."""
    for port in (80, 443):
        bind = f"import socket; socket.create_server(('127.0.0.1', {port}))"
        neighbours.machine.run(["python3", "-c", bind])
    assert successes(neighbours.probe(kind, ("bind", 80), ("bind", 443))) == {}


@pytest.mark.parametrize("unit", ["rustploy-agent", *UNITS.values()])
def test_systemd_finds_little_exposed(neighbours: Neighbours, unit: str) -> None:
    """The promise of the package, as `systemd-analyze security` measures it."""
    threshold = ["systemd-analyze", "security", "--threshold=13", "--no-pager", f"{unit}.service"]
    last = neighbours.machine.run(threshold).stdout.splitlines()[-1]
    assert float(last.split(": ")[1].split()[0]) <= 1.3


def test_systemd_understands_every_line_of_the_units(neighbours: Neighbours) -> None:
    """A misspelt or too new setting is only a warning in the journal, and a hole in the sandbox."""
    slices = ["rustploy-apps.slice", "rustploy-build.slice", "rustploy-apps.target"]
    shipped = [f"{unit}.service" for unit in ("rustploy-agent", "rustploy-apply", *UNITS.values())]
    said = neighbours.machine.run(["systemd-analyze", "verify", "--man=no", *shipped, *slices], check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if "rustploy" in line] == []


def test_an_environment_that_subverts_programs_stays_in_its_app(neighbours: Neighbours) -> None:
    """LD_PRELOAD and the like of one app must not reach another's processes, systemd or the agent."""
    hand, machine = neighbours.hand, neighbours.machine
    env = {
        "LD_PRELOAD": f"{OWN}/data/evil.so",
        "PYTHONPATH": f"{OWN}/data",
        "BASH_ENV": f"{OWN}/data/rc",
        "PATH": f"{OWN}/data",
    }
    hand.slot_file("intruder", "web-a", neighbours.own_dir, "/usr/bin/sleep infinity", env)
    machine.run(["systemctl", "restart", UNITS["app"], "rustploy-app@victim-web-a"])

    def environ(unit: str) -> str:
        return machine.run(["cat", f"/proc/{machine.app_process(f'{unit}.service')}/environ"]).stdout

    machine.wait_for(lambda: f"LD_PRELOAD={OWN}/data/evil.so" in environ(UNITS["app"]), 10, "the app to run with it")
    machine.wait_for(lambda: f"SECRET={SECRET}" in environ("rustploy-app@victim-web-a"), 10, "the victim to run")
    assert "evil.so" not in environ("rustploy-app@victim-web-a") + machine.read("/proc/1/environ")
