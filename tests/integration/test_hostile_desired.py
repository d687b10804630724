"""apply reads the desired state as an attacker may have written it: what is wrong is refused and changes nothing."""

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.byhand import APPS, DESIRED, ByHand, app, desired, process, quoted, slot
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
UUID = "0f3c0e0a-5d0c-4c07-9d2a-3f5f5b0c0001"
GOOD = app("good", process())
SLUGS = f"{APPS}/good/slugs"
TRACES = (
    "mkdir -p /run/systemd/transient; "
    # Not what was put aside: the sweep removes it meanwhile.
    "find /etc /run/systemd/system /run/systemd/transient /var/lib/rustploy/apps "
    "-path /var/lib/rustploy/apps/.trash -prune -o -printf '%p %l %s %m %u %g %T@\\n'"
)

NAMES = [
    "", "-", "a-", "-a", "a--b", "A", "Ä", "1a", "a b", "a/b", "..", "../../etc", "a.b", "a@b", "a%i", "a\n",
    "a\nUser=root", "a\0", "a\u202e", "a'; touch /run/pwned; '", "$(touch /run/pwned)", "`id`", "a" * 28, "a" * 100_000,
    "root\t", "good ", "good\u2010", "\ud800", None, 1, True, [], {}, ["good"],
]  # fmt: skip
FIELDS: dict[str, list[Any]] = {
    "name": NAMES,
    "processes": [None, {}, "web", 1, [None], ["web"], [[]], [{}], [process()] * 17, [process(), process()]],
    "processes.0.type": ["", "Web", "we-b", "web\n", "web\nExecStart=/bin/sh", "a" * 17, "..", "w/b", "w%b", None, 1],
    "processes.0.memory_max_bytes": [0, -1, 1, 2**41, 10**30, "1G", "infinity", 1.5, True, None, "1\nUser=root", []],
    "processes.0.cpu_quota_percent": [0, -1, 102401, "100%", 1.0, None, True],
    "processes.0.tasks_max": [0, 3, 65537, "infinity", None, False],
    "processes.0.slots": [None, {}, [], {"a": slot()}, {"a": slot(), "b": slot(), "c": slot()}],
    "processes.0.slots.a": [None, {}, [], {"port": 2000}, {**slot(), "user": "root"}],
    "processes.0.slots.a.port": [0, 80, 1023, 65536, -1, "8080", 8080.0, True, [], "8080\nUser=root"],
    "processes.0.slots.a.deployment_id": ["", "x", UUID.upper(), UUID + "\n", f"{UUID}\nUser=root", "%n", 1, False, []],
    "processes.0.more": [
        {}, "2", 1, [None], [{}], [{"a": slot()}], [{"a": slot(), "b": slot(80)}],
        [{"a": slot(), "b": slot(), "c": slot()}], [{"a": slot(), "b": slot(), "number": "2.service.d/../../x"}],
        [{"a": slot(), "b": slot()}] * 16,
        [{"a": slot(), "b": {"port": None, "deployment_id": f"{UUID}\nUser=root"}}],
    ],
    "processes.0.user": ["root"],
    "deployment_id": ["", f"{UUID}\nEnvironment=LD_PRELOAD=/tmp/x", 0, []],
    "remove_slugs": [None, {}, [".."], ["../.."], ["."], [""], ["/"], [f"{UUID}/../../../good"], [UUID + "/"], [1]],
    "environment": [{"LD_PRELOAD": "/tmp/x"}],
    "user": ["root"],
}  # fmt: skip
DOCUMENTS = {
    "empty": "",
    "no JSON": "{",
    "two documents": "{}{}",
    "no object": "[]",
    "null": "null",
    "no keys": "{}",
    "another version": json.dumps(desired(GOOD) | {"version": 2}),
    "version as text": json.dumps(desired(GOOD) | {"version": "1"}),
    "version true": json.dumps(desired(GOOD) | {"version": True}),
    "unknown key": json.dumps(desired(GOOD) | {"run": "/bin/sh"}),
    "apps no list": json.dumps(desired() | {"apps": {"good": {}}}),
    "too many apps": json.dumps(desired(*[GOOD] * 401)),
    "bad name to remove": json.dumps(desired(remove_apps=["../good"])),
    "nothing to remove": json.dumps(desired(remove_apps=[None])),
    "key twice": '{"version": 1, "apps": [], "apps": [], "remove_apps": []}',
    "not a number": '{"version": NaN, "apps": [], "remove_apps": []}',
    "deep": "[" * 500_000,
    "deep and closed": '{"version": 1, "apps": ' + "[" * 100_000 + "]" * 100_000 + ', "remove_apps": []}',
    "number of 10000 digits": '{"version": ' + "1" * 10_000 + "}",
    "over 1 MiB": json.dumps(desired(GOOD)) + " " * 1024 * 1024,
    "byte order mark": "\ufeff" + json.dumps(desired(GOOD)),
    "bad port range": json.dumps(desired(GOOD, deny_ports=[{"first": 0, "last": "9\nUser=root"}])),
}


