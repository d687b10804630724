"""Many deployments at once, of one app and of many; and those that somebody takes back."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted, server
from tests.integration.helpers_prober import Prober
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
MENDED = {"build.sh": "true\n", "release.sh": "", "Procfile": "web: exec python3 app.py\nrelease: sh release.sh\n"}


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def slow(api: Deployments) -> str:
    """An app that serves "old" and whose next builds take as long as build.sh says."""
    api.create("slow", scripted("old") | MENDED, build_mode="script")
    api.healthy("slow")
    return "slow"


class Watch:
    """Samples the states of an app's deployments, to see whether two ever ran at once."""

    def __init__(self, api: Deployments, app: str) -> None:
        self._api, self._app, self._over = api, app, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.most_at_once = 0

    def _run(self) -> None:
        while not self._over.wait(0.05):
            running = [one for one in self._api.history(self._app) if one["status"] == "deploying"]
            self.most_at_once = max(self.most_at_once, len(running))

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)


def test_of_two_deployments_at_once_the_last_wins(api: Deployments, slow: str) -> None:
    """Else who pushes twice quickly may end up with the older of the two."""
    first_commit = api.commit(slow, {"build.sh": "sleep 1\n", "version.txt": "first"})
    first = api.start(slow, commit_sha=first_commit)
    api.wait_for_step(slow, first, "build")
    second = api.start(slow, commit_sha=api.commit(slow, {"version.txt": "second"}))
    with Watch(api, slow) as seen:
        assert [api.wait(slow, one)["status"] for one in (first, second)] == ["healthy", "healthy"]
    assert seen.most_at_once == 1
    api.wait_until_settled(slow)
    assert api.get(slow).body == "second"


def test_posts_at_the_same_moment_never_run_side_by_side(api: Deployments, slow: str) -> None:
    """Else two deployments of one app overwrite each other's slot."""
    with Watch(api, slow) as seen:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: api.start(slow, force_rebuild=True), range(8)))
        ended = [api.wait(slow, one) for one in made]
    assert seen.most_at_once == 1
    outcomes = {(one["status"], one["error_code"]) for one in ended}
    assert outcomes <= {("healthy", None), ("failed", "superseded")}
    newest = api.history(slow)[0]
    assert newest["status"] == "healthy"
    api.wait_until_settled(slow)
    assert api.app(slow)["active_deployment_id"] == newest["id"]


def test_a_deployment_that_waits_is_superseded_by_a_newer_one(api: Deployments, slow: str) -> None:
    """Else ten quick pushes are built one after the other, and the one that counts comes last."""
    api.commit(slow, {"build.sh": "sleep 2\n", "version.txt": "third"})
    running = api.start(slow, force_rebuild=True)
    api.wait_for_step(slow, running, "build")
    waiting, newest = api.start(slow), api.start(slow, force_rebuild=True)
    about = api.show(slow, waiting)
    assert (about["status"], about["error_code"]) == ("failed", "superseded")
    assert newest in about["last_error"]
    assert api.wait(slow, running)["status"] == "healthy"
    assert api.wait(slow, newest)["status"] == "healthy"


@contextlib.contextmanager
def _git_server(machine: Machine) -> Iterator[None]:
    """The repositories over HTTP, as long as the block lasts."""
    serve = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", machine.repositories.root]
    machine.run(["systemd-run", "--quiet", "--collect", "--unit=git-server", *serve, str(_git_port(machine))])
    machine.wait_for(lambda: _is_open(_git_port(machine)), 10, "the git server to listen")
    try:
        yield
    finally:
        machine.run(["systemctl", "stop", "git-server.service"])


def _git_port(machine: Machine) -> int:
    return machine.place.port + 6


def _is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def over_http(api: Deployments) -> str:
    """An app whose repository lies on a host that can go away."""
    machine = api.machine
    machine.run(["rm", "-rf", machine.repositories.path("distant")])
    machine.repositories.create("distant", server("old"))
    machine.repositories.git("distant", "update-server-info")
    with _git_server(machine):
        api.import_app("distant", f"http://127.0.0.1:{_git_port(machine)}/distant/.git")
        api.healthy("distant")
    return "distant"


