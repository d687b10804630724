"""A deployment from its source to the answer at the app's address, and every way in which it can fail."""

import re
from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted, server
from tests.integration.helpers_prober import Prober
from tests.machine import Machine
from tests.machine.machine import BASE_DOMAIN

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def serving(api: Deployments) -> str:
    """An app whose first release serves; the tests that break it put it right again."""
    api.create("serving", scripted("one"), build_mode="script")
    api.healthy("serving")
    return "serving"


def test_a_new_commit_replaces_the_old_release_without_a_lost_request(api: Deployments) -> None:
    """Else every deployment is an outage."""
    api.create("redeployed", server("one"))
    first = api.healthy("redeployed")
    assert api.get("redeployed").body == "one"
    commit = api.commit("redeployed", {"version.txt": "two"})
    with Prober(*api.ports("redeployed")) as seen:
        second = api.healthy("redeployed")
    assert (seen.failures, seen.bodies) == ([], ["one", "two"])
    assert second["commit_sha"] == commit
    assert api.get("redeployed").body == "two"
    app = api.app("redeployed")
    assert app["active_deployment_id"] == second["id"]
    assert [one["id"] for one in api.history("redeployed")] == [second["id"], first["id"]]


def test_requests_under_way_end_before_the_old_release_stops(api: Deployments) -> None:
    """Else a deployment cuts off whoever is just downloading or paying."""
    api.create("draining", server("one"))
    api.healthy("draining")
    api.commit("draining", {"version.txt": "two"})
    old = api.port("draining")
    slow = api.machine.run  # a request from inside the machine, so that it does not share the test's process
    deployment = api.start("draining")
    answer = slow(["curl", "--silent", "--fail", "--max-time", "20", f"http://127.0.0.1:{old}/slow/2"])
    assert answer.stdout == "one"
    assert api.wait("draining", deployment)["status"] == "healthy"


@pytest.mark.parametrize("which", ["branch", "tag", "commit", "commit as source_ref"])
def test_what_was_asked_for_is_what_is_deployed(api: Deployments, which: str) -> None:
    """Else CI believes to have deployed one thing and another one serves."""
    app = f"asked-{which.replace(' ', '-').replace('_', '-')}"
    api.create(app, server("main"))
    git = api.machine.repositories.git
    git(app, "checkout", "--quiet", "-b", "side/branch")
    wanted = api.commit(app, {"version.txt": "side"})
    git(app, "tag", "-a", "v1.0", "-m", "a tag")
    git(app, "checkout", "--quiet", "main")
    api.commit(app, {"version.txt": "newer main"})
    body = {
        "branch": {"source_ref": "side/branch"},
        "tag": {"source_ref": "v1.0"},
        "commit": {"commit_sha": wanted},
        "commit as source_ref": {"source_ref": wanted},
    }[which]
    assert api.healthy(app, **body)["commit_sha"] == wanted
    assert api.get(app).body == "side"


def test_the_health_check_is_that_of_the_import_and_the_log_says_what_it_saw(api: Deployments) -> None:
    """Else a page that is right to answer 503, as during a migration, can never be deployed."""
    runtime = {"healthcheck_path": "/up", "healthcheck_status": 503, "healthcheck_interval_seconds": 1}
    api.create("checked", server("one", status_txt="503"), runtime=runtime)
    about = api.healthy("checked")
    seen = rf"http://127.0.0.1:{api.port('checked')}/up answered status 503 after [0-9.]+ s"
    assert re.search(seen, api.logs("checked", about["id"]))


def test_an_app_that_strangers_can_reach_without_the_ingress_is_warned_of(api: Deployments) -> None:
    """Else nobody learns that its limits and TLS can be gone round."""
    everywhere = "exec python3 -m http.server $PORT --bind"
    api.create("open", server("one", web=f"{everywhere} 0.0.0.0"))
    exposed = api.healthy("open")["id"]
    assert f"listens on port {api.port('open')} of every address of this host" in api.logs("open", exposed)
    api.commit("open", {"Procfile": f"web: {everywhere} 127.0.0.1\n"})
    assert "of every address" not in api.logs("open", api.healthy("open")["id"])


def test_the_same_commit_is_built_once_unless_a_rebuild_is_forced(api: Deployments) -> None:
    """Else a new environment variable costs a whole build, or a stale build cannot be got rid of."""
    before = api.builds("rebuilt")
    api.create("rebuilt", scripted("one", "date +%s%N >version.txt"), build_mode="script")
    api.healthy("rebuilt")
    built = api.get("rebuilt").body
    api.set_env("rebuilt", "ADDED", "later")
    api.healthy("rebuilt")
    assert (api.get("rebuilt").body, api.builds("rebuilt") - before) == (built, 1)
    assert api.environment("rebuilt")["ADDED"] == "later"
    api.healthy("rebuilt", force_rebuild=True)
    assert api.get("rebuilt").body != built
    assert api.builds("rebuilt") - before == 2


