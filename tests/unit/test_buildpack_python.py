"""The python buildpack as a whole, without a package index: a program in the place of uv notes what it is asked for."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.programs import BUILDPACKS, Workshop

pytestmark = pytest.mark.processes
HOST = Path("/usr/bin/python3").resolve().name.removeprefix("python")
UV_VERSION = next(
    line.split()[0].removeprefix("uv==")
    for line in (BUILDPACKS / "python" / "lib" / "uv.txt").read_text().splitlines()
    if line.startswith("uv==")
)
#: Makes real environments; what is installed is only noted. A file `fail` beside it has it fail with its text.
UV = """#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/calls"
case "$1 $2" in
"venv "*) for last; do :; done; exec /usr/bin/python3 -m venv --without-pip "$last" ;;
"pip install" | "sync --frozen" | "python install")
	if [ -e "$here/fail" ]; then cat "$here/fail"; exit 2; fi
	if [ "$4" != "${4%/bin/python}" ]; then
		printf '#!%s\\n' "$4" >"${4%/python}/tool"
		chmod 755 "${4%/python}/tool"
		for name in waitress uvicorn setuptools; do
			case " $* " in *" $name"*) mkdir -p "${4%/bin/python}"/lib/python3*/site-packages/$name-1.dist-info ;; esac
		done
	fi ;;
esac
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    uv = kept(made) / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    return made


def kept(workshop: Workshop) -> Path:
    return workshop.root / "cache" / "python" / f"uv-{UV_VERSION}"


def calls(workshop: Workshop) -> list[str]:
    """What uv was asked for since the last time."""
    file = kept(workshop) / "calls"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_packages_are_installed_once_and_then_shared(workshop: Workshop) -> None:
    """A hundred megabytes and half a minute less for each release; and a slug that is gone is not linked to."""
    files = {"requirements.txt": "flask", "app.py": "app = Flask()"}
    assert workshop.build(files, "python")["ok"]
    assert any(call.startswith("pip install") for call in calls(workshop))
    origin = workshop.slug_id
    changed = files | {"app.py": "app = Flask()  # changed"}
    assert workshop.build(changed, "python", kept_slugs=[origin])["needs_slugs"] == [origin]
    assert (workshop.checkout / ".venv").readlink() == workshop.root / "slugs" / origin / "app" / ".venv"
    assert workshop.build(changed, "python", kept_slugs=["00000000-0000-4000-8000-000000000008"])["needs_slugs"] == []
    assert not (workshop.checkout / ".venv").is_symlink()
    assert calls(workshop) == []
    origin = workshop.slug_id
    assert workshop.build(changed, "python", kept_slugs=[origin])["needs_slugs"] == [origin]


def test_a_copied_environment_names_its_new_place(workshop: Workshop) -> None:
    """Otherwise scripts would run the interpreter of the build's cache, which the app cannot see."""
    for _ in range(2):
        assert workshop.build({"requirements.txt": "flask", "Procfile": "web: x"}, "python")["ok"]
        venv = workshop.checkout / ".venv"
        assert (venv / "bin" / "tool").read_text().splitlines()[0] == f"#!{venv}/bin/python"
        assert "cache" not in (venv / "pyvenv.cfg").read_text()
        assert (venv / "bin" / "python").resolve() == Path("/usr/bin/python3").resolve()


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "flask==2"},
        {"requirements.txt": "flask", "Procfile": "", "app.py": "async def app(scope, receive, send):"},
        {"requirements.txt": "\ufeff-r base.txt", "base.txt": "flask\nx"},
    ],
)
def test_other_requirements_get_other_packages(workshop: Workshop, files: dict[str, str]) -> None:
    assert workshop.build({"requirements.txt": "flask", "Procfile": "web: x"}, "python")["ok"]
    calls(workshop)
    assert workshop.build(files, "python")["ok"]
    assert any(call.startswith("pip install") for call in calls(workshop))
    environments = list((workshop.root / "cache" / "python").glob("env-*"))
    assert len(environments) == 1, "one environment is kept for an app, not one for each state of its requirements"


@pytest.mark.parametrize("line", ["libs/mylib", "./libs/mylib", "-e libs/mylib"])
def test_what_the_repository_holds_itself_is_never_taken_from_an_earlier_build(workshop: Workshop, line: str) -> None:
    files = {"requirements.txt": line, "libs/mylib/setup.py": "", "Procfile": "web: x"}
    for _ in range(2):
        assert workshop.build(files, "python", kept_slugs=[workshop.slug_id] if hasattr(workshop, "slug_id") else [])[
            "ok"
        ]
        assert any(call.startswith("pip install") for call in calls(workshop))
        assert not (workshop.checkout / ".venv").is_symlink()