def _push(api: Deployments, app: str, version: str) -> str:
    commit = api.commit(app, {"version.txt": version})
    api.machine.repositories.git(app, "update-server-info")
    return commit


def test_a_host_that_was_away_for_a_moment_costs_only_time(api: Deployments, over_http: str) -> None:
    """Else every hiccup of the network needs a person who presses the button again."""
    _push(api, over_http, "after the hiccup")
    deployment = api.start(over_http)
    api.machine.wait_for(lambda: api.show(over_http, deployment)["status"] == "retrying", 20, "a first try to fail")
    about = api.show(over_http, deployment)
    assert (about["error_code"], about["attempt"]) == ("host_unreachable", 1)
    assert f"127.0.0.1:{_git_port(api.machine)}" in about["last_error"]
    assert api.get(over_http).body == "old"
    with _git_server(api.machine):
        about = api.wait(over_http, deployment)
    assert (about["status"], about["last_error"]) == ("healthy", None)
    api.wait_until_settled(over_http)
    assert api.get(over_http).body == "after the hiccup"


def test_an_older_deployment_that_waits_for_its_next_try_gives_way_to_a_newer(api: Deployments, over_http: str) -> None:
    """Else a host that was away for a moment brings yesterday's code back."""
    older = api.start(over_http, commit_sha=_push(api, over_http, "older"))
    api.machine.wait_for(lambda: api.show(over_http, older)["status"] == "retrying", 20, "a first try to fail")
    with _git_server(api.machine):
        newer = api.healthy(over_http, commit_sha=_push(api, over_http, "newer"))
    about = api.show(over_http, older)
    assert (about["status"], about["error_code"]) == ("failed", "superseded")
    assert newer["id"] in about["last_error"]
    assert api.get(over_http).body == "newer"


def test_twenty_apps_at_once_all_get_healthy(api: Deployments) -> None:
    """Else one push to a mono-repository, or the morning after a host's outage, needs an operator."""
    names = [f"many-{number}" for number in range(20)]
    url = api.machine.repositories.create("many", {"index.html": "many"})
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: api.import_app(name, url), names))
        made = dict(zip(names, pool.map(api.start, names), strict=True))
        ended = list(pool.map(lambda name: api.wait(name, made[name], 120), names))
    assert [one for one in ended if one["status"] != "healthy"] == []
    assert {api.get(name).body for name in names} == {"many"}
    assert len({api.port(name) for name in names}) == 20