def with_field(name: str, path: str, value: Any) -> dict[str, Any]:
    """App `name` with the field at `path` set to `value`."""
    made: Any = json.loads(json.dumps(app(name, process())))
    place = made
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    return dict(made)


@pytest.fixture(scope="module")
def hand(session_machine: Machine) -> Iterator[ByHand]:
    made = ByHand(session_machine)
    made.make(GOOD, app("kept", process()))
    yield made
    made.remove("good", "kept")


def traces(hand: ByHand) -> list[str]:
    """All that apply could have changed."""
    return sorted(hand.machine.run(["sh", "-c", TRACES]).stdout.splitlines())


def test_bad_fields_are_refused_by_name_and_the_other_apps_go_on(hand: ByHand) -> None:
    """Fields become paths, users and lines of files that PID 1 reads as root; one newline too many is one line more."""
    cases = [(path, value) for path, values in FIELDS.items() for value in values]
    bad = [with_field(f"bad{index}", path, value) for index, (path, value) in enumerate(cases)]
    before = traces(hand)
    applied = hand.apply(desired(*bad, GOOD))
    assert applied.status == 0
    about = applied.result["apps"]
    assert about.pop("good") == {"ok": True, "error": None}
    assert {entry["ok"] for entry in about.values()} == {False}
    for index, (path, value) in enumerate(cases):
        if path != "name":
            field = path.rpartition(".")[2]
            error = about[f"bad{index}"]["error"]
            assert field in error or "keys" in error or "type of their own" in error, (path, value, error)
    assert traces(hand) == before
    assert not hand.machine.exists("/run/pwned")


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_file_that_is_wrong_as_a_whole_changes_nothing(hand: ByHand, what: str) -> None:
    """Else half a file is carried out."""
    before = traces(hand)
    applied = hand.apply(DOCUMENTS[what])
    assert (applied.status, applied.result["ok"], applied.result["apps"]) == (1, False, {})
    assert applied.result["error"]
    assert traces(hand) == before


def test_invalid_utf8_is_refused(hand: ByHand) -> None:
    hand.machine.run(["sh", "-c", f"printf '\\377\\376{{}}' > {DESIRED}"])
    applied = hand.run_apply()
    assert (applied.status, "UTF-8" in applied.result["error"]) == (1, True)


@pytest.mark.parametrize("plant", [
    "ln -s /etc/shadow",
    "ln -s /var/tmp/desired-of-root",
    "cp /var/tmp/desired-of-root",
    "mkfifo",
    "mkdir",
    "ln -s /dev/zero",
    "ln -s /dev/tty",
])  # fmt: skip
def test_only_a_plain_file_of_the_agents_is_read(hand: ByHand, plant: str) -> None:
    """Else a planted link makes root read, and quote in its errors, what the agent may not."""
    hand.machine.write("/var/tmp/desired-of-root", json.dumps(desired(app("planted", process()))), 0o644)
    before = traces(hand)
    hand.machine.run(["sh", "-c", f"rm -rf {DESIRED}; {plant} {DESIRED}"])
    applied = hand.run_apply()
    hand.machine.run(["rm", "-rf", DESIRED])
    assert (applied.status, applied.result["ok"]) == (1, False)
    assert applied.result["error"].startswith("desired.json must be")
    assert "root:" not in json.dumps(applied.result)
    assert traces(hand) == before


