"""Python apps as other people write them: locked, asking for another Python, or holding their own packages."""

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments
from tests.integration.test_buildpacks import again, deployed, sample
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")
PACKAGE, LOCKED = "itsdangerous", "2.1.2"
UNIT = "/etc/systemd/system/rustploy-build@.service.d"


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.patient_deployments(session_machine)


def release(machine: Machine, version: str) -> tuple[str, str]:
    """(address, SHA-256) of a release's wheel in the machine's own package index."""
    pip = ["python3", "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet",
           "--ignore-installed", "--no-deps", "--only-binary", ":all:", "--target", "/tmp/nowhere",
           "--report", "-"]  # fmt: skip
    report = json.loads(machine.run([*pip, f"{PACKAGE}=={version}"]).stdout)
    about = report["install"][0]["download_info"]
    return about["url"], about["archive_info"]["hash"].partition("=")[2]


def uv_lock(url: str, digest: str) -> str:
    return f"""version = 1
requires-python = ">=3.11"

[[package]]
name = "{PACKAGE}"
version = "{LOCKED}"
source = {{ registry = "https://index.invalid/simple" }}
wheels = [{{ url = "{url}", hash = "sha256:{digest}" }}]

[[package]]
name = "notes"
version = "1.2.3"
source = {{ editable = "." }}
dependencies = [{{ name = "{PACKAGE}" }}]

[package.metadata]
requires-dist = [{{ name = "{PACKAGE}", specifier = ">=2" }}]
"""


def poetry_lock(digest: str) -> str:
    return f"""[[package]]
name = "{PACKAGE}"
version = "{LOCKED}"
groups = ["main"]
files = [{{file = "{PACKAGE}-{LOCKED}-py3-none-any.whl", hash = "sha256:{digest}"}}]

[metadata]
lock-version = "2.1"
"""


def test_a_uv_lock_is_obeyed_and_the_project_itself_is_installed(api: Deployments) -> None:
    """Newer releases than the locked one exist; and whatever is in src/ is not found without being installed."""
    files = sample("python-locked") | {"uv.lock": uv_lock(*release(api.machine, LOCKED))}
    log = deployed(api, "locked", files)
    assert "from uv.lock" in log
    assert api.get("locked").body == f"{PACKAGE} {LOCKED} notes 1.2.3 colorama absent"
    changed = files["src/notes/app.py"].replace("{name} {version", "{name}: {version")
    log = again(api, "locked", {"src/notes/app.py": changed})
    assert "sharing the packages of an earlier build" in log
    assert api.get("locked").body == f"{PACKAGE}: {LOCKED} notes: 1.2.3 colorama: absent"


def test_a_poetry_lock_is_obeyed_or_refused(api: Deployments) -> None:
    files = sample("python-locked") | {"poetry.lock": poetry_lock(release(api.machine, LOCKED)[1])}
    deployed(api, "poet", files)
    assert api.get("poet").body == f"{PACKAGE} {LOCKED} notes 1.2.3 colorama absent"
    more = files["pyproject.toml"].replace('"itsdangerous>=2"', '"itsdangerous>=2", "colorama"')
    api.commit("poet", {"pyproject.toml": more})
    about = api.wait("poet", api.start("poet"), 120)
    assert about["status"] == "failed"
    assert "colorama is asked for and is not locked; run `poetry lock`" in about["last_error"]


def test_a_package_of_the_repository_is_installed_as_the_commit_has_it(api: Deployments) -> None:
    """A release that runs the code of an earlier one and is called healthy deceives everybody."""
    app = (
        "import mylib\n\n\ndef app(environ, start_response):\n"
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n    return [mylib.VALUE.encode()]\n'
    )
    setup = "from setuptools import setup\n\nsetup(name='mylib', version='1', py_modules=['mylib'])\n"
    library = {"libs/mylib/setup.py": setup, "libs/mylib/mylib.py": "VALUE = 'one'\n"}
    deployed(
        api,
        "library",
        {"requirements.txt": "\ufeff-r base.txt\r\n", "base.txt": "libs/mylib\r\n", "app.py": app} | library,
    )
    assert api.get("library").body == "one"
    again(api, "library", {"libs/mylib/mylib.py": "VALUE = 'two'\n"})
    assert api.get("library").body == "two"


