"""GET /apps/{app}/config: what would be deployed, without its secrets."""

from __future__ import annotations

from rustploy_agent import repository
from rustploy_agent.config import Settings
from rustploy_agent.models import App
from tests.unit.api.conftest import REPOSITORY, Client
from tests.unit.manager import Manager


def test_what_was_imported_is_shown(reader: Client, blog: str) -> None:
    config = reader("GET", f"/apps/{blog}/config").get_json()
    assert config["source"] == {"branch": "main", "commit_sha": None}
    assert (config["build_mode"], config["manifest"]) == ("auto", None)


def test_an_app_that_was_never_imported_has_none(admin: Client) -> None:
    admin("POST", "/apps", {"name": "bare"})
    assert admin.code("GET", "/apps/bare/config") == (404, "config_not_found")


def test_the_manifest_is_shown_with_every_key(admin: Client, manager: Manager) -> None:
    manager.fetched = {"manifest": "version: 1\napp:\n  healthcheck_path: /up\n"}
    admin("POST", "/apps/import", {"repository": REPOSITORY, "dependency_profile": {"redis": True}})
    config = admin("GET", "/apps/blog/config").get_json()
    assert config["manifest"]["app"]["healthcheck_path"] == "/up"
    assert config["dependency_profile"] == {"postgres": False, "redis": True}


def health(admin: Client) -> dict[str, object]:
    effective = admin("GET", "/apps/blog/config").get_json()["effective"]
    return {key.removeprefix("healthcheck_"): value for key, value in effective.items() if "healthcheck" in key}


def test_the_request_says_more_of_the_health_check_than_the_manifest_and_that_more_than_the_default(
    admin: Client, manager: Manager
) -> None:
    """Each option by itself: who changes the interval for a test does not lose the repository's path."""
    manager.fetched = {"manifest": "version: 1\napp: {healthcheck_path: /up, healthcheck_status: 204}\n"}
    admin("POST", "/apps/import", {"repository": REPOSITORY})
    defaults = {"path": "/up", "status": 204, "timeout_seconds": 60, "interval_seconds": None, "host": None}
    assert health(admin) == defaults
    runtime = {"healthcheck_status": 301, "healthcheck_timeout_seconds": 5, "healthcheck_interval_seconds": 1}
    runtime |= {"healthcheck_host": "www.example.org:8443"}
    admin("POST", "/apps/import", {"repository": REPOSITORY, "runtime": runtime})
    assert health(admin) == {"path": "/up", "status": 301, "timeout_seconds": 5, "interval_seconds": 1} | {
        "host": "www.example.org:8443"
    }


def test_a_password_in_the_clone_url_is_not_shown(admin: Client, reader: Client) -> None:
    """A read token would else be enough to push to the repository."""
    url = "https://anna:s3cret@git.example.org/anna/blog.git"
    admin("POST", "/apps/import", {"repository": REPOSITORY | {"clone_url": url}})
    shown = reader("GET", "/apps/blog/config")
    assert b"s3cret" not in shown.data
    assert shown.get_json()["repository"]["clone_url"] == "https://***@git.example.org/anna/blog.git"


def test_a_password_in_the_clone_url_lies_sealed_and_is_fetched_with(admin: Client, settings: Settings) -> None:
    """A copy of the database would else be enough to push to the repository."""
    url = "https://anna:s3cret@git.example.org/anna/blog.git"
    admin("POST", "/apps/import", {"repository": REPOSITORY | {"clone_url": url}})
    app = App.get()
    assert "s3cret" not in str(app.repository)
    assert repository.address(app, settings.paths) == url
    assert not list((settings.paths.app("blog") / "jobs").iterdir())
