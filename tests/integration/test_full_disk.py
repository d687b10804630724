"""A disk that is full, and files that are not what they should be: refused or mended, never taken for good."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted, server
from tests.integration.helpers_prober import Prober
from tests.machine import Machine

STATE = "/var/lib/rustploy"


@pytest.fixture(scope="module")
def api(release: str, deb: Path) -> Iterator[Deployments]:
    """A machine of their own, whose state lies on a disk of 192 MiB."""
    for machine in helpers.own_machine(release, deb):
        machine.run(["systemctl", "stop", "rustploy-agent.service"])
        machine.run(["mount", "-t", "tmpfs", "-o", "size=192m,mode=755", "tmpfs", STATE])
        machine.run(["systemd-tmpfiles", "--create", "rustploy-agent.conf"])
        machine.run(["rustploy-agent", "key", "init"])
        helpers.restore_settings(machine, helpers.quick_settings(machine, disk={"min_free_mib": 0}))
        machine.run(["rustploy-agent", "admin", "init"])
        created = machine.run(["rustploy-agent", "token", "create", "--name", "tests", "--scope", "admin"])
        machine.token = created.stdout.splitlines()[-1]
        helpers.install_script_buildpack(machine)
        found = Deployments(machine)
        found.create("small", scripted("old"), build_mode="script")
        found.healthy("small")
        yield found


def _free_mib(machine: Machine) -> int:
    return int(machine.run(["df", "--block-size=1M", "--output=avail", STATE]).stdout.split()[1])


def test_a_build_that_fills_the_disk_fails_alone(api: Deployments) -> None:
    """Else one app's build takes the whole platform down, and it stays down until somebody logs in."""
    before = _free_mib(api.machine)
    fill = "head -c 400M /dev/zero >filling\n"
    api.commit("small", {"build.sh": fill, "version.txt": "new"})
    with Prober(api.port("small")) as seen:
        about = api.failed("small")
    assert about["error_code"] == "disk_full", about
    assert "disk is full" in about["last_error"]
    assert (seen.failures, seen.bodies) == ([], ["old"])
    api.machine.wait_for(lambda: _free_mib(api.machine) >= before - 2, 20, "the build's files to be removed")
    api.commit("small", {"build.sh": "true\n"})
    api.healthy("small")
    assert api.get("small").body == "new"


def test_a_disk_filled_by_an_app_keeps_nobody_from_looking_and_deleting(api: Deployments) -> None:
    """Else the way out of a full disk needs a free disk."""
    machine = api.machine
    api.create("greedy", server("greedy"))
    api.healthy("greedy")
    data = f"{STATE}/apps/greedy/data/filling"
    machine.run(["sh", "-c", f"cat /dev/zero >{data}"], check=False)
    assert _free_mib(machine) == 0
    try:
        assert machine.http("GET", "/api/v1/apps").status == 200
        assert api.get("small").body == "new"
        answer = api.post("small")
        assert answer.status in (202, 503), answer.body
        if answer.status == 202:
            about = api.wait("small", answer.body["deployment_id"])
            assert about["status"] in ("healthy", "failed")
        assert api.get("small").body == "new"
        assert machine.http("GET", "/api/v1/apps/greedy").status == 200
        deleted = machine.http("DELETE", "/api/v1/apps/greedy", timeout=60)
        assert deleted.status == 204, deleted.body
    finally:
        machine.run(["rm", "-f", data])
    api.healthy("small")


def test_deployments_are_refused_below_the_floor_of_free_space(api: Deployments) -> None:
    """Else they are accepted, and fill what the running apps need."""
    settings = helpers.quick_settings(api.machine, disk={"min_free_mib": 4096})
    before = helpers.replace_settings(api.machine, settings)
    try:
        answer = api.post("small")
        assert (answer.status, answer.body["error"]["code"]) == (503, "disk_full")
        assert "min_free_mib" in answer.body["error"]["message"]
        assert "4096 MiB" in answer.body["error"]["message"]
        assert api.get("small").body == "new"
    finally:
        helpers.restore_settings(api.machine, before)
    api.healthy("small")


HALF = {"half": '{"version": 1, "apps": [{"na', "zeros": "\0" * 4096}


@pytest.mark.parametrize("name", ["agent/desired.json", "apply/result.json"])
@pytest.mark.parametrize("what", HALF)
def test_a_half_written_file_is_written_again(api: Deployments, name: str, what: str) -> None:
    """Else a power cut at the wrong moment needs somebody who knows which file to delete."""
    content = HALF[what]
    owner = api.machine.run(["stat", "--format=%U:%G", f"{STATE}/{name}"]).stdout.strip()
    api.machine.write(f"{STATE}/{name}", content, 0o640, owner)
    api.machine.run(["systemctl", "restart", "rustploy-agent.service"])
    api.machine.wait_for_agent()
    api.healthy("small", force_rebuild=True)
    assert api.get("small").body == "new"
    assert json.loads(api.machine.read(f"{STATE}/{name}"))


#: What a build may leave in place of its result: it goes on in the background and waits until the real one is there.
PLANTS = {
    "symlink": 'ln -s /etc/shadow "$1.new"; mv -T "$1.new" "$1"',
    "pipe": 'mkfifo "$1.new"; mv -T "$1.new" "$1"',
    "huge": 'head -c 3M /dev/zero | tr "\\0" 1 >"$1.new"; mv "$1.new" "$1"',
    "half": 'head -c 20 "$1" >"$1.new"; mv "$1.new" "$1"',
    "deep": 'head -c 900000 /dev/zero | tr "\\0" "[" >"$1.new"; mv "$1.new" "$1"',
    "another's": 'sed "s/_id\\": \\"[0-9a-f]*/_id\\": \\"00000000/" "$1" >"$1.new"; mv "$1.new" "$1"',
    "wrong type": 'sed "s/\\"procfile\\": [^,]*/\\"procfile\\": 7/" "$1" >"$1.new"; mv "$1.new" "$1"',
    "gone": 'rm "$1"',
    "directory": 'rm "$1"; mkdir "$1"; touch "$1/file"',
}
PLANTER = """
trap '' TERM HUP
result={state}/apps/hostile/results/build.json
rm -rf "$result"
while [ ! -e "$result" ]; do sleep 0.01; done
set -- "$result"
{plant}
"""


@pytest.fixture(scope="module")
def hostile(api: Deployments) -> str:
    api.create("hostile", scripted("good"), build_mode="script")
    api.healthy("hostile")
    return "hostile"


@pytest.mark.parametrize("plant", PLANTS)
def test_a_result_that_a_build_has_tampered_with_is_refused(api: Deployments, hostile: str, plant: str) -> None:
    """Else a dependency with a malicious install script decides what the agent reads, or makes it hang."""
    planter = PLANTER.format(state=STATE, plant=PLANTS[plant])
    build = "setsid sh planter.sh >/dev/null 2>&1 </dev/null &\nsleep 0.2\n"
    api.commit(hostile, {"build.sh": build, "planter.sh": planter})
    with Prober(api.port(hostile)) as seen:
        about = api.failed(hostile)
    assert about["error_code"] == "build_failed", about
    assert "build.json" in about["last_error"] or "result" in about["last_error"], about
    assert "root:" not in about["last_error"]
    assert (seen.failures, seen.bodies) == ([], ["good"])


def test_an_app_that_has_tampered_with_results_can_be_put_right(api: Deployments, hostile: str) -> None:
    """Else a bad dependency, once built, makes an app that must be deleted with its data."""
    api.commit(hostile, {"build.sh": "true\n", "version.txt": "mended"})
    api.healthy(hostile)
    assert api.get(hostile).body == "mended"
