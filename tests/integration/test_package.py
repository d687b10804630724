"""The package's life: install, upgrade, remove, purge. What fails here an administrator loses without asking."""

import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.integration import helpers
from tests.machine import Machine
from tests.machine.base import REPOSITORY

FILES = [
    "find",
    "/etc",
    "/usr",
    "/var",
    "/srv",
    "-xdev",
    "-not",
    "-path",
    "/var/log/*",
    "-not",
    "-path",
    "/var/cache/*",
]
#: What dpkg, systemd and the test itself leave on every machine, whatever package comes and goes.
NOT_OURS = (
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/srv/git",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/deb-systemd-helper-enabled/caddy.service",
    "/var/tmp/",
)


@pytest.fixture
def installed(bare_machine: Machine, deb: Path) -> Machine:
    bare_machine.install(deb)
    return bare_machine


def deploy(machine: Machine, name: str) -> str:
    """Deploys a static site; returns its address once it is healthy."""
    url = machine.repositories.create(name, {"index.html": f"this is {name}"})
    repository = {"provider": "git", "owner": "local", "name": name, "clone_url": url}
    imported = machine.http("POST", "/api/v1/apps/import", {"repository": repository})
    assert imported.status == 201, imported
    app = imported.body["app"]["id"]
    assert machine.http("POST", f"/api/v1/apps/{app}/deployments").status == 202

    def ended() -> str | None:
        status = machine.http("GET", f"/api/v1/apps/{app}/deployments").body["items"][0]["status"]
        return status if status in ("healthy", "failed") else None

    assert machine.wait_for(ended, 60, "the deployment to end") == "healthy"
    return str(machine.http("GET", f"/api/v1/apps/{app}").body["address"])


def answer(machine: Machine, address: str) -> str:
    return str(machine.http("GET", "/", port=int(address.rpartition(":")[2])).body)


def main_pids(machine: Machine) -> dict[str, str]:
    """Unit -> main process and when it started, of everything of ours that runs."""
    units = machine.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=running", "rustploy-*"]).stdout
    names = [line.split()[0] for line in units.splitlines() if ".service" in line]
    properties = ["--property=MainPID", "--property=ExecMainStartTimestampMonotonic"]
    return {name: machine.run(["systemctl", "show", *properties, name]).stdout for name in names}


def everything(machine: Machine) -> set[str]:
    files = machine.run(FILES).stdout.splitlines()
    accounts = machine.run(["getent", "passwd"]).stdout + machine.run(["getent", "group"]).stdout
    return {file for file in files if not file.startswith(NOT_OURS)} | set(accounts.splitlines())


def test_a_port_that_is_taken_is_told_and_leaves_no_half_installed_package(bare_machine: Machine, deb: Path) -> None:
    """Else apt fails at this and at every other package from then on, with words that name no port."""
    machine = bare_machine
    port = str(machine.place.port)
    squatter = ["systemd-run", "--unit=squatter", "python3", "-m", "http.server", port, "--bind", "127.0.0.1"]
    machine.run(squatter)
    machine.wait_for(lambda: f":{port} " in machine.run(["ss", "-ltn"]).stdout, 20, "the port to be taken")
    machine.write("/etc/rustploy/agent.yaml", yaml.safe_dump(machine.settings()), 0o640)
    machine.send(deb, "/var/tmp/agent.deb")
    told = machine.apt("install", "/var/tmp/agent.deb")
    said = told.stdout + told.stderr
    assert f"127.0.0.1:{port} cannot be had" in said and "rustploy-agent doctor" in said
    shown = machine.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "rustploy-agent"])
    assert shown.stdout == "installed"
    assert any(line.startswith("API port: another program") for line in helpers.troubles(machine))
    machine.run(["systemctl", "stop", "squatter.service"])
    machine.wait_for_agent()


def test_an_upgrade_restarts_the_agent_and_no_app(installed: Machine, deb: Path) -> None:
    address = deploy(installed, "kept")
    before = main_pids(installed)
    installed.install(deb)
    after = main_pids(installed)
    changed = {unit for unit in before | after if before.get(unit) != after.get(unit)}
    assert changed == {"rustploy-agent.service"}
    assert answer(installed, address) == "this is kept"


def test_settings_survive_an_upgrade(installed: Machine, deb: Path) -> None:
    before = installed.read("/etc/rustploy/agent.yaml")
    installed.install(deb)
    assert installed.read("/etc/rustploy/agent.yaml") == before
    assert installed.run(["stat", "-c", "%U:%G %a", "/etc/rustploy/agent.yaml"]).stdout.strip() == "root:rustploy 640"


