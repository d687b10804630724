"""/apps/{app}/{host} and /integrations: what follows which repository, and secrets that are never shown again."""

from __future__ import annotations

from typing import Any

import pytest

from rustploy_agent.models import Connection
from rustploy_agent.webhooks import PROVIDERS
from tests.unit.api.conftest import Client

GITHUB = {"owner": "Anna", "repo": "Blog", "branch": "main", "installation_id": 4711}


def test_a_connection_is_answered_as_it_was_asked_for(admin: Client, blog: str) -> None:
    answer = admin("POST", f"/apps/{blog}/github", GITHUB)
    assert answer.status_code == 200
    assert GITHUB.items() <= answer.get_json().items()
    assert answer.get_json()["app_id"] == blog
    assert admin("GET", "/apps/blog/github").get_json() == answer.get_json()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_it_is_made_changed_and_taken_back(admin: Client, reader: Client, blog: str, name: str) -> None:
    assert admin.code("GET", f"/apps/blog/{name}") == (404, "integration_not_found")
    for branch in ("main", "next"):
        admin("POST", f"/apps/blog/{name}", {"owner": "anna/sites", "repo": "blog", "branch": branch})
        assert reader("GET", f"/apps/blog/{name}").get_json()["branch"] == branch
    assert Connection.select().count() == 1
    assert reader.code("DELETE", f"/apps/blog/{name}") == (403, "insufficient_scope")
    assert admin("DELETE", f"/apps/blog/{name}").status_code == 204
    assert admin.code("DELETE", f"/apps/blog/{name}") == (404, "integration_not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": None}, "owner"),
        ({"owner": "anna blog"}, "owner"),
        ({"owner": "../x"}, "owner"),
        ({"repo": 7}, "repo"),
        ({"repo": "blog.git"}, "repo"),
        ({"repo": "sites/blog"}, "repo"),
        ({"branch": "a..b"}, "branch"),
        ({"branch": ["main"]}, "branch"),
        ({"installation_id": "4711"}, "installation_id"),
        ({"installation_id": 0}, "installation_id"),
        ({"secret": "short"}, "secret"),
        ({"secret": "with a space in it"}, "secret"),
        ({"secret": "with-a-newline\n-in-it"}, "secret"),
        ({"secret": "ü" * 20}, "secret"),
        ({"secret": "x" * 256}, "secret"),
        ({"name": "blog"}, "name"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_changes(admin: Client, blog: str, change: Any, field: str) -> None:
    answer = admin("POST", "/apps/blog/github", GITHUB | change)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.get_json()["error"]["details"]] == [field]
    assert Connection.select().count() == 0


def test_only_github_has_installations(admin: Client, blog: str) -> None:
    assert admin.code("POST", "/apps/blog/gitlab", GITHUB) == (400, "invalid_request")


def test_an_app_that_is_not_there_cannot_be_connected(admin: Client) -> None:
    assert admin.code("POST", "/apps/nobody/github", GITHUB) == (404, "app_not_found")


def test_the_list_says_what_is_set_up_and_shows_no_secret(admin: Client, blog: str) -> None:
    secret = "5up3r-s3cret-of-gitlab"
    admin("POST", "/apps/blog/gitlab", {"owner": "anna", "repo": "blog", "secret": secret})
    answers = [
        admin("PUT", "/integrations/gitlab/secret", {"secret": secret}),
        admin("GET", "/integrations"),
        admin("GET", "/apps/blog/gitlab"),
        admin("GET", "/integrations/deliveries"),
    ]
    assert all(secret not in answer.get_data(as_text=True) for answer in answers)
    shown = answers[1].get_json()
    assert (shown["gitlab"]["secret_set"], shown["gitlab"]["connected_apps"]) == (True, 1)
    assert shown["github"]["secret_set"] is False
    assert answers[2].get_json()["own_secret"] is True


@pytest.mark.parametrize("secret", ["", "short", "x" * 256, None, 7, "not printable\x00 as it is"])
def test_a_wrong_secret_is_refused(admin: Client, secret: object) -> None:
    answer = admin("PUT", "/integrations/github/secret", {"secret": secret})
    assert [one["field"] for one in answer.get_json()["error"]["details"]] == ["secret"]
    assert admin("GET", "/integrations").get_json()["github"]["secret_set"] is False


def test_an_unknown_host_is_not_found(admin: Client) -> None:
    assert admin.code("PUT", "/integrations/svn/secret", {"secret": "x" * 20}) == (404, "unknown_provider")
    assert admin.code("DELETE", "/integrations/svn/secret") == (404, "unknown_provider")