def test_without_uv_pip_installs_and_says_so(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (kept(workshop) / "uv").unlink()
    result = workshop.build({"requirements.txt": "", "Procfile": "web: x"}, "python")
    # Setuptools cannot be had either; what counts is who was asked for them, and that the reason is told.
    if HOST.split(".")[1] < "12":
        assert "pip" in result["message"] or "setuptools" in result["message"]
    result = workshop.build({"uv.lock": "version = 1", "pyproject.toml": "[project]", "Procfile": "web: x"}, "python")
    assert "uv.lock is installed by uv, which the package index does not give: " in result["message"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"requirements.txt": "flask", "runtime.txt": "python-2.7.18"}, "asks for Python python-2.7.18"),
        ({"requirements.txt": "-r missing.txt"}, "missing.txt is named"),
        ({"pyproject.toml": "[project"}, "not valid TOML"),
        ({"uv.lock": "", "pdm.lock": "", "pyproject.toml": "[project]"}, "two lock files"),
        ({"pyproject.toml": "[project]\ndependencies = 3"}, "unexpected form"),
        ({"requirements.txt": "", "bin/post_compile": "#!/bin/sh\nexit 3\n"}, "bin/post_compile ended with 3"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(workshop: Workshop, files: dict[str, str], says: str) -> None:
    result = workshop.build(files, "python")
    assert result["code"] == "build_failed"
    assert says in result["message"]
    assert "Traceback" not in result["message"]


def test_the_reason_of_uv_is_the_reason_of_the_build(workshop: Workshop) -> None:
    (kept(workshop) / "fail").write_text(
        "error: No solution found\n  cause: Because x has no y,\nand so on.\n\nhint: z\n"
    )
    result = workshop.build({"requirements.txt": "x", "Procfile": "web: x"}, "python")
    assert result["message"] == "the build ended with 1; python: Because x has no y, and so on."


def test_a_python_that_cannot_be_fetched_is_named_with_what_to_do(workshop: Workshop) -> None:
    (kept(workshop) / "fail").write_text("error: Failed to install cpython\n  cause: dns error\n")
    files = {"requirements.txt": "flask", ".python-version": "3.9", "Procfile": "web: x"}
    message = workshop.build(files, "python")["message"]
    assert f".python-version asks for 3.9; this host has Python {HOST}, and Python 3.9 cannot be fetched" in message
    assert "UV_PYTHON_INSTALL_MIRROR" in message


def test_scripts_of_the_repository_run_around_the_installation(workshop: Workshop) -> None:
    """Many Django projects compile messages or stylesheets there."""
    files = {
        "requirements.txt": "",
        "Procfile": "web: x",
        "bin/pre_compile": "#!/bin/sh\necho flask >>requirements.txt\n",
        "bin/post_compile": '#!/bin/sh\ncommand -v python >made\necho "$VIRTUAL_ENV" >>made\n',
    }
    assert workshop.build(files, "python")["ok"]
    assert "flask" in (workshop.checkout / ".rustploy" / "requirements.txt").read_text()
    venv = workshop.checkout / ".venv"
    assert (workshop.checkout / "made").read_text().split() == [f"{venv}/bin/python", str(venv)]


DJANGO = {
    "requirements.txt": "django",
    "proj/wsgi.py": "",
    "proj/settings.py": "STATIC_ROOT = 'x'",
    "manage.py": "import os, pathlib\nos.environ['SECRET_KEY'], os.environ['TOKEN']\npathlib.Path('static').touch()",
}


def test_static_files_are_collected_though_builds_see_no_secrets(workshop: Workshop) -> None:
    assert workshop.build(DJANGO, "python")["ok"]
    assert (workshop.checkout / "static").exists()


def test_a_failing_collectstatic_warns_and_does_not_end_the_build(workshop: Workshop) -> None:
    assert workshop.build(DJANGO | {"manage.py": "raise SystemExit('no')"}, "python")["ok"]
    assert workshop.build(DJANGO | {".disable_collectstatic": ""}, "python")["ok"]
    assert not (workshop.checkout / "static").exists()


def test_the_start_command_is_the_one_that_an_import_tells(workshop: Workshop) -> None:
    result = workshop.build({"requirements.txt": "fastapi", "app/main.py": "app = FastAPI()"}, "python")
    commands = yaml.safe_load(result["release"])["default_process_types"]
    assert commands == {"web": "exec uvicorn --host=127.0.0.1 --port=$PORT app.main:app"}
    assert any("uvicorn" in call for call in calls(workshop)), "the server is installed beside the requirements"


@pytest.mark.parametrize(
    ("names", "is_python"),
    [
        *((["requirements.txt"], True), (["uv.lock"], True), (["Pipfile"], True), (["setup.py"], True)),
        *((["requirements/production.txt"], True), (["setup.py", "package.json"], False), (["index.html"], False)),
    ],
)
def test_what_a_python_repository_is(tmp_path: Path, names: list[str], is_python: bool) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run([BUILDPACKS / "python" / "bin" / "detect", tmp_path], capture_output=True, check=False)
    assert (done.returncode == 0) is is_python


def test_hashed_requirements_are_not_mixed_with_others(workshop: Workshop) -> None:
    """uv refuses a run in which anything has no hash."""
    files = {"requirements.txt": "flask==3.0 --hash=sha256:aa", "Procfile": "web: x"}
    assert workshop.build(files, "python")["ok"]
    hashed = [call for call in calls(workshop) if "--require-hashes" in call]
    assert len(hashed) == 1
    assert "setuptools" not in hashed[0]


def test_a_project_that_is_a_package_is_installed_beside_shared_packages(workshop: Workshop) -> None:
    """Its code changes with each commit, the packages do not."""
    files = {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["flask"]\n[build-system]\nrequires = []\n',
        "app.py": "app = Flask()",
    }
    slugs: list[str] = []
    for _ in range(2):
        assert workshop.build(files, "python", kept_slugs=slugs)["ok"]
        assert any("--no-deps --target" in call and "--editable ." in call for call in calls(workshop))
        slugs.append(workshop.slug_id)
    assert (workshop.checkout / ".venv").is_symlink()
