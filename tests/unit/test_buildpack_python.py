"""The python buildpack's choices, with no package index: environments come from its cache or are empty."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.programs import BUILDPACKS, Workshop

pytestmark = pytest.mark.processes
SLUG = "00000000-0000-4000-8000-000000000009"
ORIGIN = f"/var/lib/rustploy/apps/blog/slugs/{SLUG}/app/.venv"
HOST = Path("/usr/bin/python3").resolve().name.removeprefix("python")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def cached(workshop: Workshop, requirements: str, extra: str = "") -> Path:
    """An environment in the cache as an earlier build of the same requirements would have left it."""
    text = f"{requirements}\n"
    key = hashlib.sha256("".join(f"{part}\0" for part in ("2", HOST, extra, text)).encode()).hexdigest()
    kept = workshop.root / "cache" / "python" / key
    (kept / "venv" / "bin").mkdir(parents=True)
    (kept / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\ncommand = python -m venv /old/place/.venv\n")
    (kept / "venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (kept / "venv" / "bin" / "tool").write_text("#!/old/place/.venv/bin/python\nimport sys\n")
    (kept / "venv" / "bin" / "tool").chmod(0o755)
    (kept / "origin").write_text(ORIGIN)
    (kept / "complete").write_text("/old/place/.venv")
    return kept


def web(workshop: Workshop, files: dict[str, str], extra: str = "waitress") -> str | None:
    """The command chosen for an app of these files, whose requirements are in the cache."""
    cached(workshop, files["requirements.txt"], extra)
    result = workshop.build(files, "python")
    assert result["ok"], result
    commands = yaml.safe_load(result["release"])["default_process_types"]
    return commands.get("web")  # type: ignore[no-any-return]


WAITRESS = "exec .venv/bin/python .rustploy/serve.py --listen=127.0.0.1:$PORT "


@pytest.mark.parametrize(
    ("files", "extra", "command"),
    [
        ({"app.py": "app = Flask(__name__)"}, "waitress", WAITRESS + "app:app"),
        ({"wsgi.py": "application: WSGI = make()"}, "waitress", WAITRESS + "wsgi:application"),
        ({"main.py": "def create_app(config=None):"}, "waitress", WAITRESS + "--call main:create_app"),
        ({"app.py": "def app(environ, start_response):"}, "waitress", WAITRESS + "app:app"),
        (
            {"asgi.py": "async def app(scope, receive, send):"},
            "uvicorn",
            "exec uvicorn --host=127.0.0.1 --port=$PORT asgi:app",
        ),
        ({"app.py": "def app():\n"}, "", None),
        ({"blog/__init__.py": "def create_app():"}, "waitress", WAITRESS + "--call blog:create_app"),
        ({"main.py": "app = FastAPI()"}, "uvicorn", "exec uvicorn --host=127.0.0.1 --port=$PORT main:app"),
        (
            {"main.py": "app = fastapi.FastAPI(title='x')"},
            "uvicorn",
            "exec uvicorn --host=127.0.0.1 --port=$PORT main:app",
        ),
        (
            {"manage.py": 'x("DJANGO_SETTINGS_MODULE", "proj.settings")', "proj/wsgi.py": ""},
            "waitress",
            WAITRESS + "proj.wsgi:application",
        ),
        (
            {"manage.py": "x('DJANGO_SETTINGS_MODULE', 'a.b.settings.prod')", "a/b/wsgi.py": ""},
            "waitress",
            WAITRESS + "a.b.wsgi:application",
        ),
        ({"manage.py": "", "other/wsgi.py": ""}, "waitress", WAITRESS + "other.wsgi:application"),
        ({"app.py": "app == 3"}, "", None),
        ({"app.py": "    app = Flask()"}, "", None),
        ({"Procfile": "web: mine", "app.py": "app = Flask()"}, "", None),
        ({"Procfile": "worker: mine", "app.py": "app = Flask()"}, "waitress", WAITRESS + "app:app"),
    ],
)
def test_how_an_app_is_started_without_being_told(
    workshop: Workshop, files: dict[str, str], extra: str, command: str | None
) -> None:
    assert web(workshop, {"requirements.txt": "flask"} | files, extra) == command


@pytest.mark.parametrize(
    ("requirements", "kind", "command"),
    [
        ("flask\ngunicorn==23", "app = Flask()", "exec gunicorn --bind=127.0.0.1:$PORT --threads=8 'app:app'"),
        ("Gunicorn", "def create_app():", "exec gunicorn --bind=127.0.0.1:$PORT --threads=8 'app:create_app()'"),
        ("waitress", "app = Flask()", WAITRESS + "app:app"),
        ("fastapi\nuvicorn[standard]", "app = FastAPI()", "exec uvicorn --host=127.0.0.1 --port=$PORT app:app"),
        ("fastapi\nhypercorn", "app = FastAPI()", "exec hypercorn --bind=127.0.0.1:$PORT app:app"),
    ],
)
def test_a_server_among_the_requirements_is_the_one_that_is_used(
    workshop: Workshop, requirements: str, kind: str, command: str
) -> None:
    assert web(workshop, {"requirements.txt": requirements, "app.py": kind}, "") == command


def test_a_cached_environment_names_its_new_place(workshop: Workshop) -> None:
    """Otherwise scripts would run the interpreter of a slug that may be gone."""
    kept = cached(workshop, "flask")
    workshop.build({"requirements.txt": "flask", "Procfile": "web: x"}, "python")
    venv = workshop.checkout / ".venv"
    assert (venv / "bin" / "tool").read_text().splitlines()[0] == f"#!{venv}/bin/python"
    assert "/old/place" not in (venv / "pyvenv.cfg").read_text()
    assert os.access(venv / "bin" / "tool", os.X_OK)
    assert (venv / "bin" / "python").is_symlink()
    assert "/old/place" in (kept / "venv" / "bin" / "tool").read_text()


def test_packages_of_a_kept_slug_are_shared_and_later_those_of_the_copy(workshop: Workshop) -> None:
    """A hundred megabytes less for each release; and a slug that is gone is not linked to."""
    kept = cached(workshop, "django")
    files = {
        "requirements.txt": "django",
        "Procfile": "web: x",
        "manage.py": "import sys; print('PREFIX', sys.prefix)",
        "settings.py": "STATIC_ROOT = 1",
    }
    shared = workshop.build(files, "python", kept_slugs=[SLUG])
    assert shared["needs_slugs"] == [SLUG]
    assert (workshop.checkout / ".venv").readlink() == Path(ORIGIN)
    copied = workshop.build(files, "python", kept_slugs=["00000000-0000-4000-8000-000000000008"])
    assert copied["needs_slugs"] == []
    assert (workshop.checkout / ".venv").is_dir()
    assert not (workshop.checkout / ".venv").is_symlink()
    assert (kept / "origin").read_text() == str(workshop.checkout / ".venv")
    origin = workshop.slug_id
    assert workshop.build(files, "python", kept_slugs=[origin])["needs_slugs"] == [origin]


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "flask==2"},
        {"requirements.txt": "-r base.txt\nflask", "base.txt": "x"},
        {"requirements.txt": "flask\n-e ."},
    ],
)
def test_other_requirements_do_not_take_the_cached_environment(workshop: Workshop, files: dict[str, str]) -> None:
    cached(workshop, "flask")
    build = subprocess.run(
        ["bash", "-c", "for part in lib/{requirements,packages,runtime} ../lib/{release,slugs}; do . $part.sh; done\n"
         'runtime::choose "$1"; requirements::collect "$1"; entry_extra=""\n'
         "packages::pip() { echo PIP; mkdir \"$1/.venv\"; }; packages::install \"$1\" \"$2\"",
         "bash", str(written(workshop, files)), str(workshop.root / "cache" / "python")],
        cwd=BUILDPACKS / "python", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "PIP" in build.stdout.splitlines()
    kept = list((workshop.root / "cache" / "python").iterdir())
    assert len(kept) == 1, "one environment is kept for an app, not one for each state of its requirements"


def written(workshop: Workshop, files: dict[str, str]) -> Path:
    directory = workshop.root / "written"
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"requirements.txt": "flask", "runtime.txt": "python-2.7.18"}, f"asks for Python 2.7.18.*has {HOST}"),
        ({"requirements.txt": "flask", ".python-version": "pypy3"}, "must name a version"),
        ({"requirements.txt": "-r missing.txt"}, "missing.txt is named"),
        ({"requirements.txt": "-r requirements.txt"}, "include each other"),
        ({"pyproject.toml": "[project"}, "not valid TOML"),
        ({"pyproject.toml": "[tool.poetry]\nname = 'x'"}, "export it"),
    ],
)
def test_what_cannot_be_built_is_said_with_what_to_do(workshop: Workshop, files: dict[str, str], says: str) -> None:
    result = workshop.build(files, "python")
    assert result["code"] == "build_failed"
    import re

    assert re.search(says, result["message"]), result["message"]


@pytest.mark.parametrize("asked", [f"python-{HOST}.1", HOST, "3", f"# a comment\n{HOST}\n"])
def test_the_hosts_python_may_be_named(workshop: Workshop, asked: str) -> None:
    cached(workshop, "flask")
    files = {"requirements.txt": "flask", "runtime.txt": asked, "Procfile": "web: x"}
    assert workshop.build(files, "python")["ok"]


def test_dependencies_of_pyproject_are_requirements(workshop: Workshop) -> None:
    cached(workshop, "flask>=3\nrequests")
    files = {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["flask>=3", "requests"]', "Procfile": "web: x"}
    assert workshop.build(files, "python")["ok"]


def test_a_failing_collectstatic_warns_and_does_not_end_the_build(workshop: Workshop) -> None:
    """Settings that need a secret cannot be loaded in a build; the app itself would start."""
    cached(workshop, "django", "waitress")
    files = {
        "requirements.txt": "django",
        "manage.py": "import os; os.environ['SECRET_KEY']",
        "proj/wsgi.py": "",
        "proj/settings.py": "STATIC_ROOT = 'x'",
    }
    assert workshop.build(files, "python")["ok"]
    assert workshop.build(files | {".disable_collectstatic": ""}, "python")["ok"]