#: A Python laid out as uv gets them, made of the machine's own one; it only says that it is another.
MAKE_MIRROR = r"""
import hashlib, json, pathlib, platform, shutil, subprocess, sys, sysconfig
root = pathlib.Path("/opt/mirror")
shutil.rmtree(root, ignore_errors=True)
made, own = root / "python", "python%d.%d" % sys.version_info[:2]
(made / "bin").mkdir(parents=True)
shutil.copy2(pathlib.Path(sys.executable).resolve(), made / "bin" / "python3.12")
(made / "bin" / "python3").symlink_to("python3.12")
unwanted = shutil.ignore_patterns("__pycache__", "test", "config-*", "sitecustomize.py", "EXTERNALLY-MANAGED")
shutil.copytree(sysconfig.get_path("stdlib"), made / "lib" / own, ignore=unwanted)
(made / "lib" / "python3.12").symlink_to(own)
(root / "1").mkdir()
archive = root / "1" / "python.tar.gz"
subprocess.run(["tar", "-C", root, "-czf", archive, "python"], check=True)
about = {
    "name": "cpython", "arch": {"family": platform.machine(), "variant": None}, "os": "linux", "libc": "gnu",
    "major": 3,
    "minor": 12, "patch": 99, "prerelease": "", "variant": None, "build": "1",
    "url": "https://github.com/astral-sh/python-build-standalone/releases/download/1/python.tar.gz",
    "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
}
(root / "list.json").write_text(json.dumps({"cpython-3.12.99-linux-%s-gnu" % platform.machine(): about}))
shutil.rmtree(made)
"""


@pytest.fixture
def mirror(api: Deployments) -> Iterator[str]:
    """A mirror of Pythons, which builds are told of as operators do it."""
    machine = api.machine
    machine.run(["python3", "-c", MAKE_MIRROR])
    text = "[Service]\nEnvironment=UV_PYTHON_INSTALL_MIRROR=file:///opt/mirror\n"
    text += "Environment=UV_PYTHON_DOWNLOADS_JSON_URL=file:///opt/mirror/list.json\n"
    machine.run(
        ["sh", "-c", f"mkdir -p {UNIT} && printf %s {shlex.quote(text)} >{UNIT}/mirror.conf && systemctl daemon-reload"]
    )
    yield "/opt/mirror"
    machine.run(["sh", "-c", f"rm -rf {UNIT}/mirror.conf /opt/mirror && systemctl daemon-reload"])


def test_another_python_than_the_hosts_is_fetched_once_and_shared(api: Deployments, mirror: str) -> None:
    """Most repositories pin a version; the next releases neither fetch it again nor hold a copy of it."""
    app = (
        "import sys\n\n\ndef app(environ, start_response):\n"
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n    return [sys.base_prefix.encode()]\n'
    )
    log = deployed(api, "pinned", {"requirements.txt": "", ".python-version": "3.12.4\n", "app.py": app})
    assert "Python 3.12.99 (.python-version asks for 3.12.4)" in log
    prefix = api.get("pinned").body
    assert prefix.endswith("/app/.python"), prefix
    api.machine.run(["rm", "-rf", mirror])
    log = again(api, "pinned", {"app.py": app + "\n"})
    assert "fetching Python" not in log and "sharing the packages" in log
    assert api.get("pinned").body == prefix
    log = again(api, "pinned", {"requirements.txt": PACKAGE})
    assert api.get("pinned").body.endswith("/app/.python")
    found = api.machine.run(
        ["sh", "-c", "find /var/lib/rustploy/apps/pinned/slugs -maxdepth 3 -name .python -type d"]
    ).stdout
    assert len(found.split()) == 1, found


def test_a_python_that_cannot_be_had_ends_the_build_with_what_to_do(api: Deployments, mirror: str) -> None:
    api.create("ancient", {"requirements.txt": "", "runtime.txt": "python-3.9", "Procfile": "web: x"})
    about = api.wait("ancient", api.start("ancient"), 120)
    assert about["status"] == "failed"
    assert "runtime.txt asks for python-3.9" in about["last_error"]
    assert "UV_PYTHON_INSTALL_MIRROR" in about["last_error"]


def test_an_import_tells_how_it_will_start_and_what_is_missing(api: Deployments) -> None:
    """A minute of build less for whoever forgot a start command."""
    api.create("told", {"requirements.txt": "fastapi", "app/main.py": "app = FastAPI()"})
    detection = api.machine.http("GET", "/api/v1/apps/told/config").body["detection"]
    assert detection["processes"] == {"web": "exec uvicorn --host=127.0.0.1 --port=$PORT app.main:app"}
    assert detection["runtime"].startswith("python 3.")
    assert detection["warnings"] == []
