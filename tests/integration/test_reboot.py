"""The data plane does not need the control plane: after a reboot, without the agent, without its database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, server
from tests.integration.helpers_prober import Prober, ask

STATE = "/var/lib/rustploy/agent"
COPY = "/root/copy.db"


@pytest.fixture(scope="module")
def api(release: str, deb: Path) -> Iterator[Deployments]:
    """A machine of their own, because they reboot it and lose its database."""
    for machine in helpers.own_machine(release, deb):
        helpers.restore_settings(machine, helpers.quick_settings(machine))
        found = Deployments(machine)
        found.create("blog", server("blog one"))
        found.healthy("blog")
        found.commit("blog", {"version.txt": "blog two"})
        found.healthy("blog")
        found.create("shop", server("shop") | {"Procfile": "web: exec python3 app.py\nworker: exec sleep 9999\n"})
        found.set_env("shop", "KEPT", "through 'reboots' & $such")
        found.healthy("shop")
        yield found


RUNNING = {
    "blog": ["rustploy-app@blog-web-b.service"],
    "shop": ["rustploy-app@shop-web-a.service", "rustploy-app@shop-worker-a.service"],
}


def _wait_until_apps_run(api: Deployments) -> None:
    for app, units in RUNNING.items():
        api.machine.wait_for(lambda app=app, units=units: api.running(app) == units, 30, f"{app} to be up")  # type: ignore[misc]


def _visited(api: Deployments, app: str) -> object:
    try:
        return api.visit(app).body
    except OSError:
        return None


def _wait_until_serves(api: Deployments, port: int, body: str) -> None:
    def serves() -> bool:
        try:
            return ask(port) == body
        except OSError:
            return False

    api.machine.wait_for(serves, 30, f"{body!r} at port {port}")


def test_apps_are_up_after_a_reboot_even_if_the_agent_cannot_start(api: Deployments) -> None:
    """Else a broken upgrade of the agent turns the next power cut into an outage of everything."""
    machine, blog, shop = api.machine, api.port("blog"), api.port("shop")
    machine.run(["systemctl", "mask", "rustploy-agent.service"])
    machine.reboot()
    _wait_until_apps_run(api)
    _wait_until_serves(api, blog, "blog two")
    _wait_until_serves(api, shop, "shop")
    machine.wait_for(lambda: _visited(api, "blog") == "blog two", 30, "the ingress to serve, from the slot of before")
    assert machine.run(["systemctl", "is-active", "rustploy-agent.service"], check=False).stdout.strip() == "inactive"
    machine.run(["systemctl", "unmask", "rustploy-agent.service"])
    machine.run(["systemctl", "start", "rustploy-agent.service"])
    machine.wait_for_agent()
    assert (api.port("blog"), api.port("shop")) == (blog, shop)
    assert api.environment("shop")["KEPT"] == "through 'reboots' & $such"
    assert machine.failed_units() == []


def test_a_release_that_was_being_made_when_the_machine_went_down_runs_nowhere(api: Deployments) -> None:
    """Else half a deployment is an outage after the boot, or the boot itself waits for it."""
    machine, waiting = api.machine, "rustploy-app@blog-web-a.service"
    pipe, port = "/var/lib/rustploy/apps/blog/slots/web-a.env", api.port("blog")
    machine.run(["mkfifo", "--mode=640", pipe])
    machine.run(["chown", "rustploy:rp-blog", pipe])
    machine.run(["systemctl", "mask", "rustploy-agent.service"])
    machine.reboot()
    _wait_until_apps_run(api)
    _wait_until_serves(api, port, "blog two")
    assert machine.property(waiting, "ActiveState") == "inactive"
    machine.run(["systemctl", "unmask", "rustploy-agent.service"])
    machine.run(["systemctl", "start", "rustploy-agent.service"])
    machine.wait_for_agent()
    _wait_until_apps_run(api)
    assert not machine.exists(pipe)
    assert machine.failed_units() == []


def test_after_a_reboot_everything_goes_on_as_before(api: Deployments) -> None:
    """Else the first deployment after a reboot is the one that goes wrong."""
    api.machine.reboot()
    api.machine.wait_for_agent()
    _wait_until_apps_run(api)
    _wait_until_serves(api, api.port("blog"), "blog two")
    api.healthy("blog", "rollback")
    assert api.get("blog").body == "blog one"
    api.healthy("blog")
    assert api.get("blog").body == "blog two"


def test_a_power_cut_during_a_deployment_loses_neither_it_nor_the_old_release(api: Deployments) -> None:
    """Else what was accepted is gone, or the app comes back as a half of two releases."""
    port = api.port("blog")
    api.commit("blog", {"version.txt": "blog three"})
    api.machine.run(["sync"])  # the repository is not what is tested
    deployment = api.start("blog")
    api.machine.power_cut()
    api.machine.boot()
    api.machine.wait_for_agent()
    assert api.wait("blog", deployment)["status"] == "healthy"
    api.wait_until_settled("blog")
    assert api.get("blog").body == "blog three"
    assert api.port("blog") != port
    api.commit("blog", {"version.txt": "blog two"})
    api.healthy("blog")


def test_apps_and_their_visitors_outlive_the_agents_database(api: Deployments) -> None:
    """Else a corrupt file takes every app of the server down, or a fresh agent clears them away."""
    machine, blog, shop = api.machine, api.port("blog"), api.port("shop")
    units = api.running("blog") + api.running("shop")
    with Prober(machine.place.http_port, host=api.host("blog")) as one, Prober(shop) as other:
        machine.run(["systemctl", "stop", "rustploy-agent.service"])
        copy = f"import sqlite3; sqlite3.connect('{STATE}/rustploy.db').backup(sqlite3.connect('{COPY}'))"
        machine.run(["python3", "-c", copy])
        machine.run(["rm", f"{STATE}/desired.json"])
        machine.run(["sh", "-c", f"head -c 40000 /dev/urandom | dd of={STATE}/rustploy.db bs=4096 seek=4 conv=notrunc"])
        machine.run(["systemctl", "start", "rustploy-agent.service"])
        machine.wait_for_agent()
        assert any(line.startswith("database: it was damaged") for line in helpers.troubles(machine))
        assert machine.journal("-u", "rustploy-agent.service", "-g", "the database was damaged")
        machine.run(["rustploy-agent", "admin", "init"])
        created = machine.run(["rustploy-agent", "token", "create", "--name", "again", "--scope", "admin"])
        machine.token = created.stdout.splitlines()[-1]
        assert machine.http("GET", "/api/v1/apps").body["items"] == []
        machine.run(["systemctl", "restart", "rustploy-agent.service"])
        machine.wait_for_agent()
        api.create("fresh", server("fresh"))
        api.healthy("fresh")
    assert (one.failures, one.bodies) == ([], ["blog two"])
    assert (other.failures, other.bodies) == ([], ["shop"])
    assert api.running("blog") + api.running("shop") == units
    assert machine.run(["getent", "passwd", "rp-blog", "rpb-blog", "rp-shop", "rpb-shop"]).stdout.count("\n") == 4
    machine.reboot()
    _wait_until_serves(api, blog, "blog two")
    _wait_until_serves(api, shop, "shop")
    assert api.visit("blog").body == "blog two"
    held = _when(api, "rustploy-agent.socket", "ActiveEnterTimestampMonotonic")
    assert (
        0 < held < _when(api, api.running("blog")[0], "ExecMainStartTimestampMonotonic")
    ), "an app that starts before the agent's address is held can take it"


def _when(api: Deployments, unit: str, what: str) -> int:
    return int(api.machine.run(["systemctl", "show", "--value", f"--property={what}", unit]).stdout)


def test_an_app_from_before_the_loss_can_be_imported_again(api: Deployments) -> None:
    """Else the names of the lost database are lost for ever, with the apps' data behind them."""
    api.machine.wait_for_agent()
    api.machine.write("/var/lib/rustploy/apps/blog/data/kept", "kept", 0o600, "rp-blog:rp-blog")
    with Prober(api.machine.place.http_port, host=api.host("blog")) as seen:
        api.import_app("blog", "file://" + api.machine.repositories.path("blog"))
        api.healthy("blog")
    assert (seen.failures, seen.bodies) == ([], ["blog two"])
    assert api.get("blog").body == "blog two"
    assert api.machine.read("/var/lib/rustploy/apps/blog/data/kept") == "kept"
    assert len(api.running("blog")) == 1