BROKEN = {
    "build error": (
        {"build.sh": "echo the semicolon is missing >&2; exit 3\n"},
        "build_failed",
        ["ended with 3", "the semicolon is missing"],
    ),
    "build killed": ({"build.sh": "kill -9 $$\n"}, "build_failed", ["signal 9"]),
    "exits at once": (
        {"Procfile": "web: echo no such database; exit 7\n"},
        "exited",
        ["rustploy-app@serving-web-", "status 7", "no such database"],
    ),
    "exits with success": ({"Procfile": "web: true\n"}, "exited", ["rustploy-app@serving-web-", "status 0"]),
    "no such program": ({"Procfile": "web: exec gunicornn\n"}, "exited", ["status 127", "gunicornn"]),
    "never answers": (
        {"Procfile": "web: exec sleep 300\n"},
        "unhealthy",
        ["GET http://127.0.0.1:", "within 3 s", "nothing listened"],
    ),
    "accepts but says nothing": (
        {"app.py": helpers.SERVER.replace("def do_GET(self):", "def do_GET(self):\n        time.sleep(300)")},
        "unhealthy",
        ["GET http://127.0.0.1:", "no answer"],
    ),
    "another status than its repository asks for": (
        {"rustploy.yaml": "version: 1\napp: {healthcheck_status: 204, healthcheck_timeout_seconds: 1}\n"},
        "unhealthy",
        ["GET http://127.0.0.1:", "within 1 s", "status 200, not 204; its last lines:\nversion", "listens on"],
    ),
    "answers 500": ({"status.txt": "500"}, "unhealthy", ["GET http://127.0.0.1:", "status 500"]),
    "listens on another port": (
        {"Procfile": "web: exec python3 app.py SPARE_PORT\n"},
        "unhealthy",
        ["GET http://127.0.0.1:", "nothing listened", "listens on"],
    ),
    "broken manifest": (
        {"rustploy.yaml": "version: 1\nbuild: {mode: 7}\nap: {}\n"},
        "invalid_manifest",
        ["build.mode", "ap"],
    ),
    "manifest that is no YAML": ({"rustploy.yaml": "version: [1\n"}, "invalid_manifest", ["rustploy.yaml", "YAML"]),
    "broken Procfile": ({"Procfile": "web python3\n"}, "invalid_manifest", ["Procfile:1", "<command>"]),
    "Procfile without a process": ({"Procfile": "release: true\n"}, "no_process", ["Procfile", "web"]),
    "release phase fails": (
        {"Procfile": "web: exec python3 app.py\nrelease: echo column exists; exit 5\n"},
        "release_failed",
        ["status 5", "\ncolumn exists"],
    ),
    "worker exits": (
        {"Procfile": "web: exec python3 app.py\nworker: echo no queue; exit 4\n"},
        "exited",
        ["rustploy-app@serving-worker-", "status 4", "no queue"],
    ),
}


def test_an_app_that_refuses_its_public_name_is_not_healthy(api: Deployments) -> None:
    """It was called healthy and answered 400 to every visitor, as Django does without the name in ALLOWED_HOSTS."""
    refusing = (
        "import sys\nfrom http.server import BaseHTTPRequestHandler as B, HTTPServer\nimport os\n\n\nclass H(B):\n"
    )
    refusing += "    def do_GET(self):\n        named = self.headers['Host'].split(':')[0] in ALLOWED\n"
    refusing += "        self.send_response(200 if named else 400)\n        self.end_headers()\n"
    refusing += "        self.wfile.write(os.environ.get('RUSTPLOY_URL', '').encode())\n\n\n"
    serve = "HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n"
    files = {"Procfile": "web: python3 app.py\n", "build.sh": "true\n"}
    strict = refusing + "ALLOWED = {'127.0.0.1', 'localhost'}\n" + serve
    api.create("strict", files | {"app.py": strict}, build_mode="script")
    failed = api.wait("strict", api.start("strict"))
    assert failed["error_code"] == "unhealthy"
    assert "status 400; without that name it answers status 200" in failed["last_error"]
    api.commit("strict", {"app.py": refusing + "ALLOWED = os.environ['RUSTPLOY_HOSTS'].split(',')\n" + serve})
    api.healthy("strict")
    host = f"strict.{BASE_DOMAIN}"
    answer = api.machine.http(
        "GET", "/", port=api.machine.place.http_port, headers={"Host": host}, token="", checked=False
    )
    assert (answer.status, answer.body) == (200, f"http://{host}:{api.machine.place.http_port}")


