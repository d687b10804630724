"""Each buildpack's sample, from its repository to its answer, in the real sandboxes, with the real package index."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.patient_deployments(session_machine)


def sample(name: str) -> dict[str, str]:
    directory = SAMPLES / name
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def deployed(api: Deployments, app: str, files: dict[str, str]) -> str:
    """The log of a deployment of these files that went well."""
    api.create(app, files)
    about = api.wait(app, api.start(app), 300)
    assert about["status"] == "healthy", (about, api.logs(app, about["id"]))
    return api.logs(app, about["id"])


def again(api: Deployments, app: str, files: dict[str, str | None]) -> str:
    api.commit(app, files)
    about = api.wait(app, api.start(app), 300)
    assert about["status"] == "healthy", (about, api.logs(app, about["id"]))
    return api.logs(app, about["id"])


def test_a_static_site_shows_its_pages_and_none_of_its_dot_files(api: Deployments) -> None:
    """.env and .git are what scanners ask every new site for."""
    deployed(api, "site", sample("static") | {".env": "SECRET=1", "d/.htpasswd": "x", "rustploy.yaml": "version: 1\n"})
    assert "static sample answers" in api.get("site").body
    assert "Contact" in api.get("site", "/.well-known/security.txt").body
    assert "nothing here" in api.get("site", "/missing").body
    hidden = ["/.env", "/%2eenv", "//.env", "/x/../.env", "/.well-known/../.env", "/.well-known/%2e%2e/.env",
              "/d/.htpasswd", "/.rustploy/site.json", "/rustploy.yaml", "/.git/config"]  # fmt: skip
    for path in hidden:
        assert api.get("site", path).status == 404, path


def test_a_flask_app_is_installed_once_and_then_taken_from_the_cache(api: Deployments) -> None:
    log = deployed(api, "flask", sample("flask"))
    assert "installing packages for Python" in log
    assert api.get("flask").body == "flask sample answers\n"
    log = again(api, "flask", {"app.py": sample("flask")["app.py"].replace("answers", "answers again")})
    assert "requirements unchanged" in log
    assert api.get("flask").body == "flask sample answers again\n"


def test_a_request_in_flight_is_answered_when_the_server_is_asked_to_stop(api: Deployments) -> None:
    """waitress by itself drops it: a restart by hand would lose requests."""
    app = (
        "import time\n"
        + sample("flask")["app.py"]
        + '\n\n@app.get("/slow")\ndef slow():\n    time.sleep(2)\n    return "late"\n'
    )
    deployed(api, "slow", sample("flask") | {"app.py": app})
    unit = f"rustploy-app@slow-web-{api.app('slow')['active_slot']}.service"
    script = (
        f"curl -sS --max-time 10 http://127.0.0.1:{api.port('slow')}/slow & sleep 1; systemctl stop {unit}; wait $!"
    )
    try:
        assert api.machine.run(["sh", "-c", script]).stdout == "late"
    finally:
        api.machine.run(["systemctl", "start", unit])


def test_a_django_project_starts_and_its_static_files_are_collected(api: Deployments) -> None:
    log = deployed(api, "django", sample("django"))
    assert "manage.py collectstatic" in log
    assert "django sample answers" in api.get("django").body
    assert api.get("django", "/static/site.css").body.startswith("p {")


def test_a_fastapi_app_gets_the_server_that_it_does_not_name(api: Deployments) -> None:
    log = deployed(api, "fastapi", sample("fastapi"))
    assert "also installing uvicorn" in log
    assert api.get("fastapi").body == {"sample": "fastapi"}


def test_a_node_app_without_dependencies_needs_no_npm(api: Deployments) -> None:
    log = deployed(api, "node", sample("node"))
    assert "nothing to install" in log
    assert api.get("node").body == "node sample answers\n"


def test_a_node_app_with_a_lock_file_is_installed_once(api: Deployments) -> None:
    log = deployed(api, "odd", sample("node-deps"))
    assert "installing packages with npm" in log
    assert api.get("odd").body == "3 is odd\n"
    assert "lock file unchanged" in again(api, "odd", {"note.txt": "x"})
    assert api.get("odd").body == "3 is odd\n"
    modules = api.machine.run(["sh", "-c", "ls /var/lib/rustploy/apps/odd/slugs/*/app/node_modules"]).stdout
    assert "is-odd" in modules


def test_another_node_than_the_hosts_comes_from_the_package_index(api: Deployments) -> None:
    package = '{"engines": {"node": "24.x"}, "scripts": {"start": "node server.js"}}'
    server = sample("node")["server.js"].replace('"node sample answers\\n"', "process.version")
    deployed(api, "newer", {"package.json": package, "server.js": server})
    assert api.get("newer").body.startswith("v24.")


def test_a_site_that_is_only_built_is_served(api: Deployments) -> None:
    """The usual single-page app: a build script, no start script."""
    package = '{"scripts": {"build": "mkdir dist && node -p 1+1 >dist/index.html"}}'
    log = deployed(api, "built", {"package.json": package})
    assert "serving dist" in log
    assert api.get("built").body == "2\n"


def test_a_go_module_is_built_and_its_second_build_fetches_nothing(api: Deployments) -> None:
    """The toolchain alone is 70 MB to download: no deployment may fetch it again."""
    log = deployed(api, "gopher", sample("go"))
    assert "fetching Go" in log
    assert "web: bin/sample" in log
    assert api.get("gopher").body == "go sample answers\n"
    changed = sample("go")["greeting/greeting.go"].replace("answers", "answers again")
    log = again(api, "gopher", {"greeting/greeting.go": changed})
    assert "fetching Go" not in log
    assert api.get("gopher").body == "go sample answers again\n"


def test_a_failing_build_quotes_the_package_manager(api: Deployments) -> None:
    api.create("broken", {"requirements.txt": "this-package-does-not-exist-anywhere==1", "Procfile": "web: x"})
    about = api.wait("broken", api.start("broken"), 120)
    assert about["error_code"] == "build_failed"
    assert "this-package-does-not-exist-anywhere" in about["last_error"]


def test_lines_of_a_build_carry_the_fields_operators_select_by(api: Deployments) -> None:
    api.create("fields", {"index.html": "x"})
    deployment = api.wait("fields", api.start("fields"))["id"]
    entries = api.machine.journal(f"RUSTPLOY_DEPLOYMENT={deployment}", "RUSTPLOY_APP=fields", "RUSTPLOY_STEP=build")
    assert any("with Caddy" in entry["MESSAGE"] for entry in entries)
    # Nothing of this repository runs in its build, so the fetch may have done it.
    units = {f"rustploy-{kind}@fields.service" for kind in ("fetch", "build")}
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} <= units


def test_releases_share_packages_and_pruning_leaves_what_they_share(api: Deployments) -> None:
    """An environment per release would fill the disk; one that is pruned too early would stop the app."""
    api.machine.run(["rm", "-rf", api.machine.repositories.path("sharing")])
    deployed(api, "sharing", sample("flask"))
    slugs = "/var/lib/rustploy/apps/sharing/slugs"
    find = ["find", slugs, "-maxdepth", "3", "-name", ".venv", "-type", "d"]
    first = api.machine.run(find).stdout.split()
    assert len(first) == 1
    for number in range(4):
        assert "sharing the packages" in again(api, "sharing", {"note.txt": str(number)})
    api.machine.wait_for(lambda: len(api.slugs("sharing")) <= 4, 20, "old slugs to be gone")
    assert api.machine.run(find).stdout.split() == first
    api.machine.run(["systemctl", "restart", f"rustploy-app@sharing-web-{api.app('sharing')['active_slot']}.service"])
    api.machine.wait_for(lambda: answers(api, "sharing"), 20, "the app to answer after a restart")
    about = api.wait("sharing", api.start("sharing", force_rebuild=True), 120)
    assert about["status"] == "healthy", about


def answers(api: Deployments, app: str) -> bool:
    try:
        return api.get(app).status == 200
    except OSError:
        return False