def test_a_copy_of_the_database_is_brought_back_and_knows_what_was_lost(api: Deployments) -> None:
    """Else the way back that the manual tells is one that nobody has gone, and it stops what was deployed since."""
    machine = api.machine
    with Prober(machine.place.http_port, host=api.host("blog")) as seen:
        machine.run(["systemctl", "stop", "rustploy-agent.service"])
        machine.run(["sh", "-c", f"rm {STATE}/rustploy.db*"])
        machine.run(["install", "-o", "rustploy", "-g", "rustploy", "-m", "0600", COPY, f"{STATE}/rustploy.db"])
        machine.run(["systemctl", "start", "rustploy-agent.service"])
        machine.wait_for_agent()
        created = machine.run(["rustploy-agent", "token", "create", "--name", "back", "--scope", "admin"])
        machine.token = created.stdout.splitlines()[-1]
        names = {app["name"] for app in machine.http("GET", "/api/v1/apps").body["items"]}
        assert {"blog", "shop"} <= names
        assert api.environment("shop")["KEPT"] == "through 'reboots' & $such"
        assert api.visit("fresh").body == "fresh", "what the copy does not know is served on"
        api.healthy("blog")
        api.healthy("shop")
    assert (seen.failures, seen.bodies) == ([], ["blog two"])
    assert helpers.troubles(machine) == []
