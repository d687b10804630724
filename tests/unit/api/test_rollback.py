"""POST /apps/{app}/rollback: the way back, without a build, to the release that is meant."""

from __future__ import annotations

import pytest

from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Release
from tests.unit.api.conftest import Client
from tests.unit.manager import Manager
from tests.unit.waiting import ended

COMMITS = ["1" * 40, "2" * 40, "3" * 40]


@pytest.fixture
def three(deployer: Client, blog: str, core: Core) -> list[str]:
    """Ids of three healthy deployments, oldest first."""
    core.worker.start()
    found = []
    for commit in COMMITS:
        deployment = deployer("POST", f"/apps/{blog}/deployments", {"commit_sha": commit}).get_json()["deployment_id"]
        assert ended(deployment).status == "healthy"
        found.append(deployment)
    return found


def active_commit() -> str:
    return str(Release.get_by_id(App.get().active_release_id).commit_sha)


def serving(core: Core) -> str:
    """The slot file of the process that serves now."""
    return (core.settings.paths.app("blog") / "slots" / f"web-{App.get().active_slot}.env").read_text()


def test_an_app_without_a_release_has_nothing_to_go_back_to(deployer: Client, blog: str) -> None:
    assert deployer.code("POST", f"/apps/{blog}/rollback") == (404, "no_rollback_target")


@pytest.mark.processes
def test_it_goes_one_release_back_each_time_and_then_no_further(
    deployer: Client, blog: str, three: list[str], manager: Manager
) -> None:
    builds = manager.calls.count(("start", "rustploy-build@blog.service"))
    for commit in (COMMITS[1], COMMITS[0]):
        accepted = deployer("POST", f"/apps/{blog}/rollback")
        assert accepted.status_code == 202
        assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
        assert active_commit() == commit
    assert deployer.code("POST", f"/apps/{blog}/rollback") == (409, "no_rollback_target")
    assert manager.calls.count(("start", "rustploy-build@blog.service")) == builds


@pytest.mark.processes
def test_a_named_deployment_s_release_serves_again(deployer: Client, blog: str, three: list[str]) -> None:
    accepted = deployer("POST", f"/apps/{blog}/rollback", {"deployment_id": three[0]})
    assert ended(accepted.get_json()["deployment_id"]).status == "healthy"
    assert active_commit() == COMMITS[0]


@pytest.mark.processes
def test_the_environment_of_that_time_comes_back(
    admin: Client, deployer: Client, blog: str, three: list[str], core: Core
) -> None:
    admin("PUT", f"/apps/{blog}/env", {"key": "NEW", "value": "1"})
    assert ended(deployer("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"]).status == "healthy"
    assert "export NEW=1" in serving(core)
    assert ended(deployer("POST", f"/apps/{blog}/rollback").get_json()["deployment_id"]).status == "healthy"
    assert "export NEW" not in serving(core)


@pytest.mark.processes
def test_a_deployment_that_never_was_healthy_is_no_target(
    deployer: Client, blog: str, three: list[str], manager: Manager
) -> None:
    manager.built = {"ok": False, "code": "build_failed", "message": "no"}
    failed = deployer("POST", f"/apps/{blog}/deployments", {"force_rebuild": True}).get_json()["deployment_id"]
    assert ended(failed).error_code == "build_failed"
    request = {"deployment_id": failed}
    assert deployer.code("POST", f"/apps/{blog}/rollback", request) == (409, "no_rollback_target")
    assert deployer.code("POST", f"/apps/{blog}/rollback", {"deployment_id": "x"}) == (404, "deployment_not_found")


@pytest.mark.processes
def test_the_way_back_is_open_on_a_full_disk(deployer: Client, blog: str, three: list[str], core: Core) -> None:
    """A full disk is when a rollback is needed; it writes next to nothing."""
    object.__setattr__(core.settings, "min_free_bytes", 2**62)
    accepted = deployer("POST", f"/apps/{blog}/rollback")
    assert accepted.status_code == 202
    assert ended(accepted.get_json()["deployment_id"]).status == "healthy"


@pytest.mark.processes
def test_the_deployment_that_serves_is_shown_even_after_a_rollback_to_itself_failed(
    deployer: Client, blog: str, three: list[str]
) -> None:
    Deployment.create(app=App.get(), kind="rollback", release_id=App.get().active_release_id, status="failed")
    assert deployer("GET", f"/apps/{blog}").get_json()["active_deployment_id"] == three[-1]
