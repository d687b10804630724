"""Jobs from the agent and files from a checkout: what is not as it should be is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from rustploy_agent.builder import job
from rustploy_agent.builder.places import Places

HEAD = {
    "version": 1,
    "app": "blog",
    "deployment_id": "00000000-0000-4000-8000-000000000001",
    "slug_id": "00000000-0000-4000-8000-000000000002",
}
FETCH = {
    "url": "https://h/x",
    "ref": None,
    "commit": None,
    "schemes": ["https"],
    "file_root": None,
    "max_bytes": 1,
    "timeout_seconds": 1,
    "known_commits": [],
    "build_mode": "auto",
    "inspect_only": False,
}


def parsed(**changes: Any) -> tuple[job.Job, dict[str, Any]]:
    return job.parse(json.dumps(HEAD | changes).encode(), "blog")


def test_a_job_is_read() -> None:
    head, message = parsed(fetch=FETCH, build={"buildpack": "node", "timeout_seconds": 5})
    assert head.slug_id == HEAD["slug_id"]
    assert job.fetch_of(message).build_mode == "auto"
    assert job.build_of(message) == job.Build("node", "", 5, (), False, {}, ())


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"app": "other"}, {"slug_id": "../../x"}, {"slug_id": None}, {"deployment_id": "X"}],
)
def test_a_job_for_somebody_else_or_with_a_path_in_it_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        parsed(**changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", ""),
        ("url", 7),
        ("ref", "a\0b"),
        ("commit", "main"),
        ("schemes", "https"),
        ("max_bytes", True),
        ("max_bytes", 0),
        ("timeout_seconds", "9"),
        ("known_commits", [1]),
        ("build_mode", "../x"),
        ("inspect_only", "no"),
    ],
)
def test_a_wrong_field_of_a_fetch_is_named(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        job.fetch_of({"fetch": FETCH | {key: value}})


@pytest.mark.parametrize("name", ["../../etc", "a--b", "A", "", "a/b", "-x", "a" * 30, "a\n"])
def test_an_app_name_never_becomes_another_path(name: str) -> None:
    with pytest.raises(SystemExit):
        Places.of(name)


def test_files_of_a_checkout_are_read_only_if_they_are_files(tmp_path: Path) -> None:
    """A committed link to another file is a link, not that file."""
    (tmp_path / "plain").write_text("text")
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "directory").mkdir()
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff")
    assert job.read_optional(str(tmp_path / "plain")) == "text"
    assert job.read_optional(str(tmp_path / "missing")) is None
    for name in ("link", "directory", "large", "binary"):
        with pytest.raises(ValueError, match=name):
            job.read_optional(str(tmp_path / name))


def test_a_result_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "fetch.json"
    for number in range(2):
        job.write_atomically(str(path), {"number": number})
    assert json.loads(path.read_text()) == {"number": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["fetch.json"]
    assert path.stat().st_mode & 0o777 == 0o640
