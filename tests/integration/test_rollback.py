"""Going back: to a kept release, as it was, at once."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted, server
from tests.integration.helpers_prober import Prober
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def test_a_rollback_brings_back_the_release_with_its_environment_and_builds_nothing(api: Deployments) -> None:
    """Else the way back is as slow and as risky as the way that led to the trouble."""
    api.create("back", scripted("one"), build_mode="script")
    api.set_env("back", "MODE", "of one")
    first = api.healthy("back")
    api.set_env("back", "MODE", "of two")
    api.commit("back", {"version.txt": "two"})
    api.healthy("back")
    builds = api.builds("back")
    api.set_env("back", "MODE", "of tomorrow")
    with Prober(*api.ports("back")) as seen:
        about = api.healthy("back", "rollback")
    assert (seen.failures, seen.bodies) == ([], ["two", "one"])
    assert api.builds("back") == builds
    assert (about["kind"], about["commit_sha"]) == ("rollback", first["commit_sha"])
    assert api.environment("back")["MODE"] == "of one"
    assert api.environment("back")["RUSTPLOY_COMMIT"] == first["commit_sha"]


def test_a_rollback_goes_to_the_deployment_that_was_named(api: Deployments) -> None:
    """Else who needs the release before last has to go back twice, through a broken one."""
    api.create("named", server("one"))
    first = api.healthy("named")
    for version in ("two", "three"):
        api.commit("named", {"version.txt": version})
        last = api.healthy("named")
    api.healthy("named", "rollback", deployment_id=first["id"])
    assert api.get("named").body == "one"
    api.healthy("named", "rollback", deployment_id=last["id"])
    assert api.get("named").body == "three"
    api.healthy("named", "rollback")
    assert api.get("named").body == "two", "without a name it is the newest healthy release before the current one"


def test_a_rollback_skips_releases_that_never_were_healthy(api: Deployments) -> None:
    """Else the way back leads into the next failure."""
    api.create("skipping", server("one"))
    api.healthy("skipping")
    api.commit("skipping", {"Procfile": "web: exit 1\n"})
    broken = api.failed("skipping")
    api.commit("skipping", {"Procfile": "web: exec python3 app.py\n", "version.txt": "two"})
    api.healthy("skipping")
    refused = api.post("skipping", "rollback", deployment_id=broken["id"])
    assert (refused.status, refused.body["error"]["code"]) == (409, "no_rollback_target")
    api.healthy("skipping", "rollback")
    assert api.get("skipping").body == "one"


def test_nothing_to_go_back_to_is_said_at_once(api: Deployments) -> None:
    """Else a rollback is accepted that can only fail, while the site is down."""
    api.create("lonely", server("one"))
    before = api.post("lonely", "rollback")
    assert (before.status, before.body["error"]["code"]) == (404, "no_rollback_target")
    api.healthy("lonely")
    only = api.post("lonely", "rollback")
    assert (only.status, only.body["error"]["code"]) == (409, "no_rollback_target")
    unknown = api.post("lonely", "rollback", deployment_id="00000000-0000-4000-8000-000000000000")
    assert (unknown.status, unknown.body["error"]["code"]) == (404, "deployment_not_found")
    assert api.get("lonely").body == "one"


def test_a_rollback_that_does_not_get_healthy_changes_nothing(api: Deployments) -> None:
    """Else going back to a release whose database has moved on takes down what still works."""
    needs = "web: test -e $RUSTPLOY_DATA_DIR/old && exec python3 app.py\n"
    api.create("stuck", server("one") | {"Procfile": needs})
    data = "/var/lib/rustploy/apps/stuck/data/old"
    api.machine.write(data, "", 0o644, "rp-stuck:rp-stuck")
    api.healthy("stuck")
    api.commit("stuck", {"version.txt": "two", "Procfile": "web: exec python3 app.py\n"})
    api.healthy("stuck")
    api.machine.run(["rm", data])
    with Prober(api.port("stuck")) as seen:
        about = api.failed("stuck", "rollback")
    assert about["error_code"] == "exited"
    assert (seen.failures, seen.bodies) == ([], ["two"])
    assert api.running("stuck") == [api.app("stuck")["processes"][0]["unit"]]


def test_only_as_many_releases_are_kept_as_the_settings_say(api: Deployments) -> None:
    """Else every deployment takes disk for ever; or the release that rollback offers is already gone."""
    api.create("pruned", server("0"))
    made = []
    for version in range(5):
        api.commit("pruned", {"version.txt": str(version)})
        made.append(api.healthy("pruned"))
    api.machine.wait_for(lambda: len(api.slugs("pruned")) == 3, 10, "three slugs to be kept (releases.keep)")
    gone = api.post("pruned", "rollback", deployment_id=made[1]["id"])
    assert (gone.status, gone.body["error"]["code"]) == (409, "no_rollback_target")
    api.healthy("pruned", "rollback", deployment_id=made[2]["id"])
    assert api.get("pruned").body == "2"
