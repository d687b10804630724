"""rustploy-apply without a machine: what it accepts and renders, and that a run broken off anywhere is completed."""

import grp
import json
import os
import pwd
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent.apply import firewall, rendering, steps, sweep, wish
from rustploy_agent.apply.host import Host
from rustploy_agent.apply.wish import Refused
from tests.integration.byhand import app, desired, process, slot

UUID = "0f3c0e0a-5d0c-4c07-9d2a-3f5f5b0c0001"
BLOG = app("blog", process("web", a=slot(20000, UUID), b=slot(20001)), process("worker"))
OPERATIONS = {"open", "os.rename", "os.symlink", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown"}
SAFE_LINE = re.compile(r"\[[A-Z][a-z]+\]|[A-Za-z]+=!?[A-Za-z0-9/._:%=@ -]*|# [A-Za-z; -]+\.|")


class Killed(BaseException):
    """What SIGKILL is to the real program."""


class Scythe:
    """Kills whatever runs at its n-th operation on files."""

    left: int | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left is None or event not in OPERATIONS:
            return
        if event == "open" and not (isinstance(arguments[1], str) and "w" in arguments[1]):
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Killed(event)


scythe = Scythe()
sys.addaudithook(scythe)


class Fake(Host):
    """A root of its own, in which the tools apply runs are played by what their files say."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.uids = {"root": 0, "rustploy": 990}
        self.users: dict[str, pwd.struct_passwd] = {}
        self.commands: list[tuple[str, ...]] = []
        #: What systemd has read, of all units but the idle ones, which it reads when they are asked for.
        self.loaded: dict[str, str] = {}
        self.idle: set[str] = set()
        for directory in (steps.UNITS, f"{steps.STATE}/agent", f"{steps.STATE}/apply", f"{steps.STATE}/apps"):
            (root / directory[1:]).mkdir(parents=True)

    def user(self, name: str) -> pwd.struct_passwd | None:
        if name in ("root", "rustploy"):
            return pwd.struct_passwd((name, "x", self.uids[name], self.uids[name], "", "/", ""))
        return self.users.get(name)

    def group(self, name: str) -> grp.struct_group | None:
        user = self.user(name)
        return grp.struct_group((name, "x", user.pw_gid, [])) if user else None

    def run(self, *argv: str) -> None:
        self.commands.append(argv)
        tool = argv[0].rpartition("/")[2]
        if argv[1:] == ("daemon-reload",):
            self.loaded = self.rendered()
        elif tool in ("systemd-sysusers", "systemd-tmpfiles", "userdel", "rm"):
            getattr(self, tool.replace("systemd-", "_"))(argv[-1])

    def ask(self, *argv: str) -> str:
        assert argv[:4] == ("/usr/bin/systemctl", "show", "--value", "--property=NeedDaemonReload")
        self.commands.append(argv)
        return "\n\n".join("yes" if self._is_outdated(unit) else "no" for unit in argv[4:])

    def _is_outdated(self, unit: str) -> bool:
        if unit == steps.APPS:
            return False  # systemd does not look at the links of a target
        path = self.root + rendering.drop_in_path(unit)
        if unit in self.idle:
            self.loaded.pop(path, None)
            self.loaded |= {found: text for found, text in self.rendered().items() if found == path}
        return self.loaded.get(path) != self.rendered().get(path)

    def _sysusers(self, file: str) -> None:
        for line in self.read(file).splitlines()[1:]:
            found = re.fullmatch(r'u (\S+) - "([^"]+)" (\S+) (\S+)', line)
            assert found, line
            name, gecos, home, shell = found.groups()
            uid = self.uids.setdefault(name, 989 - len(self.uids))
            self.users[name] = pwd.struct_passwd((name, "x", uid, uid, gecos, home, shell))

    def _tmpfiles(self, file: str) -> None:
        for line in self.read(file).splitlines()[1:]:
            kind, path, mode, user, _, age = line.split()
            assert (kind, age) == ("d", "-")
            Path(self.root + path).mkdir(parents=True, exist_ok=True)
            os.chown(self.root + path, self.uids[user], -1)
            Path(self.root + path).chmod(int(mode, 8))

    def userdel(self, name: str) -> None:
        del self.users[name]

    def rm(self, path: str) -> None:
        """As the real one: a link goes, not what it points to."""
        if Path(path).is_symlink():
            Path(path).unlink()
        else:
            shutil.rmtree(path)

    def rendered(self) -> dict[str, str]:
        """Path to text or target, of everything in the unit directory."""
        found = [path for path in Path(self.root + steps.UNITS).rglob("*") if not path.is_dir() or path.is_symlink()]
        finished = [path for path in found if not path.name.endswith(".new")]
        return {str(path): str(path.readlink()) if path.is_symlink() else path.read_text() for path in finished}

    def wish(self, state: Any) -> None:
        path = Path(self.root + steps.DESIRED)
        path.write_text(json.dumps(state))
        os.chown(path, self.uids["rustploy"], -1)

    def apply(self, state: Any) -> Any:
        self.wish(state)
        self.commands.clear()
        assert steps.main(self) == 0
        return json.loads(self.read(steps.RESULT))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Fake]:
    if os.getuid() != 0:
        pytest.skip("directories are given to users, which needs root")
    made = Fake(tmp_path)
    yield made
    scythe.left = None


def texts(*apps: Any, **more: Any) -> dict[str, str]:
    refused: dict[str, str] = {}
    wished = wish.parse(json.dumps(desired(*apps, **more)).encode())
    checked = wish.checked(wished, refused)
    assert refused == {}
    return {unit: text for each in checked for unit, text in rendering.units(wished, each).items()}


def test_the_drop_in_of_a_slot_has_its_user_limits_directories_and_journal_fields() -> None:
    """What a unit lacks here, its app lacks: limits, a user of its own, a way to its data."""
    lines = texts(BLOG, deny_ports=[{"first": 20000, "last": 29999}])["rustploy-app@blog-web-a.service"].splitlines()
    home = "/var/lib/rustploy/apps/blog"
    assert lines == [
        "# Written by rustploy-apply; changes are overwritten.",
        "[Unit]",
        f"ConditionPathExists={home}/slots/web-a.env",
        f"ConditionPathIsSymbolicLink=!{home}/slots/web-a.env",
        "",
        "[Service]",
        "User=rp-blog",
        "Group=rp-blog",
        "SyslogIdentifier=blog-web-a",
        "LogExtraFields=RUSTPLOY_APP=blog",
        "SocketBindDeny=tcp:20000-29999",
        f"Environment=RUSTPLOY_SLOT_FILE={home}/slots/web-a.env",
        f"BindReadOnlyPaths={home}/slugs {home}/slots",
        f"BindPaths={home}/data",
        "LogExtraFields=RUSTPLOY_PROCESS=web",
        "MemoryMax=536870912",
        "MemorySwapMax=536870912",
        "CPUQuota=200%",
        "TasksMax=256",
        f"LogExtraFields=RUSTPLOY_DEPLOYMENT={UUID}",
        "SocketBindAllow=tcp:20000",
    ]


SCALED = app("blog", process("web", slot(20000, UUID), slot(20001), more=[{"a": slot(20002, UUID), "b": slot(20003)}]))


def test_each_instance_is_a_unit_with_a_port_of_its_own() -> None:
    """Else the second instance cannot bind, or reads the first one's PORT."""
    found = texts(SCALED)
    assert [unit for unit in found if "web" in unit] == [
        f"rustploy-app@blog-web-{slot}.service" for slot in ("a", "b", "a2", "b2")
    ]
    second = found["rustploy-app@blog-web-b2.service"].splitlines()
    assert "Environment=RUSTPLOY_SLOT_FILE=/var/lib/rustploy/apps/blog/slots/web-b2.env" in second
    assert [line for line in second if "Bind" in line and "tcp" in line] == ["SocketBindAllow=tcp:20003"]
    assert "MemoryMax=536870912" in second, "limits are each instance's"
    assert found["rustploy-app@blog-web-a.service"] == texts(BLOG)["rustploy-app@blog-web-a.service"]


def test_an_app_with_one_of_each_is_rendered_as_before_there_could_be_more(host: Fake) -> None:
    """Else an upgrade reloads systemd for every app."""
    host.apply(desired(BLOG))
    host.apply(desired(app("blog", *[one | {"more": []} for one in BLOG["processes"]])))
    assert host.commands == []


def test_instances_come_and_go_with_their_units(host: Fake) -> None:
    host.apply(desired(SCALED))
    host.apply(desired(app("blog", process("web", slot(20000, UUID), slot(20001)))))
    assert host.commands[0][:2] == ("/usr/bin/systemctl", "stop")
    assert sorted(host.commands[0][2:]) == ["rustploy-app@blog-web-a2.service", "rustploy-app@blog-web-b2.service"]
    assert not [path for path in host.rendered() if "2.service" in path]


def more(*given: Any) -> Any:
    return app("blog", process("web", slot(20000), slot(20001), more=list(given)))


@pytest.mark.parametrize(
    "hostile",
    [
        more({"a": slot()}),
        more({"a": slot(), "b": slot(), "c": slot()}),
        more({"a": slot(), "b": slot(80)}),
        more({"a": slot(), "b": slot(20000)}),
        more({"a": slot(20004), "b": slot(20004)}),
        more({"a": slot(), "b": slot(), "number": 2}),
        more(*[{"a": slot(), "b": slot()}] * 16),
        app("blog", process("web", more={"2": {"a": slot(), "b": slot()}})),
        app("blog", process("web", more="2")),
    ],
)
def test_instances_that_clash_or_are_not_what_they_should_be_are_refused(hostile: Any) -> None:
    """Else an agent that was taken over gets a port of the host, or names that apply does not know."""
    refused: dict[str, str] = {}
    assert wish.checked(wish.parse(json.dumps(desired(hostile)).encode()), refused) == []
    assert list(refused) == ["blog"]


@pytest.mark.parametrize(
    "more", [{"memory_max_bytes": 1 << 40}, {"cpu_quota_percent": 102400}, {"tasks_max": 65536}], ids=str
)
def test_limits_beyond_the_ceilings_of_the_settings_are_refused(host: Fake, more: dict[str, int]) -> None:
    """Else an agent that was taken over gives one app all of the host."""
    most = {"memory_max_bytes": 4 << 30, "cpu_quota_percent": 400, "tasks_max": 4096}
    host.write(steps.CEILINGS, json.dumps(most))
    shop = app("shop", process("web"), process("worker", **more))
    about = host.apply(desired(BLOG, shop))["apps"]
    assert about["blog"]["ok"] is True
    (key,) = more
    assert about["shop"]["error"] == f"{key} of worker must be at most {most[key]}, the ceiling that agent.yaml sets"
    host.write(steps.CEILINGS, json.dumps({key: value * 1000 for key, value in most.items() if key != "tasks_max"}))
    assert steps.main(host) == 1, "a damaged file is no reason to know no ceiling"


def test_builds_run_as_another_user_and_without_the_apps_directories() -> None:
    """Else a build reads the app's environment and data."""
    for kind, own in (("fetch", "mirror"), ("build", "cache")):
        text = texts(BLOG)[f"rustploy-{kind}@blog.service"]
        assert "User=rpb-blog" in text
        assert "/slots" not in text and "/data" not in text and f"/{own}" in text


def test_the_release_phase_has_the_limits_of_the_largest_process_and_its_deployments_id() -> None:
    small, large = process("web", memory_max_bytes=64 << 20), process("worker", memory_max_bytes=256 << 20, tasks_max=9)
    text = texts(app("blog", small, large, deployment_id=UUID))["rustploy-task@blog.service"]
    assert {f"MemoryMax={256 << 20}", "TasksMax=9", f"LogExtraFields=RUSTPLOY_DEPLOYMENT={UUID}"} <= set(
        text.splitlines()
    )


def test_a_second_run_writes_nothing_and_runs_nothing(host: Fake) -> None:
    """Deployments wait for apply: what is as it should be must cost nothing."""
    assert host.apply(desired(BLOG))["apps"] == {"blog": {"ok": True, "error": None}}
    before = {path: path.lstat().st_ino for path in Path(host.root).rglob("*") if "result" not in path.name}
    host.apply(desired(BLOG))
    assert host.commands == []
    assert {path: path.lstat().st_ino for path in Path(host.root).rglob("*") if "result" not in path.name} == before


def test_there_are_no_more_apps_than_user_ids_over_all_runs(host: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an agent that was taken over leaves no id for the users of other packages, with a few names in each run."""
    monkeypatch.setattr(wish, "MOST_APPS", 2)
    host.apply(desired(app("one"), app("two")))
    answer = host.apply(desired(app("two"), app("three")))["apps"]
    assert answer["two"]["ok"] and "as many as there can be" in answer["three"]["error"]
    assert "rp-three" not in host.users
    host.apply(desired(remove_apps=["one"]))
    assert host.apply(desired(app("three")))["apps"]["three"]["ok"]


def instances(name: str, number: int) -> Any:
    """An app with so many instances, 16 of each process type at most."""
    kinds = {f"kind{index}": min(16, number - index * 16) for index in range((number + 15) // 16)}
    return app(name, *(process(kind, more=[{"a": slot(), "b": slot()}] * (n - 1)) for kind, n in kinds.items()))


def test_an_app_has_no_more_instances_than_it_may(host: Fake) -> None:
    """Else a small file of an agent that was taken over makes so many units that systemd reads them for seconds."""
    most = wish.MOST_APP_INSTANCES
    about = host.apply(desired(instances("good", most), instances("bad", most + 1)))["apps"]
    assert about["good"]["ok"] and not about["bad"]["ok"]
    assert f"at most {most} instances, not {most + 1}" in about["bad"]["error"]
    assert not [unit for unit in steps.rendered(host) if "bad" in unit]


def test_all_apps_have_no_more_instances_than_the_host_bears(host: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all runs, named in this one or not; and what exists can be changed and made smaller."""
    monkeypatch.setattr(wish, "MOST_HOST_INSTANCES", 6)
    host.apply(desired(instances("one", 4)))
    about = host.apply(desired(instances("three", 1), instances("two", 3)))["apps"]
    assert (about["three"]["ok"], about["two"]["ok"]) == (True, False)
    assert "at most 6 instances, not 8" in about["two"]["error"]
    assert "rp-two" not in host.users and not [unit for unit in steps.rendered(host) if "two" in unit]
    assert host.apply(desired(instances("one", 5)))["apps"]["one"]["ok"]
    assert not host.apply(desired(instances("one", 6)))["apps"]["one"]["ok"]
    about = host.apply(desired(instances("two", 3), instances("one", 2)))["apps"]
    assert about["one"]["ok"] and about["two"]["ok"], "what goes makes room in the same run"
    monkeypatch.setattr(wish, "MOST_HOST_INSTANCES", 1)
    assert host.apply(desired(instances("one", 2)))["apps"]["one"][
        "ok"
    ], "a bound that fell stops nothing that is there"


@pytest.mark.parametrize("directory", ["results", "cache", "mirror"])
def test_permissions_that_a_build_took_away_come_back(host: Fake, directory: str) -> None:
    """They are the build user's own; without them no later deployment of the app could be built or read."""
    host.apply(desired(BLOG))
    path = Path(f"{host.root}{rendering.STATE}/apps/blog/{directory}")
    before = path.stat().st_mode
    path.chmod(0)
    assert host.apply(desired(BLOG))["apps"]["blog"]["ok"]
    assert path.stat().st_mode == before


def loads(host: Fake) -> list[tuple[str, ...]]:
    return [command for command in host.commands if firewall.UNIT in command]


def test_the_rules_for_ports_name_each_app_s_own_and_are_loaded_when_they_change(host: Fake) -> None:
    """Else an app reaches another past the ingress, or is shut out of its own port."""
    host.apply(desired(BLOG, closed_ports=[8080]))
    rules, run, build = host.read(firewall.RULES), host.uids["rp-blog"], host.uids["rpb-blog"]
    assert f"set own {{ type uid . inet_service; elements = {{ {run} . 20000, {run} . 20001 }}; }}" in rules
    assert "set ports { type inet_service; elements = { 20000, 20001 }; }" in rules
    assert f"set sandboxed {{ type uid; elements = {{ {run}, {build} }}; }}" in rules
    assert "set closed { type inet_service; elements = { 8080 }; }" in rules and "meta skuid { 0, 990 } accept" in rules
    assert loads(host) == [("/usr/bin/systemctl", "reload-or-restart", firewall.UNIT)]
    host.apply(desired(BLOG, closed_ports=[8080]))
    assert loads(host) == [], "what is as it was is not loaded again"
    host.apply(desired(app("other", process("web", slot(20002), slot(20003)))))
    assert f"{run} . 20001, {host.uids['rp-other']} . 20002" in host.read(firewall.RULES), "an app not named keeps its"
    assert "set closed { type inet_service; }" in host.read(firewall.RULES)
    host.apply(desired(remove_apps=["blog", "other"]))
    assert "elements" not in host.read(firewall.RULES) and loads(host)


def test_rules_that_cannot_be_loaded_stop_no_app(host: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without nftables runs apps as before; doctor tells."""
    real = host.run

    def run(*argv: str) -> None:
        if firewall.UNIT in argv:
            raise Refused("no")
        real(*argv)

    monkeypatch.setattr(host, "run", run)
    assert host.apply(desired(BLOG))["apps"]["blog"]["ok"]


def test_what_all_apps_and_all_builds_may_use_is_rendered(host: Fake) -> None:
    """Else the limits of fifty apps together are more than the host has."""
    total = {"memory_percent": 70, "swap_percent": 0, "tasks_percent": 50}
    host.apply(desired(BLOG, totals={"apps": total, "build": total}))
    text = host.read(rendering.drop_in_path("rustploy-apps.slice"))
    assert text.splitlines()[1:] == ["[Slice]", "MemoryMax=70%", "MemorySwapMax=0%", "TasksMax=50%"]
    assert "MemoryHigh=58%" in host.read(rendering.drop_in_path("rustploy-build.slice")).splitlines()
    assert ("/usr/bin/systemctl", "daemon-reload") in host.commands
    host.apply(desired(BLOG, totals={"apps": total, "build": total}))
    assert host.commands == []


def test_networks_that_nobody_reaches_stand_in_every_unit(host: Fake) -> None:
    """Else a build has the credentials that a cloud gives to the server."""
    for unit, text in texts(BLOG, deny_addresses=["169.254.0.0/16", "fd00:ec2::254"]).items():
        assert {"IPAddressDeny=169.254.0.0/16", "IPAddressDeny=fd00:ec2::254"} <= set(text.splitlines()), unit


@pytest.mark.parametrize(
    "hostile",
    [
        {"deny_addresses": ["10.0.0.0/8\nUser=root"]},
        {"deny_addresses": ["any"]},
        {"deny_addresses": "169.254.0.0/16"},
        {"closed_ports": ["8080 } accept"]},
        {"closed_ports": [0]},
        {"totals": {"apps": {"memory_percent": 0, "swap_percent": 0, "tasks_percent": 1}}},
        {"totals": {kind: {"memory_percent": 0, "swap_percent": 0, "tasks_percent": 1} for kind in ("apps", "build")}},
        {
            "totals": {
                kind: {"memory_percent": 1, "swap_percent": 0, "tasks_percent": 101} for kind in ("apps", "build")
            }
        },
    ],
)
def test_hostile_values_for_the_whole_host_are_refused(hostile: Any) -> None:
    """They end up in a rule file that root loads and in units that root reads."""
    with pytest.raises(Refused):
        wish.parse(json.dumps(desired(BLOG, **hostile)).encode())


def test_permissions_that_an_app_gives_its_own_data_are_its_own_affair(host: Fake) -> None:
    """Else an app that keeps changing them makes every deployment on the host wait for the tools."""
    host.apply(desired(BLOG))
    Path(f"{host.root}{rendering.STATE}/apps/blog/data").chmod(0o750)
    host.apply(desired(BLOG))
    assert host.commands == []


NEXT = app("blog", process("web", a=slot(20000, UUID), b=slot(20001, UUID)), process("worker"))
IDLE = "rustploy-app@blog-web-b.service"
SHOW = ("/usr/bin/systemctl", "show", "--value", "--property=NeedDaemonReload")
RELOAD = ("/usr/bin/systemctl", "daemon-reload")


def test_a_new_deployment_of_a_unit_that_runs_reloads_and_makes_no_users(host: Fake) -> None:
    """Else the lines of the new release are in the journal under an older deployment."""
    host.apply(desired(BLOG))
    host.apply(desired(NEXT))
    assert host.commands == [(*SHOW, IDLE), RELOAD]


def test_a_unit_that_does_not_run_is_changed_without_a_reload(host: Fake) -> None:
    """Else each deployment stops PID 1, and with it everybody else's, for the longer the more apps there are."""
    host.apply(desired(BLOG))
    host.idle = {IDLE}
    host.apply(desired(NEXT))
    assert host.commands == [(*SHOW, IDLE)]
    assert host.loaded == host.rendered()


def test_when_systemd_does_not_say_what_it_holds_it_is_reloaded(host: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a unit that runs keeps limits that were changed."""

    def fails(*argv: str) -> str:
        raise Refused("no answer")

    host.apply(desired(BLOG))
    monkeypatch.setattr(host, "ask", fails)
    host.apply(desired(NEXT))
    assert host.commands == [RELOAD]


def test_links_by_which_an_earlier_version_started_apps_go(host: Fake) -> None:
    """Else after an upgrade all apps are started at once at boot, and every change needs a reload."""
    host.link(f"{steps.WANTS}/{IDLE}", "/usr/lib/systemd/system/rustploy-app@.service")
    host.loaded = host.rendered()
    host.apply(desired(BLOG))
    assert not host.entries(steps.WANTS)
    assert host.loaded == host.rendered()


def test_apps_that_are_not_named_stay(host: Fake) -> None:
    """Else a lost database takes every app with it."""
    host.apply(desired(BLOG))
    before = host.rendered()
    host.apply(desired(app("shop", process())))
    assert before.items() <= host.rendered().items()
    assert {"rp-blog", "rpb-blog", "rp-shop"} <= host.users.keys()
    assert "u rp-blog " in host.read(steps.SYSUSERS) and "/apps/blog/data " in host.read(steps.TMPFILES)


def test_processes_no_longer_listed_lose_their_units(host: Fake) -> None:
    host.apply(desired(BLOG))
    host.apply(desired(app("blog", process("web"))))
    assert host.commands[0][:2] == ("/usr/bin/systemctl", "stop")
    assert sorted(host.commands[0][2:]) == ["rustploy-app@blog-worker-a.service", "rustploy-app@blog-worker-b.service"]
    assert not [path for path in host.rendered() if "worker" in path]


def test_what_an_operator_added_to_a_unit_stays(host: Fake) -> None:
    host.apply(desired(BLOG))
    own = Path(f"{host.root}{steps.UNITS}/rustploy-app@blog-web-a.service.d/override.conf")
    own.write_text("[Service]\nNice=5\n")
    host.apply(desired(remove_apps=["blog"]))
    assert [str(own)] == list(host.rendered())


def test_an_account_with_another_purpose_is_refused_and_never_removed(host: Fake) -> None:
    """Else an app runs as a person of that name, or its removal removes them."""
    host.users["rp-blog"] = pwd.struct_passwd(("rp-blog", "x", 1000, 1000, "Rita Page", "/home/rp-blog", "/bin/bash"))
    result = host.apply(desired(BLOG, app("shop", process())))
    assert (result["apps"]["blog"]["ok"], result["apps"]["shop"]["ok"]) == (False, True)
    assert "rp-blog exists with another purpose" in result["apps"]["blog"]["error"]
    host.apply(desired(remove_apps=["blog"]))
    assert host.users["rp-blog"].pw_gecos == "Rita Page"
    assert not [command for command in host.commands if "userdel" in command[0]]


def test_a_user_that_another_run_was_just_removing_is_gone_all_the_same(host: Fake, monkeypatch: Any) -> None:
    """A killed run may leave its userdel behind for a moment; the next one's then finds nobody to remove."""
    host.apply(desired(BLOG))

    def lost(self: Fake, name: str) -> None:
        del self.users[name]
        raise Refused("userdel: user does not exist")

    monkeypatch.setattr(Fake, "userdel", lost)
    assert host.apply(desired(remove_apps=["blog"]))["removed_apps"] == ["blog"]


def test_a_user_that_cannot_be_removed_keeps_its_app_listed(host: Fake, monkeypatch: Any) -> None:
    """Else nothing would ever try again, and a later app of that name would find the old one's user."""
    host.apply(desired(BLOG))

    def fails(self: Fake, name: str) -> None:
        raise Refused("userdel failed")

    monkeypatch.setattr(Fake, "userdel", fails)
    assert host.apply(desired(remove_apps=["blog"]))["removed_apps"] == []
    assert steps.known(host) == {"blog"}


def test_only_a_regular_file_of_the_agents_is_read(host: Fake) -> None:
    """A planted link must not make root read, and tell of, another file."""
    path = Path(host.root + steps.DESIRED)
    secret = path.with_name("secret")
    secret.write_text("root:secret")
    path.symlink_to(secret)
    assert steps.main(host) == 1
    assert "secret" not in host.read(steps.RESULT)
    secret.write_text(json.dumps(desired(BLOG)))
    os.chown(secret, host.uids["rustploy"], -1)
    assert steps.main(host) == 1
    path.unlink()
    path.write_text(json.dumps(desired(BLOG)))
    assert steps.main(host) == 1
    assert "belongs to user rustploy" in json.loads(host.read(steps.RESULT))["error"]
    assert host.rendered() == {}


def interrupted(host: Fake, state: Any, at: int) -> bool:
    """Run apply and kill it at its operation number `at`; False when it came to its end before."""
    host.wish(state)
    scythe.left = at
    try:
        steps.main(host)
    except Killed:
        return True
    finally:
        scythe.left = None
    return False


@pytest.mark.parametrize(
    ("before", "state"),
    [([], desired(BLOG)), ([BLOG], desired(NEXT)), ([BLOG], desired(remove_apps=["blog"]))],
    ids=["making", "changing", "removing"],
)
def test_a_run_killed_at_any_operation_is_completed_by_the_next(tmp_path: Path, before: list[Any], state: Any) -> None:
    """Else a power cut leaves an app without users, or systemd with what it read before."""
    if os.getuid() != 0:
        pytest.skip("directories are given to users, which needs root")
    at, stays = 0, bool(state["apps"])
    while True:
        (tmp_path / str(at)).mkdir()
        host = Fake(tmp_path / str(at))
        host.apply(desired(app("shop", process()), *before))
        was_killed = interrupted(host, state, at)
        result = host.apply(state)
        assert result["removed_apps"] == state["remove_apps"]
        assert host.loaded == host.rendered(), f"killed at {at}: systemd does not know what is on disk"
        assert ("rp-blog" in host.users, "rpb-blog" in host.users) == (stays, stays)
        assert Path(f"{host.root}{steps.STATE}/apps/blog/cache").is_dir() == stays
        assert any("blog" in path for path in host.rendered()) == stays
        assert steps.known(host) == ({"shop", "blog"} if stays else {"shop"})
        if not was_killed:
            break
        at += 1
    assert at >= 5


def test_what_is_removed_is_gone_at_once_and_swept_away_by_another_unit(host: Fake) -> None:
    """A release of a million files else holds up everybody's deployments for as long as its removal takes."""
    trash = Path(host.root + rendering.TRASH)
    host.apply(desired(BLOG, app("shop", process())))
    assert not [command for command in host.commands if steps.SWEEP in command], "nothing is there to sweep"
    slug, link = Path(f"{host.root}{steps.STATE}/apps/shop/slugs/{UUID}"), UUID.replace("1", "2")
    (slug / "app").mkdir(parents=True)
    slug.with_name(link).symlink_to(slug.parents[1] / "data")
    result = host.apply(desired(app("shop", process(), remove_slugs=[UUID, link]), remove_apps=["blog"]))
    assert (result["removed_slugs"], result["removed_apps"]) == ([UUID, link], ["blog"])
    assert not slug.exists() and not Path(f"{host.root}{steps.STATE}/apps/blog").exists()
    assert sorted(path.name.partition(".")[0] for path in trash.iterdir()) == sorted([UUID, link, "blog"])
    assert trash.stat().st_mode & 0o777 == 0o700, "what was private must stay so"
    assert not [command for command in host.commands if command[0].endswith("/rm")]
    assert host.commands[-1] == ("/usr/bin/systemctl", "--no-block", "start", steps.SWEEP)
    assert sweep.main(host) == 0
    assert list(trash.iterdir()) == []
    assert (slug.parents[1] / "data").is_dir()


def test_a_systemd_that_is_executed_anew_does_not_fail_a_run(host: Fake, monkeypatch: Any) -> None:
    """Else an upgrade of systemd fails the deployments that need apply at that moment, for good."""
    monkeypatch.setattr("rustploy_agent.apply.host.PAUSES", (0, 0))
    run, failures = host.run, [Refused("Transport endpoint is not connected")] * 2

    def sometimes(*argv: str) -> None:
        if argv[1:] == ("daemon-reload",) and failures:
            raise failures.pop()
        run(*argv)

    monkeypatch.setattr(host, "run", sometimes)
    assert host.apply(desired(BLOG))["ok"] is True
    assert host.loaded and not failures


def test_a_sweep_takes_what_comes_meanwhile_and_gives_up_on_what_stays(host: Fake, monkeypatch: Any) -> None:
    """Else what came while it ran stays until the next deployment, and what cannot go keeps it busy for ever."""
    trash = Path(host.root + rendering.TRASH)
    (trash / "stays").mkdir(parents=True)
    (trash / "goes").mkdir()

    def rm(self: Fake, path: str) -> None:
        if path.endswith("stays"):
            raise Refused("busy")
        shutil.rmtree(path)
        if path.endswith("goes"):
            (trash / "came").mkdir()

    monkeypatch.setattr(Fake, "rm", rm)
    assert sweep.main(host) == 1
    assert [path.name for path in trash.iterdir()] == ["stays"]
    (trash / "stays").rmdir()
    assert sweep.main(host) == 0


def test_a_directory_that_apply_did_not_make_is_not_removed(host: Fake) -> None:
    """Only what was made for an app goes with it."""
    place = Path(f"{host.root}{steps.STATE}/apps/foreign")
    place.mkdir()
    assert host.apply(desired(remove_apps=["foreign"]))["removed_apps"] == ["foreign"]
    assert place.is_dir()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
WORDS = st.sampled_from(["blog", "a-b", "web", "a\nUser=root", "%n", "..", "$(x)", UUID, "", "-", "é"]) | st.text(
    max_size=30
)
NUMBERS = st.sampled_from([0, 80, 1024, 20000, 65535, 1 << 29, 1 << 41, True, None, "20000"]) | st.integers()
SLOTS = st.fixed_dictionaries({"port": NUMBERS, "deployment_id": WORDS | st.none()})
PROCESSES = st.fixed_dictionaries(
    {"type": WORDS, "memory_max_bytes": NUMBERS, "cpu_quota_percent": NUMBERS, "tasks_max": NUMBERS}
    | {"slots": st.fixed_dictionaries({"a": SLOTS, "b": SLOTS})}
)
APPS = st.fixed_dictionaries(
    {"name": WORDS, "processes": st.lists(PROCESSES, max_size=3), "remove_slugs": st.lists(WORDS, max_size=2)}
)


@given(JSON | st.fixed_dictionaries({"version": st.just(1), "apps": st.lists(JSON), "remove_apps": st.just([])}))
def test_no_document_gets_past_the_parser_but_a_right_one(document: Any) -> None:
    """An exception of another kind would end apply for all apps at once."""
    refused: dict[str, str] = {}
    try:
        checked = wish.checked(wish.parse(json.dumps(document).encode()), refused)
    except Refused:
        return
    assert checked == []
    assert len(refused) <= len(document["apps"])


@given(st.binary(max_size=200))
def test_no_bytes_get_past_the_parser(data: bytes) -> None:
    with pytest.raises(Refused):
        wish.parse(data)


@given(st.lists(APPS, max_size=3))
def test_whatever_is_accepted_renders_only_harmless_lines(apps: list[Any]) -> None:
    """A value that could end its line, or expand in it, would be a setting of the attacker's, read by root."""
    refused: dict[str, str] = {}
    state = wish.parse(json.dumps(desired(*apps)).encode())
    for each in wish.checked(state, refused):
        for unit, text in rendering.units(state, each).items():
            assert re.fullmatch(r"rustploy-(app|fetch|build|task)@[a-z0-9-]+\.service", unit)
            assert all(SAFE_LINE.fullmatch(line) for line in text.split("\n")), text
            assert "%" not in re.sub(r"CPUQuota=\d+%", "", text)


def change(path: str, value: Any) -> Callable[[Any], None]:
    def apply(place: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "a\nUser=root", "name must match"),
        ("name", "a--b", "name must match"),
        ("processes.0.type", "web-a", "processes[0].type must match"),
        ("processes.0.memory_max_bytes", "1G", "processes[0].memory_max_bytes must be a whole number"),
        ("processes.0.tasks_max", True, "processes[0].tasks_max must be a whole number"),
        ("processes.1.type", "web", "a type of their own"),
        ("processes.0.slots.b.port", 20000, "port must be one that no other slot has"),
        ("processes.0.slots.a.deployment_id", UUID + "\n", "deployment_id must match"),
        ("processes.0.slots.c", slot(), "slots must be an object with the keys a, b"),
        ("remove_slugs", [".."], "remove_slugs[0] must match"),
        ("environment", {}, "no unknown ones"),
    ],
)
def test_a_refusal_names_the_field_and_what_would_be_right(path: str, value: Any, message: str) -> None:
    """Else the operator who reads it in the journal cannot tell what is wrong."""
    wrong = json.loads(json.dumps(BLOG))
    change(path, value)(wrong)
    refused: dict[str, str] = {}
    assert wish.checked(wish.parse(json.dumps(desired(wrong)).encode()), refused) == []
    assert message in next(iter(refused.values()))