def test_what_an_app_writes_below_its_directory_goes_with_it_and_its_data_stays(api: Deployments) -> None:
    """An app that cannot write does not start; one whose database lies in its directory must be told."""
    write = (
        'set -e; echo $(cat seen "$RUSTPLOY_DATA_DIR/seen" 2>/dev/null) one | tee -a seen >>"$RUSTPLOY_DATA_DIR/seen"; '
    )
    serve = "cat seen >version.txt; exec python3 app.py"
    api.create("writing", server("x") | {"Procfile": f"web: {write}{serve}\n"})
    first = api.healthy("writing")
    assert api.get("writing").body == "one\n"
    assert "in a copy of its release" in api.logs("writing", first["id"])
    assert api.post("writing", "restart").status == 200
    assert api.get("writing").body == "one one\n", "only the line of the data directory was left"
    api.commit("writing", {"rustploy.yaml": "version: 1\napp: {filesystem: read-only}\n"})
    failed = api.wait("writing", api.start("writing"))
    assert failed["error_code"] in ("exited", "unhealthy")
    assert "app.filesystem: ephemeral" in failed["last_error"]


def test_one_directory_of_a_repository_is_built_and_runs(api: Deployments) -> None:
    """A repository with a server and a client deploys twice, and each app is what its directory has."""
    files = {f"server/{name}": text for name, text in scripted("the server").items()}
    files |= {f"client/{name}": text for name, text in scripted("the client").items()}
    files |= {"server/build.sh": "cat ../shared/name >>version.txt; pwd\n", "shared/name": ", shared"}
    api.create("rooted", files, build_mode="script", build={"root": "server"})
    first = api.healthy("rooted")
    assert api.get("rooted").body == "the server, shared"
    api.machine.http("PATCH", "/api/v1/apps/rooted", {"build": {"root": "client"}})
    second = api.healthy("rooted")
    assert api.get("rooted").body == "the client", "a slug of another directory must not be used again"
    assert first["commit_sha"] == second["commit_sha"]
    failed = api.post("rooted", "rollback")
    assert api.wait("rooted", failed.body["deployment_id"])["status"] == "healthy"
    assert api.get("rooted").body == "the server, shared"


def test_builds_see_the_variables_that_are_for_them(api: Deployments) -> None:
    """A front end is built with its public variables, and a changed one reaches visitors without a new commit."""
    build = (
        'printf "%s" "$VITE_COLOUR ${PASSWORD-unseen}" >version.txt; echo "with $BUILD_TOKEN"; test -z "${BROKEN-}"\n'
    )
    api.create("colours", scripted("x") | {"build.sh": build}, build_mode="script")
    path = "/api/v1/apps/colours/env"
    api.machine.http("PATCH", path, {"VITE_COLOUR": "blue", "PASSWORD": "hunter2hunter2"})
    api.machine.http("PUT", path, {"key": "BUILD_TOKEN", "value": "token-of-the-build", "build": True})
    first = api.healthy("colours")
    assert api.get("colours").body == "blue unseen"
    assert "with ********" in api.logs("colours", first["id"])
    api.machine.http("PUT", path, {"key": "VITE_COLOUR", "value": "green"})
    assert api.healthy("colours")["outcome"] == "released"
    assert api.get("colours").body == "green unseen"
    assert api.healthy("colours")["outcome"] == "unchanged"


def test_a_build_that_lacks_a_variable_of_the_app_says_how_it_gets_it(api: Deployments) -> None:
    """Else the variable is set, the build says that it is not, and nobody knows why."""
    api.create("lacking", scripted("x") | {"build.sh": 'echo "${SITE_URL:?must be set}"\n'}, build_mode="script")
    api.machine.http("PUT", "/api/v1/apps/lacking/env", {"key": "SITE_URL", "value": "https://example.org"})
    failed = api.wait("lacking", api.start("lacking"))
    assert failed["error_code"] == "build_failed"
    assert '"build": true' in failed["last_error"]