def test_nothing_is_done_while_nothing_was_wished_for(hand: ByHand) -> None:
    """It runs at every start of the agent, the first included, and must not fail there."""
    before = traces(hand)
    hand.machine.run(["rm", "-f", DESIRED])
    hand.machine.run(["systemctl", "start", "rustploy-apply.service"])
    assert traces(hand) == before


@pytest.mark.parametrize(
    ("apps", "refused"),
    [
        ([app("one", process()), app("one", process("worker"))], {"one"}),
        ([app("one", process(a=slot(5000))), app("two", process(a=slot(5000)))], {"one", "two"}),
        ([app("one", process(a=slot(5000), b=slot(5000)))], {"one"}),
    ],
)
def test_duplicates_are_refused(hand: ByHand, apps: list[Any], refused: set[str]) -> None:
    """Two apps on one port take each other's visitors; two of one name overwrite each other."""
    before = traces(hand)
    applied = hand.apply(desired(*apps, GOOD))
    assert {name for name, about in applied.result["apps"].items() if not about["ok"]} == refused
    assert applied.result["apps"]["good"]["ok"]
    assert traces(hand) == before


@pytest.mark.parametrize("make", [
    "useradd --create-home --shell /bin/bash rp-foreign",
    "useradd --create-home --shell /bin/bash rpb-foreign",
    "useradd --system --shell /usr/sbin/nologin rp-foreign",
    "useradd --non-unique --uid 0 --gid 0 rp-foreign",
    "groupadd --gid 1234 rp-foreign",
    "groupadd --system rp-foreign; usermod --append --groups rp-foreign daemon",
])  # fmt: skip
def test_a_foreign_user_of_the_same_name_is_left_alone(hand: ByHand, make: str) -> None:
    """Else an app runs as a person who happens to have that name, or removing the app removes them."""
    machine = hand.machine
    machine.run(["sh", "-c", make])
    before, accounts = traces(hand), machine.run(["sh", "-c", "getent passwd; getent group"]).stdout
    try:
        applied = hand.apply(desired(app("foreign", process()), GOOD))
        assert not applied.result["apps"]["foreign"]["ok"]
        assert "exists with another purpose" in applied.result["apps"]["foreign"]["error"]
        hand.apply(desired(GOOD, remove_apps=["foreign"]))
        assert machine.run(["sh", "-c", "getent passwd; getent group"]).stdout == accounts
        assert traces(hand) == before
    finally:
        undo = "userdel -rf rp-foreign; userdel -rf rpb-foreign; groupdel rp-foreign; true"
        machine.run(["sh", "-c", f"sed -i /^rp-foreign:/d /etc/passwd; {undo}"], check=False)


def test_a_link_in_place_of_a_slot_file_starts_nothing_and_tells_nothing(hand: ByHand) -> None:
    """PID 1 looks for the slot file as root: a link must neither be read nor answer whether its target exists."""
    for target in ("/etc/shadow", "/does/not/exist"):
        hand.machine.run(["ln", "-sfn", target, f"{APPS}/good/slots/web-a.env"])
        hand.machine.run(["systemctl", "start", "rustploy-app@good-web-a"])
        show = ["systemctl", "show", "rustploy-app@good-web-a", "--property=ActiveState,ConditionResult,NRestarts"]
        assert hand.machine.run(show).stdout.split() == ["NRestarts=0", "ActiveState=inactive", "ConditionResult=no"]
    hand.machine.run(["rm", f"{APPS}/good/slots/web-a.env"])


