"""Results of fetch and build: written in the reach of a stranger's code, so every value is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustploy_agent import jobs
from rustploy_agent.errors import DeploymentFailed
from tests.unit.manager import COMMIT, DETECTION

ID = "0c7f4e0e-51ab-4b3b-8f6a-df5f4a8f2b75"
SLUG = "7e2d1a52-9a55-4d0c-8f0e-1d7a3c1b9e10"
JOB = {"deployment_id": ID, "slug_id": SLUG}
FETCHED = {
    "version": 1,
    "deployment_id": ID,
    "slug_id": SLUG,
    "ok": True,
    "commit": COMMIT,
    "known": False,
    "detection": DETECTION,
    "buildpack": "static",
    "manifest": None,
}
BUILT = {"version": 1, "deployment_id": ID, "slug_id": SLUG, "ok": True, "procfile": None, "release": "", "bytes": 1}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def read(directory: Path, value: object, step: str = "fetch") -> dict[str, object]:
    path = directory / f"{step}.json"
    path.write_text(json.dumps(value))
    return jobs.read(path, "blog", JOB, step)


def test_good_results_arrive(tmp_path: Path, accounts: None) -> None:
    assert read(tmp_path, FETCHED)["commit"] == COMMIT
    assert read(tmp_path, BUILT, "build") == {
        "procfile": None,
        "release": "",
        "bytes": 1,
        "needs_slugs": [],
        "runtimes": [],
    }


def test_a_refusal_keeps_its_code_and_whether_it_may_heal(tmp_path: Path, accounts: None) -> None:
    refusal = JOB | {"ok": False, "code": "host_unreachable", "message": "no route", "retryable": True}
    with pytest.raises(DeploymentFailed, match="no route") as caught:
        read(tmp_path, refusal)
    assert (caught.value.code, caught.value.retryable) == ("host_unreachable", True)


def test_no_build_has_itself_tried_again(tmp_path: Path, accounts: None) -> None:
    """It decides what its result says; each try holds one of few places for as long as a build may take."""
    refusal = JOB | {"ok": False, "code": "build_failed", "message": "once more", "retryable": True}
    with pytest.raises(DeploymentFailed) as caught:
        read(tmp_path, refusal, "build")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"deployment_id": "other"}, "another deployment"),
        ({"slug_id": ID}, "another deployment or attempt"),
        ({"commit": "main"}, "commit"),
        ({"commit": None}, "commit"),
        ({"buildpack": "../x"}, "buildpack"),
        ({"manifest": "x" * 200_000}, "manifest"),
        ({"manifest": "\ud800"}, "manifest"),
        ({"detection": []}, "detection"),
        ({"known": "yes"}, "known"),
    ],
)
def test_a_wrong_result_is_refused_by_field(
    tmp_path: Path, accounts: None, change: dict[str, object], says: str
) -> None:
    with pytest.raises(DeploymentFailed, match=says) as caught:
        read(tmp_path, FETCHED | change)
    assert caught.value.code == "fetch_failed"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from([*FETCHED, *BUILT, "code", "message", "retryable"]), values))
@pytest.mark.parametrize("step", ["fetch", "build"])
def test_nothing_but_a_failed_deployment_that_can_be_stored_comes_of_any_result(
    tmp_path: Path, accounts: None, step: str, change: dict[str, object]
) -> None:
    change.pop("deployment_id", None)
    try:
        found = read(tmp_path, {"fetch": FETCHED, "build": BUILT}[step] | change, step)
    except DeploymentFailed as failed:
        (failed.code + failed.message).encode("utf-8")
    else:
        json.dumps(found, ensure_ascii=False).encode("utf-8")


def test_a_link_in_place_of_a_result_reveals_nothing(tmp_path: Path, accounts: None) -> None:
    (tmp_path / "fetch.json").symlink_to("/etc/passwd")
    with pytest.raises(DeploymentFailed, match="cannot be opened") as caught:
        jobs.read(tmp_path / "fetch.json", "blog", JOB, "fetch")
    assert "root" not in caught.value.message
