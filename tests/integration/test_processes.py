"""More than one process: workers, apps without web, and the release phase before them."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
WORKER = 'exec python3 -u -c "import time; print(open(\\"version.txt\\").read(), flush=True); time.sleep(9999)"'


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def _environment_of(machine: Machine, unit: str) -> dict[str, str]:
    pid = machine.app_process(unit)
    return dict(item.partition("=")[::2] for item in machine.read(f"/proc/{pid}/environ").split("\0") if item)


def test_web_and_worker_run_side_by_side_and_change_together(api: Deployments) -> None:
    """Else background jobs are not done, are done by old code, or go on after they were taken out."""
    both = f"web: exec python3 app.py\nworker: {WORKER}\n"
    api.create("pair", server("one") | {"Procfile": both})
    api.healthy("pair")
    assert api.running("pair") == ["rustploy-app@pair-web-a.service", "rustploy-app@pair-worker-a.service"]
    worker = _environment_of(api.machine, "rustploy-app@pair-worker-a.service")
    assert worker["RUSTPLOY_PROCESS"] == "worker"
    assert "PORT" not in worker
    api.commit("pair", {"version.txt": "two"})
    api.healthy("pair")
    assert api.running("pair") == ["rustploy-app@pair-web-b.service", "rustploy-app@pair-worker-b.service"]
    assert api.machine.journal("_SYSTEMD_UNIT=rustploy-app@pair-worker-b.service")[-1]["MESSAGE"] == "two"
    api.commit("pair", {"Procfile": "web: exec python3 app.py\n"})
    api.healthy("pair")
    assert api.running("pair") == ["rustploy-app@pair-web-a.service"]
    dropins = ["find", "/etc/systemd/system", "-name", "*pair-worker*"]
    api.machine.wait_for(lambda: api.machine.run(dropins).stdout == "", 10, "the worker's units to be gone")


def test_an_app_without_web_is_deployed_and_has_no_address(api: Deployments) -> None:
    """Else a bot or a queue worker cannot be run at all."""
    api.create(
        "bot",
        {"index.html": "", "version.txt": "bot", "build.sh": "", "Procfile": f"worker: {WORKER}\n"},
        build_mode="script",
    )
    api.healthy("bot")
    assert api.running("bot") == ["rustploy-app@bot-worker-a.service"]
    assert api.app("bot")["address"] is None


def test_the_release_phase_runs_once_before_the_new_code_serves(api: Deployments) -> None:
    """Else new code meets an old database."""
    step = "date +%s%N >>$RUSTPLOY_DATA_DIR/migrated; echo migrated with $SECRET"
    web = "date +%s%N >>$RUSTPLOY_DATA_DIR/started; exec python3 app.py"
    api.create("migrating", server("one") | {"Procfile": f"web: {web}\nrelease: {step}\n"})
    api.set_env("migrating", "SECRET", "a value")
    about = api.healthy("migrating")
    migrated = api.machine.read("/var/lib/rustploy/apps/migrating/data/migrated").split()
    started = api.machine.read("/var/lib/rustploy/apps/migrating/data/started").split()
    assert (len(migrated), len(started)) == (1, 1)
    assert int(migrated[0]) < int(started[0])
    assert "migrated with a value" in api.logs("migrating", about["id"])
    own = api.machine.journal("RUSTPLOY_DEPLOYMENT=" + about["id"], "RUSTPLOY_PROCESS=release", "_TRANSPORT=stdout")
    assert [entry["MESSAGE"] for entry in own] == ["migrated with a value"]


def test_migrations_of_the_manifest_run_as_release_phase(api: Deployments) -> None:
    """Else `migrations` in rustploy.yaml is accepted and not done."""
    manifest = "version: 1\nmigrations: {enabled: true, command: touch $RUSTPLOY_DATA_DIR/done}\n"
    api.create("declared", server("one") | {"rustploy.yaml": manifest})
    api.healthy("declared")
    assert api.machine.exists("/var/lib/rustploy/apps/declared/data/done")


def test_data_outlives_releases(api: Deployments) -> None:
    """Else uploads and SQLite databases are lost with every deployment."""
    api.create("keeping", server("one") | {"Procfile": "web: date >>$RUSTPLOY_DATA_DIR/log; exec python3 app.py\n"})
    api.healthy("keeping")
    api.healthy("keeping", force_rebuild=True)
    assert len(api.machine.read("/var/lib/rustploy/apps/keeping/data/log").splitlines()) == 2
