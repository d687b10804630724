"""POST and GET /apps/{app}/deployments: what was accepted is on disk and shown as it was asked for."""

from __future__ import annotations

import dataclasses

import pytest
from flask import Flask

from rustploy_agent.api import create_app
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment
from tests.unit.api.conftest import REPOSITORY, Client

SHA = "a" * 40


def newest(client: Client, app: str) -> dict[str, object]:
    found: dict[str, object] = client("GET", f"/apps/{app}/deployments").get_json()["items"][0]
    return found


def test_a_deployment_without_a_body_takes_the_imported_branch(deployer: Client, blog: str) -> None:
    accepted = deployer("POST", f"/apps/{blog}/deployments")
    assert accepted.status_code == 202
    shown = newest(deployer, blog)
    assert (shown["id"], shown["status"], shown["source_ref"]) == (
        accepted.get_json()["deployment_id"],
        "queued",
        "main",
    )


@pytest.mark.parametrize(
    ("body", "ref", "commit"),
    [
        ({"source_ref": "v1.0"}, "v1.0", None),
        ({"source_ref": "feature/x"}, "feature/x", None),
        ({"commit_sha": SHA.upper()}, "main", SHA),
        ({"source_ref": SHA}, "main", SHA),
        ({"source_ref": "next", "commit_sha": SHA}, "next", SHA),
        ({"source_ref": None, "commit_sha": None, "image_ref": None, "force_rebuild": None}, "main", None),
    ],
)
def test_a_branch_a_tag_or_a_commit_can_be_named(
    deployer: Client, blog: str, body: object, ref: str, commit: str | None
) -> None:
    deployer("POST", f"/apps/{blog}/deployments", body)
    shown = newest(deployer, blog)
    assert (shown["source_ref"], shown["commit_sha"]) == (ref, commit)


def test_a_pinned_commit_is_deployed_until_another_is_named(admin: Client) -> None:
    admin("POST", "/apps/import", {"repository": REPOSITORY, "source": {"branch": "main", "commit_sha": SHA}})
    admin("POST", "/apps/blog/deployments")
    assert newest(admin, "blog")["commit_sha"] == SHA
    admin("POST", "/apps/blog/deployments", {"source_ref": "main"})
    assert newest(admin, "blog")["commit_sha"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"source_ref": "-x"}, "source_ref"),
        ({"source_ref": "a..b"}, "source_ref"),
        ({"source_ref": "a b"}, "source_ref"),
        ({"source_ref": "a\n"}, "source_ref"),
        ({"source_ref": 7}, "source_ref"),
        ({"commit_sha": "abc123"}, "commit_sha"),
        ({"force_rebuild": "yes"}, "force_rebuild"),
        ({"ref": "main"}, "ref"),
    ],
)
def test_a_wrong_wish_is_refused_by_field(deployer: Client, blog: str, body: object, field: str) -> None:
    answer = deployer("POST", f"/apps/{blog}/deployments", body)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.get_json()["error"]["details"]] == [field]
    assert Deployment.select().count() == 0


def test_an_image_is_refused_with_its_own_code(deployer: Client, blog: str) -> None:
    request = {"image_ref": "nginx:latest"}
    assert deployer.code("POST", f"/apps/{blog}/deployments", request) == (400, "unsupported_source")


def test_an_app_without_repository_cannot_be_deployed(admin: Client) -> None:
    admin("POST", "/apps", {"name": "bare"})
    assert admin.code("POST", "/apps/bare/deployments") == (400, "no_repository")


def test_a_newer_deployment_supersedes_one_that_waits(deployer: Client, blog: str) -> None:
    """Else ten pushes in a row are ten deployments in a row."""
    first, second = (deployer("POST", f"/apps/{blog}/deployments").get_json()["deployment_id"] for _ in range(2))
    shown = {item["id"]: item for item in deployer("GET", f"/apps/{blog}/deployments").get_json()["items"]}
    assert (shown[first]["status"], shown[first]["error_code"]) == ("failed", "superseded")
    assert second in shown[first]["last_error"]
    assert shown[second]["status"] == "queued"


def test_a_newer_deployment_supersedes_one_that_waits_for_its_next_try(deployer: Client, blog: str) -> None:
    """Else the older commit is tried again after the newer one and takes its place."""
    old = deployer("POST", f"/apps/{blog}/deployments", {"commit_sha": SHA}).get_json()["deployment_id"]
    Deployment.update(status="retrying", not_before_unix_ms=2**60).where(Deployment.id == old).execute()
    deployer("POST", f"/apps/{blog}/deployments")
    assert Deployment.get_by_id(old).error_code == "superseded"


def test_the_list_is_newest_first_and_as_long_as_asked(deployer: Client, blog: str) -> None:
    app = App.get()
    for number in range(5):
        Deployment.create(app=app, created_at_unix_ms=number, status="failed")
    items = deployer("GET", f"/apps/{blog}/deployments?limit=3").get_json()["items"]
    assert [item["created_at_unix_ms"] for item in items] == [4, 3, 2]


@pytest.mark.parametrize("limit", ["0", "1001", "x", "", "-1", "1.0", "9" * 5000])
def test_a_wrong_limit_is_refused(deployer: Client, blog: str, limit: str) -> None:
    assert deployer.code("GET", f"/apps/{blog}/deployments?limit={limit}") == (400, "invalid_request")


def test_a_full_disk_refuses_deployments_with_503(core: Core, opened: None, admin: Client, blog: str) -> None:
    full = dataclasses.replace(core, settings=dataclasses.replace(core.settings, min_free_bytes=2**62))
    client = Client(create_app(full), admin.token)
    assert client.code("POST", f"/apps/{blog}/deployments") == (503, "disk_full")
    assert Deployment.select().count() == 0


def test_deployments_of_another_app_are_not_listed(admin: Client, api: Flask, blog: str) -> None:
    admin("POST", "/apps", {"name": "other"})
    admin("POST", f"/apps/{blog}/deployments")
    assert admin("GET", "/apps/other/deployments").get_json()["items"] == []
