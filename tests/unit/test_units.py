"""The shipped units: what a reviewer wants to be sure of, checked line by line."""

import re
from pathlib import Path

import pytest

from rustploy_agent import units
from rustploy_agent.apply import steps, wish

UNITS = Path(__file__).parents[2] / "units"
TEMPLATES = [f"rustploy-{kind}@.service" for kind in ("app", "task", "fetch", "build")]
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


def settings(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [
        (key, value)
        for line in lines
        if not line.startswith("#")
        for key, _, value in [line.partition("=")]
        if value or "=" in line
    ]


def sandbox(name: str) -> set[tuple[str, str]]:
    """Settings from NoNewPrivileges= on, which is where the sandbox begins."""
    found = settings(name)
    return set(found[found.index(("NoNewPrivileges", "yes")) :])


def test_all_templates_have_the_same_sandbox() -> None:
    """A hole closed in one must be closed in all. Only builds reach the journal's socket, to log as themselves.

    Fetch runs nothing of anybody that would need the kernel's settings; make starts its commands by way of setresuid.
    """
    journal = {("BindReadOnlyPaths", "-/run/systemd/journal/socket")}
    without = {("ProcSubset", "pid"), ("InaccessiblePaths", "/sys")}
    assert sandbox(TEMPLATES[0]) == sandbox(TEMPLATES[1])
    make = {("SystemCallFilter", "setresuid setresgid")}
    assert sandbox(TEMPLATES[3]) == sandbox(TEMPLATES[0]) | journal | make
    assert sandbox(TEMPLATES[2]) == sandbox(TEMPLATES[0]) | journal | without


@pytest.mark.parametrize("name", [name for name in SERVICES if ("ProtectSystem", "strict") in settings(name)])
def test_what_is_strict_cannot_write_in_run_either(name: str) -> None:
    """ProtectSystem=strict leaves /run writable beside some other settings, and /run/lock is everybody's."""
    assert ("ReadOnlyPaths", "/run") in settings(name)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_runs_around_the_sandbox_or_reads_files_for_the_agent(name: str) -> None:
    """`+` and `!` run outside; environment and credential files are opened by root, through links; %I unescapes."""
    for key, value in settings(name):
        assert not (key.startswith("Exec") and re.match(r"[@:-]*[+!]", value)), value
        assert key not in (
            "EnvironmentFile",
            "LoadCredential",
            "SetCredential",
            "ImportCredential",
            "PermissionsStartOnly",
        )
        assert "%I" not in value


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_run_nothing_without_what_apply_rendered(name: str) -> None:
    stem = name.partition("@")[0]
    assert ("AssertPathExists", f"/etc/systemd/system/{stem}@%i.service.d/50-rustploy.conf") in settings(name)
    assert ("User", "rustploy-unassigned") in settings(name)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_breaks_honest_programs_is_not_set(name: str) -> None:
    """Node dies of MemoryDenyWriteExecute=, sees no processors with ProcSubset=pid, no interfaces without netlink."""
    keys = dict(settings(name))
    runs_nothing_of_anybody = name == "rustploy-fetch@.service"
    assert keys.keys().isdisjoint({"MemoryDenyWriteExecute", "DynamicUser"})
    assert "ProcSubset" not in keys or runs_nothing_of_anybody
    assert "AF_NETLINK" in keys["RestrictAddressFamilies"]
    assert not [value for key, value in settings(name) if key == "SystemCallFilter" and "@resources" in value]


@pytest.mark.parametrize("name", TEMPLATES)
def test_how_they_end_and_how_much_they_may_log_is_said(name: str) -> None:
    keys = dict(settings(name))
    assert keys["KillMode"] == ("mixed" if keys["ExecStart"].endswith("/launch") else "control-group")
    assert {"LogRateLimitIntervalSec", "LogRateLimitBurst", "TimeoutStopSec", "OOMPolicy"} <= keys.keys()


def test_the_polkit_rule_names_only_units_that_are_shipped() -> None:
    """For a name without a file the same permission is one to run anything as root."""
    rule = (UNITS / "50-rustploy.rules").read_text()
    patterns = re.findall(r"pattern: /\^(.+)\$/", rule)
    examples = {f"rustploy-{kind}@blog.service": f"rustploy-{kind}@.service" for kind in ("fetch", "build", "task")}
    examples |= {
        "rustploy-app@blog-web-a.service": "rustploy-app@.service",
        "rustploy-app@blog-web-b2.service": "rustploy-app@.service",
        "rustploy-app@blog-web-a16.service": "rustploy-app@.service",
        "rustploy-apply.service": "rustploy-apply.service",
    }
    for unit, file in examples.items():
        assert any(re.fullmatch(pattern, unit) for pattern in patterns), unit
        assert (UNITS / file).is_file()
    for suffix in ("a1", "a0", "a02", "a17", "a20", "a100", "a2b", "2", "ab", "a-2"):
        unit = f"rustploy-app@blog-web-{suffix}.service"
        assert not any(re.fullmatch(pattern, unit) for pattern in patterns), unit
    stems = {match for pattern in patterns for match in re.findall(r"rustploy-(?:\(([a-z|]+)\)|([a-z]+))", pattern)}
    named = {stem for pair in stems for part in pair for stem in part.split("|") if stem}
    assert named == {"app", "fetch", "build", "task", "apply"}
    assert len(patterns) == rule.count("verbs: [")
    assert set(re.findall(r'"([a-z-]+)"', "".join(re.findall(r"verbs: \[(.+)\]", rule)))) == {
        "start", "stop", "restart", "reset-failed"}  # fmt: skip


def test_agent_apply_and_the_polkit_rule_agree_on_names_of_instances() -> None:
    """Else an instance that is rendered cannot be started, or one that is gone is never un-rendered."""
    rule = re.findall(r"pattern: /\^(rustploy-app@.+)\$/", (UNITS / "50-rustploy.rules").read_text())[0]
    for name, process in (("blog", "web"), ("a-b", "w2"), ("x-web-a2", "a"), ("a1", "b2")):
        seen = set()
        for slot in ("a", "b"):
            for number in range(1, units.MOST_INSTANCES + 1):
                unit = units.app(name, process, slot, number)
                found = steps.UNIT.fullmatch(f"{unit}.d")
                assert found and found[2] == name, unit
                assert re.fullmatch(rule, unit), unit
                seen.add(unit)
            assert not re.fullmatch(rule, units.app(name, process, slot, units.MOST_INSTANCES + 1))
        assert len(seen) == 2 * units.MOST_INSTANCES


def test_agent_and_apply_agree_on_how_many_instances_there_can_be() -> None:
    """Else the API accepts what apply then refuses, and an app that cannot be rendered cannot be mended either."""
    assert units.MOST_APP_INSTANCES == wish.MOST_APP_INSTANCES
    assert units.MOST_HOST_INSTANCES == wish.MOST_HOST_INSTANCES