def test_the_queue_and_its_order_survive_a_killed_agent(api: Deployments) -> None:
    """Else what was accepted is lost, or the last to come is served first."""
    names = [f"queue-{number}" for number in range(4)]
    for name in names:
        api.create(name, scripted(name, "sleep 1"), build_mode="script")
    before = helpers.replace_settings(api.machine, helpers.quick_settings(api.machine, deployments={"concurrency": 1}))
    try:
        made = {name: api.start(name) for name in names}
        api.wait_for_step(names[0], made[names[0]], "build")
        api.machine.run(["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "rustploy-agent.service"])
        api.machine.wait_for(lambda: _answers(api), 30, "the agent to be back")
        ended = [api.wait(name, made[name]) for name in names]
    finally:
        helpers.restore_settings(api.machine, before)
    assert [one["status"] for one in ended] == ["healthy"] * 4
    times = [one["finished_at_unix_ms"] for one in ended]
    assert times == sorted(times)


def test_a_rollback_does_not_wait_for_other_apps_builds(api: Deployments) -> None:
    """Somebody's visitors get errors until it is done, and a build may take its whole deadline."""
    api.create("backwards", {"index.html": "good"})
    api.healthy("backwards")
    api.commit("backwards", {"index.html": "bad"})
    api.healthy("backwards")
    slow = {name: "" for name in ("busy-1", "busy-2")}
    for name in slow:
        api.create(name, scripted(name, "sleep 300"), build_mode="script")
        slow[name] = api.start(name)
        api.wait_for_step(name, slow[name], "build")
    api.healthy("backwards", "rollback")
    assert api.get("backwards").body == "good"
    assert {api.show(name, deployment)["step"] for name, deployment in slow.items()} == {"build"}
    for name, deployment in slow.items():
        _cancel(api, name, deployment)


def _answers(api: Deployments) -> bool:
    try:
        return api.machine.http("GET", "/api/v1/health").status == 200
    except OSError:
        return False


HANGS: dict[str, dict[str, str | None]] = {
    "build": {"build.sh": "echo building; sleep 300\n"},
    "release": {"release.sh": "sleep 300\n"},
    "health": {"Procfile": "web: exec sleep 300\n"},
}


@pytest.mark.parametrize("step", HANGS)
def test_a_deployment_is_cancelled_in_a_long_step(api: Deployments, slow: str, step: str) -> None:
    """Else a hanging build blocks its app until the deadline, and nobody can do anything about it."""
    old = api.get(slow).body
    api.commit(slow, HANGS[step])
    slugs, slots = set(api.slugs(slow)), api.slot_files(slow)
    with Prober(api.port(slow)) as seen:
        deployment = api.start(slow)
        api.wait_for_step(slow, deployment, step)
        about = _cancel(api, slow, deployment)
    api.commit(slow, MENDED)
    assert (about["status"], about["error_code"]) == ("failed", "cancelled")
    assert (seen.failures, seen.bodies) == ([], [old])
    assert api.running(slow) == [api.app(slow)["processes"][0]["unit"]]
    assert set(api.slugs(slow)) <= slugs
    assert api.slot_files(slow) == slots


def test_a_fetch_that_hangs_is_cancelled(api: Deployments) -> None:
    """Else a host that does not answer holds the app for two minutes."""
    api.create("hanging", server("old"))
    head = api.machine.repositories.path("hanging") + "/.git/HEAD"
    api.machine.run(["mv", head, head + ".away"])
    api.machine.run(["mkfifo", "--mode=644", head])  # git waits in it for somebody who writes
    deployment = api.start("hanging")
    api.wait_for_step("hanging", deployment, "fetch")
    api.machine.wait_for(lambda: api.running("hanging"), 10, "the fetch to run")
    about = _cancel(api, "hanging", deployment)
    assert (about["status"], about["error_code"]) == ("failed", "cancelled")
    assert (api.running("hanging"), api.slugs("hanging")) == ([], [])
    api.machine.run(["mv", head + ".away", head])
    api.healthy("hanging")


def _cancel(api: Deployments, app: str, deployment: str) -> dict[str, Any]:
    asked = time.monotonic()
    answer = api.post(app, f"deployments/{deployment}/cancel")
    assert answer.status == 202, answer.body
    about = api.wait(app, deployment)
    assert time.monotonic() - asked < 15
    return about


def test_a_deployment_is_cancelled_while_it_waits(api: Deployments, slow: str) -> None:
    """Else a mistake has to be deployed before it can be taken back."""
    api.commit(slow, {"build.sh": "sleep 2\n"})
    running = api.start(slow, force_rebuild=True)
    api.wait_for_step(slow, running, "build")
    waiting = api.start(slow)
    answer = api.post(slow, f"deployments/{waiting}/cancel")
    assert (answer.status, answer.body["status"], answer.body["error_code"]) == (202, "failed", "cancelled")
    assert api.wait(slow, running)["status"] == "healthy"
    assert api.show(slow, waiting)["attempt"] == 0
    api.commit(slow, {"build.sh": "true\n"})


def test_what_has_ended_cannot_be_cancelled(api: Deployments, slow: str) -> None:
    """Else the answer to a cancel says nothing about what serves."""
    about = api.healthy(slow)
    answer = api.post(slow, f"deployments/{about['id']}/cancel")
    assert (answer.status, answer.body["error"]["code"]) == (409, "not_cancellable")
    assert "healthy" in answer.body["error"]["message"]


def test_a_deployment_under_way_is_cancelled_by_delete(api: Deployments) -> None:
    """Else an app with a hanging build cannot be deleted."""
    api.create("doomed", scripted("x", "sleep 300"), build_mode="script")
    deployment = api.start("doomed")
    api.wait_for_step("doomed", deployment, "build")
    api.delete("doomed")
    assert api.running("doomed") == []
    assert not api.machine.exists("/var/lib/rustploy/apps/doomed")
