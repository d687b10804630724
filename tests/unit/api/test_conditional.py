"""ETag and If-None-Match: a dashboard that asks every second is spared what it has, and never kept from what is new."""

from __future__ import annotations

import pytest

from tests.unit.api.conftest import Client


def headers(client: Client, known: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.token}", "If-None-Match": known}


@pytest.mark.parametrize("path", ["/apps", "/apps/blog", "/apps/blog/config", "/apps/blog/env"])
def test_what_has_not_changed_is_not_sent_again(admin: Client, blog: str, path: str) -> None:
    first = admin("GET", path)
    tag = first.headers["ETag"]
    assert tag.startswith('"') and first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = admin("GET", path, headers=headers(admin, known))
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Vary"] == "Authorization, Cookie"


def test_what_has_changed_is_sent(admin: Client, blog: str) -> None:
    tag = admin("GET", "/apps/blog").headers["ETag"]
    admin("PATCH", "/apps/blog", {"limits": {"tasks_max": 99}})
    again = admin("GET", "/apps/blog", headers=headers(admin, tag))
    assert again.status_code == 200 and again.headers["ETag"] != tag


def test_a_tag_opens_nothing(admin: Client, reader: Client, blog: str) -> None:
    """Who may not read is refused before anything is compared, and a masked answer is another one."""
    admin("PUT", "/apps/blog/env", {"key": "A", "value": "b"})
    tag = admin("GET", "/apps/blog/env").headers["ETag"]
    assert reader("GET", "/apps/blog/env", headers=headers(reader, tag)).status_code == 200
    assert admin.code("GET", "/apps/blog/env", headers={"If-None-Match": tag}) == (401, "unauthorized")


def test_errors_and_changes_have_no_tag(admin: Client, blog: str) -> None:
    assert "ETag" not in admin("GET", "/apps/nope").headers
    assert "ETag" not in admin("PUT", "/apps/blog/env", {"key": "A", "value": "b"}, headers=headers(admin, "*")).headers


def test_a_head_has_the_tag_of_the_get(admin: Client, blog: str) -> None:
    with admin.app.test_client() as client:
        asked = client.head("/api/v1/apps", headers={"Authorization": f"Bearer {admin.token}"})
    assert (asked.status_code, asked.data) == (200, b"")
    assert asked.headers["ETag"] == admin("GET", "/apps").headers["ETag"]


def test_a_health_check_is_never_answered_from_a_cache(admin: Client) -> None:
    answer = admin("GET", "/health")
    assert answer.headers["Cache-Control"] == "no-store" and "ETag" not in answer.headers
