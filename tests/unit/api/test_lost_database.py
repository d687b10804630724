"""After the loss of the database what runs is served on, and comes back with an import."""

from __future__ import annotations

import pytest

from rustploy_agent import apps, orphans, routing
from rustploy_agent.core import Core
from rustploy_agent.models import App, Process
from rustploy_agent.settle import settle
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.caddy import Caddy
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes


@pytest.fixture
def lost(core: Core, admin: Client, blog: str, ingress: Caddy, manager: Manager) -> list[int]:
    """An app that serves in slot b and has a domain; its ports. Then the database is another."""
    core.worker.start()
    for _ in range(2):
        accepted = admin("POST", f"/apps/{blog}/deployments", {"force_rebuild": True})
        assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-b.service"})
    assert admin("POST", f"/apps/{blog}/domains", {"domain": "blog.example.org"}).status_code == 201
    with core.worker.hold(blog, 10):
        row = Process.get()
        apps._forget(App.get())
    settle(core.settings, core.systemd, core.applier)
    core.routing.update()
    return [row.port_a, row.port_b]


def served(core: Core) -> dict[str, routing.caddy.Site]:
    return {site.app: site for site in routing.served(core.settings).sites}


def test_visitors_of_an_app_that_the_database_lost_are_served_on(core: Core, lost: list[int]) -> None:
    """Else an empty database takes every app of the server off the net, although all of them run."""
    site = served(core)["blog"]
    assert "blog.example.org" in {host.name for host in site.hosts}
    assert site.ports["b"] == (lost[1],)
    marks = {path.name for path in core.settings.paths.routes.iterdir()}
    assert {"blog.open", "blog.b"} <= marks


def test_an_import_takes_over_what_runs_where_it_listens(core: Core, admin: Client, lost: list[int]) -> None:
    """Else the ingress asks at a port where nobody listens until the next deployment."""
    assert admin("POST", "/apps/import", {"repository": REPOSITORY}).status_code == 201
    assert Process.get().port_b == lost[1] != Process.get().port_a
    core.worker.start()
    accepted = admin("POST", "/apps/blog/deployments")
    assert ended(accepted.get_json()["deployment_id"]).status == "healthy"


def test_an_app_that_is_gone_from_the_host_is_gone_from_the_ingress(core: Core, lost: list[int]) -> None:
    """Else its names lead to whoever gets its ports next."""
    home = core.settings.paths.app("blog")
    home.rename(home.with_name(".blog"))
    assert "blog" not in served(core)
    settle(core.settings, core.systemd, core.applier)
    assert not [path for path in core.settings.paths.routes.iterdir() if path.name.startswith("blog.")]


def test_names_that_somebody_else_has_meanwhile_are_not_taken_back(core: Core, lost: list[int]) -> None:
    """Else one name leads to two apps."""
    kept = orphans.sites(core.settings.paths, set(), {"blog.example.org"})
    assert "blog.example.org" not in {host.name for site in kept for host in site.hosts}


def test_a_restored_database_that_is_older_than_what_runs_stops_nothing(
    core: Core, admin: Client, blog: str, manager: Manager
) -> None:
    """Else bringing a backup back stops every app that was deployed since."""
    core.worker.start()
    for _ in range(2):
        before = App.get()
        accepted = admin("POST", f"/apps/{blog}/deployments", {"force_rebuild": True})
        assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-b.service"})
    runs_at = Process.get().port_b
    with core.worker.hold(blog, 10):
        Process.update(port_a=runs_at, port_b=runs_at + 1).execute()  # they were others when the copy was made
        App.update(active_slot=before.active_slot, active_release_id=before.active_release_id).execute()
    settle(core.settings, core.systemd, core.applier)
    assert manager.running() == {"rustploy-app@blog-web-b.service"}
    assert App.get().active_slot == "b" and (core.settings.paths.routes / "blog.b").exists()
    assert Process.get().port_b == runs_at != Process.get().port_a
    accepted = admin("POST", f"/apps/{blog}/deployments")
    assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    until(lambda: manager.running() == {"rustploy-app@blog-web-a.service"})