def test_removing_stops_everything_and_keeps_data_which_a_new_install_serves_again(
    installed: Machine, deb: Path
) -> None:
    address = deploy(installed, "kept")
    installed.apt("remove", "rustploy-agent")
    assert main_pids(installed) == {}
    assert installed.exists("/var/lib/rustploy/apps/kept/slugs")
    assert installed.exists("/var/lib/rustploy/agent/rustploy.db")
    with pytest.raises(OSError):
        answer(installed, address)
    installed.install(deb)
    installed.wait_for(lambda: any("app@" in unit for unit in main_pids(installed)), 20, "the app to run again")
    assert answer(installed, address) == "this is kept"
    assert len(installed.http("GET", "/api/v1/apps").body["items"]) == 1
    assert installed.failed_units() == []


def test_purging_leaves_no_file_and_no_account(bare_machine: Machine, deb: Path) -> None:
    before = everything(bare_machine)
    bare_machine.install(deb)
    deploy(bare_machine, "first")
    deploy(bare_machine, "second")
    assert len(everything(bare_machine) - before) > 100
    bare_machine.apt("purge", "rustploy-agent")
    assert everything(bare_machine) - before == set()
    units = bare_machine.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "rustploy-*.service"]
    ).stdout
    assert units == ""
    assert bare_machine.failed_units() == []


def test_purging_keeps_what_an_operator_added_to_an_app(installed: Machine) -> None:
    deploy(installed, "mine")
    drop_in = "/etc/systemd/system/rustploy-app@mine-web-a.service.d/90-operator.conf"
    installed.write(drop_in, "[Service]\nNice=5\n")
    installed.apt("purge", "rustploy-agent")
    assert installed.exists(drop_in)


def test_the_api_is_closed_from_the_first_moment(installed: Machine) -> None:
    """Every local user could make itself the admin otherwise."""
    assert installed.http("GET", "/api/v1/apps", token="").status == 401
    assert installed.http("POST", "/api/v1/tokens", {"name": "x", "scopes": ["admin"]}, token="").status == 401


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ("listen: {prot: 8080}\n", "listen.prot"),
        ("source:\n  schemes: [gopher]\n", "source.schemes"),
        ("colour: red\n", "colour"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(machine: Machine, settings: str, key: str) -> None:
    """An agent that started anyway would run with settings nobody chose."""
    good = machine.read("/etc/rustploy/agent.yaml")
    machine.write("/etc/rustploy/agent.yaml", settings, 0o640, "root:rustploy")
    try:
        machine.run(["systemctl", "restart", "rustploy-agent.service"], check=False)
        machine.wait_for(lambda: "rustploy-agent.service" in machine.failed_units(), 20, "the agent to give up")
        last = [str(entry["MESSAGE"]) for entry in machine.journal("-u", "rustploy-agent.service", "-n", "20")]
        assert any(key in line and "/etc/rustploy/agent.yaml" in line for line in last), last
    finally:
        machine.write("/etc/rustploy/agent.yaml", good, 0o640, "root:rustploy")
        machine.run(["systemctl", "reset-failed", "rustploy-agent.service"])
        machine.run(["systemctl", "restart", "rustploy-agent.service"])
        machine.wait_for_agent()


def test_every_setting_of_the_shipped_file_is_accepted(machine: Machine) -> None:
    """The shipped file shows the defaults; one that does not parse would break the host of whoever uncomments it."""
    shipped = (REPOSITORY / "packaging" / "agent.yaml").read_text()
    lines = [
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in shipped.splitlines()
    ]
    uncommented = "\n".join(lines)
    check = textwrap.dedent("""
        import sys, yaml
        from rustploy_agent.config import parse
        document = yaml.safe_load(sys.stdin.read())
        assert document, "nothing was uncommented"
        assert parse(document) == parse(None), (parse(document), parse(None))
    """)
    machine.run(["python3", "-c", check], input=uncommented)


def test_lintian_finds_nothing(deb: Path) -> None:
    """Errors and warnings that the package does not explain in an override."""
    found = subprocess.run(
        ["lintian", "--fail-on", "error,warning", "--allow-root", deb], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_documentation_comes_with_it_and_can_be_read_as_it_is(deb: Path) -> None:
    """The agent's messages name pages of it; the image of the test machines leaves /usr/share/doc out."""
    files = subprocess.run(["dpkg-deb", "--contents", deb], check=True, capture_output=True, text=True).stdout
    inside = {line.split()[-1].removeprefix("./usr/share/doc/rustploy-agent/") for line in files.splitlines()}
    docs = REPOSITORY / "docs"
    assert {str(page.relative_to(docs)) for page in docs.rglob("*.md")} - inside == set()


def test_the_build_refuses_versions_that_disagree(tmp_path: Path) -> None:
    """A package that calls itself 0.1.0 and contains 0.2.0 cannot be told from the right one."""
    for part in ("packaging", "rustploy_agent", "units", "buildpacks", "docs", "openapi.yaml", "pyproject.toml"):
        subprocess.run(["cp", "-r", REPOSITORY / part, tmp_path], check=True)
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "', 'version = "9.', 1))
    built = subprocess.run([tmp_path / "packaging" / "build-deb", tmp_path], capture_output=True, text=True)
    assert built.returncode == 1
    assert "pyproject.toml (9." in built.stderr
    assert list(tmp_path.glob("*.deb")) == []
