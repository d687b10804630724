"""What user rustploy, who is the network-facing process, can make of the host: start and stop its own units, no more.

The calls are made without the agent's sandbox, as somebody who escaped from it would make them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.byhand import ByHand, app, process, slot
from tests.machine import Machine

CALLER = (Path(__file__).parent / "bus_caller.py").read_text()
DENIED = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}
# For names that the rule matches; polkit lets the call pass and systemd has a template that stands in the way.
NOT_TRANSIENT = {"org.freedesktop.systemd1.UnitExists", "org.freedesktop.DBus.Error.InvalidArgs"}
MANAGER = ["", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
OWN = "rustploy-app@blog-web-a.service"
TRANSIENT = [
    OWN,
    "rustploy-app@blog-web-b.service",
    "rustploy-app@blog-other-a.service",
    "rustploy-app@unknown-web-a.service",
    "rustploy-app@a-b-c-d-web-b.service",
    f"rustploy-app@{'a' * 27}-{'b' * 16}-a.service",
    "rustploy-app@blog-web-a2.service",
    "rustploy-app@blog-web-b16.service",
    "rustploy-app@unknown-web2-a9.service",
    "rustploy-fetch@blog.service",
    "rustploy-fetch@unknown.service",
    "rustploy-build@blog.service",
    "rustploy-build@unknown.service",
    "rustploy-task@blog.service",
    "rustploy-task@unknown.service",
    "rustploy-apply.service",
]
NEVER = [
    "rustploy-agent.service",
    "rustploy-app@.service",
    "rustploy-build@.service",
    "rustploy-app@blog.service",
    "rustploy-app@blog-web-c.service",
    "rustploy-app@blog-web-a1.service",
    "rustploy-app@blog-web-a17.service",
    "rustploy-app@blog-web-a02.service",
    "rustploy-app@blog-web-a2x.service",
    "rustploy-app@blog-web-2.service",
    "rustploy-app@-web-a.service",
    "rustploy-app@blog--x-web-a.service",
    "rustploy-app@BLOG-web-a.service",
    "rustploy-app@blog-web-a.scope",
    "rustploy-app@blog-web-a.timer",
    "rustploy-app@blog\\\\x2dweb-a.service",
    "rustploy-app@..\\\\x2f..\\\\x2fx-web-a.service",
    "rustploy-build@blog.blog.service",
    "rustploy-build@blog@x.service",
    "rustploy-apply@x.service",
    "rustploy-apps.target",
    "rustploy-build.slice",
    "rustploy-x.service",
    "xrustploy-apply.service",
    "rustploy-other@blog.service",
    "witness-off.service",
    "evil.service",
]
MALFORMED = [f"{OWN}\\n", f"{OWN}\\nevil.service", f"{OWN} evil.service", f"/etc/{OWN}", f"../{OWN}", ""]


def transient(name: str) -> str:
    """Arguments of StartTransientUnit for a unit that leaves a file when it runs, as root."""
    command = '[("/bin/sh", ["/bin/sh", "-c", "echo >> /run/pwned"], false)]'
    service = f'[("Type", <"oneshot">), ("ExecStart", <{command}>)]'
    if not name.endswith(".service"):
        service = '[("Description", <"evil">)]'
    helpers = f'[("evil-helper.service", [("ExecStart", <{command}>)])]'
    return f'("{name}", "replace", {service}, {helpers})'


def unit_path(machine: Machine, name: str) -> str:
    line = machine.run(["busctl", "call", "org.freedesktop.systemd1", *MANAGER[1:], "LoadUnit", "s", name]).stdout
    return line.split('"')[1]


def matrix(own_path: str, witness_path: str, pid: int) -> list[list[str]]:
    """Calls that must all be denied, [label, destination, path, interface, method, arguments]."""
    manager = {
        "StartUnit": '("witness-off.service", "replace")',
        "StartUnitWithFlags": '("witness-off.service", "replace", @t 0)',
        "StopUnit": '("witness.service", "replace")',
        "RestartUnit": '("witness.service", "replace")',
        "TryRestartUnit": '("witness.service", "replace")',
        "ReloadUnit": f'("{OWN}", "replace")',
        "ReloadOrRestartUnit": f'("{OWN}", "replace")',
        "ReloadOrTryRestartUnit": '("witness.service", "replace")',
        "EnqueueUnitJob": '("witness.service", "stop", "replace")',
        "KillUnit": f'("{OWN}", "all", 9)',
        "CleanUnit": f'("{OWN}", ["all"])',
        "FreezeUnit": f'("{OWN}",)',
        "ThawUnit": f'("{OWN}",)',
        "RefUnit": f'("{OWN}",)',
        "SetUnitProperties": f'("{OWN}", true, [("MemoryMax", <@t 1>)])',
        "BindMountUnit": f'("{OWN}", "/etc", "/mnt", false, false)',
        "MountImageUnit": f'("{OWN}", "/etc/image", "/mnt", false, false, @a(ss) [])',
        "AttachProcessesToUnit": f'("{OWN}", "", @au [{pid}])',
        "ResetFailedUnit": '("witness.service",)',
        "ResetFailed": "()",
        "ClearJobs": "()",
        "Reload": "()",
        "Reexecute": "()",
        "Exit": "()",
        "Reboot": "()",
        "PowerOff": "()",
        "Halt": "()",
        "KExec": "()",
        "SwitchRoot": '("/tmp", "")',
        "SetExitCode": "(@y 1,)",
        "SetEnvironment": '(["LD_PRELOAD=/tmp/evil.so"],)',
        "UnsetEnvironment": '(["PATH"],)',
        "UnsetAndSetEnvironment": '(["PATH"], ["PATH=/tmp"])',
        "EnableUnitFiles": '(["witness-off.service"], false, true)',
        "DisableUnitFiles": '(["witness.service"], false)',
        "ReenableUnitFiles": '(["witness-off.service"], false, true)',
        "LinkUnitFiles": '(["/tmp/evil.service"], false, true)',
        "PresetUnitFiles": '(["witness-off.service"], false, true)',
        "PresetAllUnitFiles": '("full", false, true)',
        "MaskUnitFiles": '(["witness.service"], false, true)',
        "UnmaskUnitFiles": '(["witness.service"], false)',
        "RevertUnitFiles": '(["witness.service"],)',
        "AddDependencyUnitFiles": '(["evil.service"], "multi-user.target", "Wants", false, true)',
        "SetDefaultTarget": '("rescue.target", true)',
    }
    unit = {
        "Kill": '("all", 9)',
        "SetProperties": '(true, [("MemoryMax", <@t 1>)])',
        "Clean": '(["all"],)',
        "Freeze": "()",
        "Ref": "()",
        "ReloadOrRestart": '("replace",)',
    }
    service = {
        "BindMount": '("/etc", "/mnt", false, false)',
        "MountImage": '("/etc/image", "/mnt", false, false, @a(ss) [])',
        "AttachProcesses": f'("", @au [{pid}])',
    }
    foreign = {
        "Start": '("replace",)',
        "Stop": '("replace",)',
        "Restart": '("replace",)',
        "EnqueueJob": '("stop", "fail")',
    }
    recent = {"SoftReboot": '("",)', "QueueSignalUnit": f'("{OWN}", "all", 40, 0)'}
    login, host = "org.freedesktop.login1", "org.freedesktop.hostname1"
    systemd = "org.freedesktop.systemd1"
    return [
        *([f"Manager.{method}", *MANAGER, method, arguments] for method, arguments in manager.items()),
        *([f"Unit.{method}", "", own_path, f"{systemd}.Unit", method, arguments] for method, arguments in unit.items()),
        *([f"Service.{m}", "", own_path, f"{systemd}.Service", m, arguments] for m, arguments in service.items()),
        *([f"foreign {m}", "", witness_path, f"{systemd}.Unit", m, arguments] for m, arguments in foreign.items()),
        ["login Reboot", login, "/org/freedesktop/login1", f"{login}.Manager", "Reboot", "(false,)"],
        ["login Wall", login, "/org/freedesktop/login1", f"{login}.Manager", "SetWallMessage", '("x", true)'],
        ["hostname", host, "/org/freedesktop/hostname1", host, "SetStaticHostname", '("evil", false)'],
        [
            "log level",
            "",
            MANAGER[1],
            "org.freedesktop.DBus.Properties",
            "Set",
            f'("{MANAGER[2]}", "LogLevel", <"debug">)',
        ],
        *([f"{m}", *MANAGER, m, arguments] for m, arguments in recent.items()),
    ]


class Attacker:
    """A machine with a running app of the agent's, units of the host's, and user rustploy to attack them."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.hand = machine, ByHand(machine)
        port = machine.place.port + 20
        self.hand.make(app("blog", process("web", a=slot(port), b=slot(port + 1))))
        directory = self.hand.slug("blog", {"file": ""})
        self.hand.slot_file("blog", "web-a", directory, "exec sleep infinity")
        for name, command in (("witness", "sleep infinity"), ("witness-off", "sh -c 'echo >> /run/pwned'")):
            self.machine.write(f"/etc/systemd/system/{name}.service", f"[Service]\nExecStart={command}\n")
        self.machine.write("/tmp/evil.service", "[Service]\nExecStart=sh -c 'echo >> /run/pwned'\n")
        self.machine.write("/usr/local/lib/bus_caller.py", CALLER)
        self.machine.run(["systemctl", "daemon-reload"])
        self.machine.run(["systemctl", "start", "witness", OWN])
        self.uid, self.gid = (self.machine.run(["id", flag, "rustploy"]).stdout.strip() for flag in ("-u", "-g"))

    def call(self, calls: list[list[str]], *, root: bool = False) -> dict[str, str]:
        """Label to "ok" or the error's name."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        argv = [*([] if root else become), "/usr/bin/python3", "-I", "/usr/local/lib/bus_caller.py"]
        answered = self.machine.run(argv, input=json.dumps(calls), timeout=300).stdout
        return dict(json.loads(line) for line in answered.splitlines())

    def transients(self, names: list[str]) -> dict[str, str]:
        return self.call([[name, *MANAGER, "StartTransientUnit", transient(name)] for name in names])

    def state(self) -> dict[str, str]:
        """Everything that a successful call would have changed."""
        units = (
            "find /etc/systemd /run/systemd/system /run/systemd/transient /run/systemd/*.control /etc/passwd /etc/group"
        )
        commands = {
            "pwned": "ls /run/pwned*",
            "files": f"{units} -printf '%p %l %s %T@\\n' | sort",
            "environment": "systemctl show-environment",
            "units": "systemctl list-units --all --plain --no-legend --type=service '*evil*' '*witness*' 'rustploy-*'",
            "own": f"systemctl show {OWN} --property=MainPID,MemoryMax,FreezerState,BindPaths,ActiveState",
            "witness": "systemctl show witness --property=MainPID,ActiveState,UnitFileState,FreezerState",
            "target": "systemctl get-default; hostname; systemctl log-level",
        }
        return {
            what: self.machine.run(["sh", "-c", f"{command} 2>&1"], check=False).stdout
            for what, command in commands.items()
        }

    def end(self) -> None:
        self.machine.run(["systemctl", "stop", "witness", "rustploy-app@blog-web-a"])
        self.machine.run(["sh", "-c", "rm -f /etc/systemd/system/witness*.service /tmp/evil.service /run/pwned*"])
        self.hand.remove("blog")


@pytest.fixture(scope="module")
def attacker(session_machine: Machine) -> Iterator[Attacker]:
    made = Attacker(session_machine)
    yield made
    made.end()


def test_the_calls_of_this_file_work_for_root(attacker: Attacker) -> None:
    """Else every refusal below could be a mistake in the call."""
    answers = attacker.call(
        [
            [
                "transient",
                *MANAGER,
                "StartTransientUnit",
                transient("evil-control.service").replace("pwned", "control"),
            ],
            ["properties", *MANAGER, "SetUnitProperties", f'("{OWN}", true, [("CPUWeight", <@t 50>)])'],
            ["environment", *MANAGER, "SetEnvironment", '(["CONTROL=1"],)'],
            ["environment back", *MANAGER, "UnsetEnvironment", '(["CONTROL"],)'],
            ["link", *MANAGER, "LinkUnitFiles", '(["/usr/lib/systemd/system/rescue.service"], true, true)'],
        ],
        root=True,
    )
    assert set(answers.values()) == {"ok"}, answers
    attacker.machine.wait_for(lambda: attacker.machine.exists("/run/control"), 10, "root's transient unit to run")


def test_the_agent_may_start_stop_restart_and_reset_its_own_units(attacker: Attacker) -> None:
    """Else nothing can be deployed."""
    calls = [[method, *MANAGER, method, f'("{OWN}", "replace")'] for method in ("StartUnit", "RestartUnit", "StopUnit")]
    calls += [["apply", *MANAGER, "StartUnit", '("rustploy-apply.service", "replace")']]
    calls += [["again", *MANAGER, "StartUnit", f'("{OWN}", "replace")']]
    # What does not run is not loaded, so it comes last.
    calls += [["reset", *MANAGER, "ResetFailedUnit", f'("{OWN}",)']]
    assert set(attacker.call(calls).values()) == {"ok"}
    states = {"rustploy-apply.service": "inactive", OWN: "active"}
    machine = attacker.machine
    machine.wait_for(lambda: {unit: machine.property(unit, "ActiveState") for unit in states} == states, 30, "both")


def test_no_other_call_of_systemd_is_allowed(attacker: Attacker) -> None:
    """Else whoever takes over the agent takes the host."""
    machine = attacker.machine
    pid = machine.property("witness", "MainPID")
    calls = matrix(unit_path(machine, OWN), unit_path(machine, "witness.service"), int(pid))
    assert len(calls) >= 60
    before = attacker.state()
    answers = attacker.call(calls)
    allowed = {label: DENIED for label in answers}
    # Processes can only be moved into delegated units, which systemd looks at before it looks at the caller.
    allowed |= {label: DENIED | {"org.freedesktop.DBus.Error.InvalidArgs"} for label in answers if "Attach" in label}
    wrong = {label: answer for label, answer in answers.items() if answer not in allowed[label]}
    assert (wrong, len(answers)) == ({}, len(calls))
    assert attacker.state() == before


@pytest.mark.parametrize(
    "unit",
    [
        "rustploy-agent.service",
        "rustploy-apps.target",
        "ssh.service",
        "systemd-journald.service",
        "rustploy-app@blog-web-c.service",
        "rustploy-app@blog--web-a.service",
        "emergency.target",
    ],
)
def test_units_that_are_not_its_own_cannot_be_started_or_stopped(attacker: Attacker, unit: str) -> None:
    """Else the agent could be made to restart what it must not touch."""
    calls = [
        [method, *MANAGER, method, f'("{unit}", "replace")'] for method in ("StartUnit", "StopUnit", "RestartUnit")
    ]
    answers = set(attacker.call(calls).values())
    assert answers <= DENIED | {"org.freedesktop.systemd1.NoSuchUnit"}, answers


def test_no_transient_unit_can_be_started_under_any_name(attacker: Attacker) -> None:
    """A transient unit runs what its caller says, as root; names that the polkit rule matches are the danger."""
    before = attacker.state()
    matched, others = attacker.transients(TRANSIENT), attacker.transients(NEVER + MALFORMED)
    assert set(matched.values()) <= DENIED | NOT_TRANSIENT, matched
    assert set(others.values()) <= DENIED | NOT_TRANSIENT, others
    assert attacker.state() == before


def test_nothing_that_root_runs_or_reads_can_be_written(attacker: Attacker) -> None:
    """Else the next daemon-reload or reboot hands over the host."""
    places = [
        "/etc/systemd/system/x.service",
        f"/etc/systemd/system/{OWN}.d/99.conf",
        "/run/systemd/system/x.service",
        "/usr/lib/systemd/system/rustploy-app@.service",
        "/etc/sysusers.d/rustploy-apps.conf",
        "/etc/tmpfiles.d/rustploy-apps.conf",
        "/usr/share/polkit-1/rules.d/50-rustploy.rules",
        "/etc/polkit-1/rules.d/1.rules",
        "/var/lib/rustploy/apply/result.json",
        "/var/lib/rustploy/x",
        "/var/lib/rustploy/apps/x",
        "/var/lib/rustploy/apps/blog/x",
        "/var/lib/rustploy/apps/blog/data/x",
        "/usr/lib/rustploy-agent/launch",
        "/usr/lib/python3/dist-packages/rustploy_agent/apply.py",
        "/etc/rustploy/agent.yaml",
        "/etc/cron.d/x",
        "/root/x",
        "/etc/shadow",
    ]
    written = [place for place in places if _as_rustploy(attacker, ["sh", "-c", 'echo x >> "$0"', place])]
    read = [
        path
        for path in ("/etc/shadow", "/root", "/var/lib/rustploy/apps/blog/data")
        if _as_rustploy(attacker, ["ls", path]) and _as_rustploy(attacker, ["cat", path])
    ]
    assert (written, read) == ([], [])


def _as_rustploy(attacker: Attacker, argv: list[str]) -> bool:
    return attacker.machine.run(argv, user="rustploy", check=False).returncode == 0


def test_templates_do_nothing_without_what_apply_rendered(attacker: Attacker) -> None:
    """Else an instance that nobody asked for runs as some user, with no app's limits."""
    units = [
        f"rustploy-{kind}@unknown{process}.service"
        for kind, process in (("app", "-web-a"), ("task", ""), ("fetch", ""), ("build", ""))
    ]
    for unit in units:
        started = attacker.machine.run(["systemctl", "start", unit], check=False)
        shown = attacker.machine.run(["systemctl", "show", unit, "--property=User,ActiveState,AssertResult"]).stdout
        assert started.returncode != 0
        assert {"User=rustploy-unassigned", "AssertResult=no"} <= set(shown.split())
        assert "ActiveState=active" not in shown
    assert attacker.machine.run(["getent", "passwd", "rustploy-unassigned"], check=False).returncode != 0


def test_names_open_no_way_to_root_once_the_package_is_gone(release: str, deb: Path) -> None:
    """Removed and purged: a rule that outlived its templates would make every name it matches a way to root."""
    machine = Machine.create(release)
    try:
        machine.install(deb)
        attacker = Attacker(machine)
        for action in ("remove", "purge"):
            machine.apt(action, "rustploy-agent")
            assert not machine.exists("/usr/lib/systemd/system/rustploy-app@.service")
            answers = attacker.transients(TRANSIENT + NEVER)
            assert set(answers.values()) <= DENIED, (action, answers)
            assert (
                attacker.call([["start", *MANAGER, "StartUnit", '("witness-off.service", "replace")']])["start"]
                in DENIED
            )
            assert not machine.exists("/run/pwned")
        assert attacker.call([["x", *MANAGER, "StartTransientUnit", transient("evil.service")]], root=True) == {
            "x": "ok"
        }
    finally:
        machine.end()