@pytest.mark.parametrize("how", BROKEN)
def test_a_failed_deployment_changes_nothing_and_says_why(api: Deployments, serving: str, how: str) -> None:
    """Else a typo in a commit takes the site down, or nobody can tell what is wrong with it."""
    files, code, words = BROKEN[how]
    before, slugs = (api.app(serving)["address"], api.slot_files(serving)), set(api.slugs(serving))
    spare = str(api.machine.place.port + 5)
    api.commit(serving, {name: text.replace("SPARE_PORT", spare) for name, text in files.items()})
    try:
        with Prober(api.port(serving)) as seen:
            about = api.failed(serving)
    finally:
        good = scripted("one")
        api.commit(serving, {name: good.get(name) for name in files})
    assert about["error_code"] == code, about
    assert [word for word in words if word not in about["last_error"]] == [], about["last_error"]
    assert (seen.failures, seen.bodies) == ([], ["one"])
    assert seen.answers > 1
    assert api.running(serving) == [api.app(serving)["processes"][0]["unit"]]
    assert (api.app(serving)["address"], api.slot_files(serving)) == before
    assert set(api.slugs(serving)) <= slugs
    assert code in api.logs(serving, about["id"])


def test_a_branch_that_is_not_there_is_named(api: Deployments, serving: str) -> None:
    """Else a typo in CI is a riddle."""
    about = api.failed(serving, source_ref="mian")
    assert about["error_code"] == "ref_not_found"
    assert "mian" in about["last_error"]
    assert api.get(serving).body == "one"


def test_a_first_deployment_that_fails_leaves_nothing_running(api: Deployments) -> None:
    """Else a half-started app holds memory and a port without ever being deployed."""
    api.create("stillborn", scripted("one", "exit 1"), build_mode="script")
    assert api.failed("stillborn")["error_code"] == "build_failed"
    assert (api.running("stillborn"), api.slugs("stillborn"), api.slot_files("stillborn")) == ([], [], [])
    assert api.app("stillborn")["address"] is None
    api.commit("stillborn", {"build.sh": "true\n"})
    api.healthy("stillborn")
    assert api.get("stillborn").body == "one"


def test_a_repository_nothing_can_build_says_what_would_do(api: Deployments) -> None:
    """Else a first user does not know what to add."""
    api.create("unbuildable", {"README": "nothing here"})
    about = api.failed("unbuildable")
    assert about["error_code"] == "no_buildpack"
    assert "requirements.txt" in about["last_error"]


@pytest.mark.parametrize("directory", ["results", "cache"])
def test_a_build_that_shuts_its_own_directories_fails_once(api: Deployments, directory: str) -> None:
    """They belong to its user; else one wrong line of a build leaves an app that only root can deploy again."""
    path = f"/var/lib/rustploy/apps/shut/{directory}"
    api.create("shut", scripted("one", f"chmod 0 {path}"), build_mode="script")
    before = api.machine.run(["stat", "--format=%A %U:%G", path]).stdout
    first = api.wait("shut", api.start("shut"))
    api.commit("shut", {"build.sh": "true\n"})
    second = api.wait("shut", api.start("shut", force_rebuild=True))
    assert "healthy" in (first["status"], second["status"])
    api.healthy("shut", force_rebuild=True)
    assert api.machine.run(["stat", "--format=%A %U:%G", path]).stdout == before


def test_a_failed_deployment_is_no_obstacle_for_the_next(api: Deployments, serving: str) -> None:
    """Else one bad commit needs an operator."""
    api.commit(serving, {"Procfile": "web: exit 1\n"})
    api.failed(serving)
    api.commit(serving, {"Procfile": "web: exec python3 app.py\n"})
    api.healthy(serving)
    assert api.get(serving).body == "one"


def test_delete_leaves_nothing_of_an_app_and_all_of_the_others(api: Deployments, serving: str) -> None:
    """Else deleted apps go on running, or their secrets and data stay on the disk."""
    machine = api.machine
    files = server("gone") | {"Procfile": "web: exec python3 app.py\nworker: exec sleep 9999\n"}
    api.create("leaving", files)
    api.healthy("leaving")
    api.commit("leaving", {"version.txt": "gone too"})
    api.healthy("leaving")
    port = api.port("leaving")
    api.delete("leaving")
    assert machine.http("GET", "/api/v1/apps/leaving").status == 404
    assert api.running("leaving") == []
    for database in ("passwd", "group"):
        assert [name for name in ("rp-leaving", "rpb-leaving") if _exists(machine, database, name)] == []
    assert machine.run(["find", "/var/lib/rustploy/apps/leaving"], check=False).returncode != 0
    left = ["find", "/etc", "/var/lib", "-name", "*leaving*"]
    machine.wait_for(lambda: machine.run(left, check=False).stdout == "", 60, "what was put aside to be removed")
    rendered = machine.run(["grep", "-r", "leaving", "/etc/sysusers.d", "/etc/tmpfiles.d", "/etc/systemd"], check=False)
    assert rendered.stdout == ""
    with pytest.raises(OSError):
        machine.http("GET", "/", port=port)
    assert api.get(serving).body == "one"


def _exists(machine: Machine, database: str, name: str) -> bool:
    return machine.run(["getent", database, name], check=False).returncode == 0