def test_removing_a_slug_never_leaves_its_directory(hand: ByHand) -> None:
    """A build fills its slug with what it likes, and root removes it: links must not lead root elsewhere."""
    machine, link, deep = hand.machine, UUID, UUID.replace("0001", "0002")
    machine.run(["sh", "-c", f"""set -e
        echo precious > {APPS}/kept/data/precious; mkdir -p /var/tmp/precious; echo x > /var/tmp/precious/file
        ln -s {APPS}/kept/data {SLUGS}/{link}
        mkdir {SLUGS}/{deep}; cd {SLUGS}/{deep}
        ln -s /var/tmp/precious link; ln -s {APPS}/kept dir; ln -s .. up; touch -- -rf '*' '
'; mkdir closed; touch closed/file; chmod 0 closed
        chown -R rpb-good:rpb-good ."""])  # fmt: skip
    dig = f"import os\nos.chdir({SLUGS + '/' + deep!r})\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    machine.run(["python3", "-I", "-c", dig])
    applied = hand.apply(desired(GOOD | {"remove_slugs": [link, deep, UUID.replace("0001", "0003")]}))
    assert applied.result["removed_slugs"] == [link, deep, UUID.replace("0001", "0003")]
    assert machine.run(["ls", "-A", SLUGS]).stdout == ""
    machine.wait_for(lambda: machine.run(["ls", "-A", f"{APPS}/.trash"]).stdout == "", 60, "it to be swept away")
    assert machine.read(f"{APPS}/kept/data/precious") == "precious\n"
    assert machine.read("/var/tmp/precious/file") == "x\n"


def test_a_huge_slug_holds_nobody_up_and_a_broken_off_sweep_is_taken_up_again(hand: ByHand) -> None:
    """A build may leave a million files; whoever deploys next must not wait until they are gone."""
    machine, sweep = hand.machine, "rustploy-sweep.service"
    slow = "/run/systemd/system/rustploy-sweep.service.d/slow.conf"
    machine.write(slow, "[Service]\nExecStartPre=/bin/sleep 600\n")
    machine.run(["systemctl", "daemon-reload"])
    try:
        machine.run(["sh", "-c", f"mkdir -p {SLUGS}/{UUID}/app; cd {SLUGS}/{UUID}/app; seq 1000 | xargs touch"])
        assert hand.apply(desired(GOOD | {"remove_slugs": [UUID]})).result["removed_slugs"] == [UUID]
        assert hand.machine.property(sweep, "ActiveState") == "activating"
        assert hand.apply(desired(GOOD)).status == 0, "apply waited for the sweep"
        assert machine.run(["ls", "-A", SLUGS]).stdout == ""
        seen = machine.run(["ls", f"{APPS}/.trash"], user="rustploy", check=False)
        assert seen.returncode != 0, "what apps left is nobody's to read"
        machine.run(["systemctl", "stop", sweep])
    finally:
        machine.run(["rm", slow])
        machine.run(["systemctl", "daemon-reload"])
    assert machine.run(["ls", "-A", f"{APPS}/.trash"]).stdout != ""
    hand.run_apply()
    machine.wait_for(lambda: machine.run(["ls", "-A", f"{APPS}/.trash"]).stdout == "", 60, "it to be swept away")
    machine.wait_for(lambda: hand.machine.property(sweep, "Result") == "success", 20, "the sweep to end well")


def test_an_absent_app_is_left_alone(hand: ByHand) -> None:
    """Else a lost database takes every app with it."""
    before = traces(hand)
    assert hand.apply(desired()).status == 0
    assert traces(hand) == before


def test_a_second_run_changes_nothing_and_reloads_nothing(hand: ByHand) -> None:
    """Else every deployment costs all apps a reload, and a broken one is hard to see among the changes."""
    hand.apply(desired(GOOD))
    before, since = traces(hand), time.time()
    assert hand.apply(desired(GOOD)).status == 0
    assert traces(hand) == before
    manager = hand.machine.journal("_PID=1", f"--since=@{since:.6f}")
    assert [entry["MESSAGE"] for entry in manager if "Reload" in str(entry["MESSAGE"])] == []


def test_processes_that_are_no_longer_listed_are_stopped_and_forgotten(hand: ByHand) -> None:
    """Else a worker that was taken out of the Procfile runs on for ever."""
    hand.apply(desired(app("good", process(), process("worker"))))
    directory = hand.slug("good", {"file": ""})
    hand.slot_file("good", "worker-a", directory, "exec sleep infinity")
    hand.machine.run(["systemctl", "start", "rustploy-app@good-worker-a"])
    assert hand.apply(desired(GOOD)).result["apps"]["good"]["ok"]
    assert hand.machine.property("rustploy-app@good-worker-a", "ActiveState") == "inactive"
    assert "worker" not in "".join(line for line in traces(hand) if "/etc/" in line)
    hand.machine.run(["rm", f"{APPS}/good/slots/worker-a.env"])


def test_a_removed_app_is_gone_and_its_neighbours_stay(hand: ByHand) -> None:
    """Users, groups, directories, drop-ins and running units go; an app whose name begins alike stays."""
    machine = hand.machine
    before = traces(hand)
    hand.make(app("goo", process(), process("worker")))
    directory = hand.slug("goo", {"file": ""})
    for unit in ("web-a", "worker-b"):
        hand.slot_file("goo", unit, directory, "exec sleep infinity")
        machine.run(["systemctl", "start", f"rustploy-app@goo-{unit}"])
    machine.run(["ln", "-s", f"{APPS}/kept/data", f"{APPS}/goo/data/link"])
    hand.remove("goo")
    units = machine.run(["systemctl", "list-units", "--plain", "--no-legend", "rustploy-app@goo-*"]).stdout
    left = machine.run(
        ["sh", "-c", "getent passwd; getent group; ls /etc/systemd/system /var/lib/rustploy/apps"]
    ).stdout
    assert (units, [line for line in left.splitlines() if "goo-" in line or "rp-goo:" in line or line == "goo"]) == (
        "",
        [],
    )
    unchanged = [line for line in before if "/good" in line or "/kept" in line]
    assert unchanged and set(unchanged) <= set(traces(hand))
    assert machine.exists(f"{APPS}/kept/data/precious")
    hand.remove("goo")


def test_apply_killed_at_any_moment_is_completed_by_the_next_run(hand: ByHand) -> None:
    """Power cuts and kills come in the middle of making and of removing an app."""
    machine, chance = hand.machine, random.Random(20)
    unit = "rustploy-app@killed-web-a.service"
    state = "systemctl show --property=User,NeedDaemonReload,LoadState"
    for _ in range(10):
        for wish, complete in (
            (desired(app("killed", process()), GOOD), "User=rp-killed"),
            (desired(GOOD, remove_apps=["killed"]), "User=rustploy-unassigned"),
        ):
            machine.write(DESIRED, json.dumps(wish), 0o600, "rustploy:rustploy")
            kill = f"sleep {chance.uniform(0, 0.4):.3f}; systemctl kill --signal=KILL rustploy-apply"
            machine.run(["sh", "-c", f"systemctl start --no-block rustploy-apply; {kill}"], check=False)
            machine.run(
                ["sh", "-c", "systemctl stop rustploy-apply; systemctl reset-failed rustploy-apply"], check=False
            )
            applied = hand.run_apply()
            said = machine.run(["journalctl", "--unit=rustploy-apply", "--output=cat", "--lines=20"]).stdout
            assert applied.status == 0 and all(about["ok"] for about in applied.result["apps"].values()), said
            shown = machine.run(["sh", "-c", f"{state} {quoted(unit)}"]).stdout.split()
            assert {complete, "NeedDaemonReload=no"} <= set(shown), shown
            exists = machine.run(["getent", "passwd", "rpb-killed"], check=False).returncode == 0
            assert (exists, machine.exists(f"{APPS}/killed/cache")) == (
                (True, True) if "rp-k" in complete else (False, False)
            )


def test_accounts_left_by_a_userdel_that_was_killed_are_made_and_removed_all_the_same(hand: ByHand) -> None:
    """It writes four files one by one; what is left in the others made the app one that nothing could remove."""
    machine, files = hand.machine, ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"]
    count = f"grep -chE '^rpb?-killed:' {' '.join(files)}; true"
    for written in range(1, len(files)):
        for again in (True, False):
            hand.make(app("killed", process()))
            for account in ("rp-killed", "rpb-killed"):
                machine.run(["sed", "-i", f"/^{account}:/d", *files[:written]])
            if again:
                hand.make(app("killed", process()))
                assert machine.run(["sh", "-c", count]).stdout.split() == ["2"] * 4
            hand.remove("killed")
            assert machine.run(["sh", "-c", count]).stdout.split() == ["0"] * 4
