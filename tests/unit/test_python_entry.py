"""How an app is started that does not say so: each of these is the usual shape of a tutorial or a self-hosted app."""

from pathlib import Path

import pytest

from tests.unit.pyplan import module, written

entry, plan, explain, unset, hostindex = (module(name) for name in ("entry", "plan", "explain", "unset", "hostindex"))

WAITRESS = "exec .venv/bin/python .rustploy/serve.py --listen=127.0.0.1:$PORT "
GUNICORN = "exec gunicorn --bind=127.0.0.1:$PORT --threads=8 "
UVICORN = "exec uvicorn --host=127.0.0.1 --port=$PORT "
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FLASK = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize(
    ("files", "names", "command"),
    [
        ({"app.py": "app = Flask(__name__)"}, [], WAITRESS + "app:app"),
        ({"hello.py": FLASK}, [], WAITRESS + "hello:app"),
        ({"wsgi.py": "application: WSGI = make()"}, [], WAITRESS + "wsgi:application"),
        ({"wsgi.py": "from blog import app as application"}, ["gunicorn"], GUNICORN + "'wsgi:application'"),
        ({"main.py": "def create_app(config=None):"}, [], WAITRESS + "--call main:create_app"),
        ({"main.py": "def create_app(config=None):"}, ["gunicorn"], GUNICORN + "'main:create_app()'"),
        ({"main.py": "from fastapi import FastAPI\ndef create_app():"}, [], UVICORN + "--factory main:create_app"),
        ({"blog/__init__.py": "def create_app():"}, [], WAITRESS + "--call blog:create_app"),
        ({"app.py": "def app(environ, start_response):"}, [], WAITRESS + "app:app"),
        ({"asgi.py": "async def app(scope, receive, send):"}, [], UVICORN + "asgi:app"),
        ({"main.py": FASTAPI}, ["uvicorn", "gunicorn"], UVICORN + "main:app"),
        ({"main.py": FASTAPI}, ["hypercorn"], "exec hypercorn --bind=127.0.0.1:$PORT 'main:app'"),
        ({"main.py": "app = fastapi.FastAPI(title='x')"}, [], UVICORN + "main:app"),
        ({"main.py": "api: Litestar = Litestar([hello])"}, [], UVICORN + "main:api"),
        ({"app.py": "app = Quart(__name__)"}, ["quart"], UVICORN + "app:app"),
        ({"app.py": "routes = []\napp = Starlette(debug=True, routes=routes)"}, [], UVICORN + "app:app"),
        ({"app/main.py": "from app.api import router\n" + FASTAPI}, [], UVICORN + "app.main:app"),
        ({"app/main.py": "from .api import router\n" + FASTAPI}, [], UVICORN + "app.main:app"),
        (
            {"app/main.py": "from routers import users\n" + FASTAPI, "app/routers/users.py": ""},
            [],
            "cd 'app' && " + UVICORN + "main:app",
        ),
        ({"src/main.py": FASTAPI}, [], "cd 'src' && " + UVICORN + "main:app"),
        ({"src/main.py": "from src.db import x\n" + FASTAPI}, [], UVICORN + "src.main:app"),
        ({"src/blog/main.py": "from blog.db import x\n" + FASTAPI}, [], "cd 'src' && " + UVICORN + "blog.main:app"),
        (
            {"src/app.py": FLASK},
            [],
            "cd 'src' && exec ../.venv/bin/python ../.rustploy/serve.py --listen=127.0.0.1:$PORT app:app",
        ),
        ({"app.py": "import dash\napp = dash.Dash()\nserver = app.server"}, [], WAITRESS + "app:server"),
        ({"app.py": "app = Dash(__name__)"}, [], WAITRESS + "app:app.server"),
        ({"main.py": "app = create()"}, ["fastapi"], UVICORN + "main:app"),
        ({"main.py": "app, rt = fast_app()"}, [], UVICORN + "main:app"),
        (
            {"manage.py": 'x("DJANGO_SETTINGS_MODULE", "proj.settings")', "proj/wsgi.py": ""},
            [],
            WAITRESS + "proj.wsgi:application",
        ),
        (
            {"manage.py": "x('DJANGO_SETTINGS_MODULE', 'a.b.settings.prod')", "a/b/wsgi.py": ""},
            ["gunicorn"],
            GUNICORN + "'a.b.wsgi:application'",
        ),
        ({"manage.py": "", "other/wsgi.py": ""}, [], WAITRESS + "other.wsgi:application"),
        ({"manage.py": "", "proj/wsgi.py": "", "proj/asgi.py": ""}, ["channels"], UVICORN + "proj.asgi:application"),
        (
            {"manage.py": "", "proj/asgi.py": ""},
            ["channels", "daphne"],
            "exec daphne -b 127.0.0.1 -p $PORT proj.asgi:application",
        ),
        (
            {"site/manage.py": "import django; x('DJANGO_SETTINGS_MODULE', 'proj.settings')", "site/proj/wsgi.py": ""},
            ["gunicorn"],
            "cd 'site' && " + GUNICORN + "'proj.wsgi:application'",
        ),
        (
            {"dashboard.py": "import streamlit as st\nst.title('x')"},
            ["streamlit"],
            "exec streamlit run 'dashboard.py' --server.port=$PORT --server.address=127.0.0.1 --server.headless=true "
            "--browser.gatherUsageStats=false",
        ),
        ({"bot.py": "web.run_app(make(), port=int(os.environ['PORT']))"}, [], "exec python 'bot.py'"),
        ({"server.py": 'from bottle import run\nrun(port=os.getenv("PORT", 80))'}, [], "exec python 'server.py'"),
        ({"app.py": "app == 3"}, [], ""),
        ({"app.py": "    app = Flask()"}, [], ""),
        ({"app.py": "def app():\n"}, [], ""),
        ({"tests/app.py": FLASK}, [], ""),
    ],
)
def test_the_object_and_the_server(
    tmp_path: Path, files: dict[str, str | bytes], names: list[str], command: str
) -> None:
    assert entry.choose(written(tmp_path, files), frozenset(names)).command == command


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"requirements.txt": "flask"}, "no start command: no Procfile"),
        ({"requirements.txt": "flask", "app.py": "def create_app(config):"}, "create_app in app.py needs arguments"),
        ({"requirements.txt": "-r missing.txt", "app.py": FLASK}, "missing.txt is named"),
        ({"requirements.txt": "", "runtime.txt": "python-2.7", "app.py": FLASK}, "asks for Python python-2.7"),
        ({"requirements.txt": "", ".python-version": "3.12", "app.py": FLASK}, "Python 3.12 is fetched"),
        ({"pyproject.toml": "[project", "app.py": FLASK}, "not valid TOML"),
        ({"pyproject.toml": "project = 3", "app.py": FLASK}, "nothing says which packages"),
        ({"pyproject.toml": "[project]\ndependencies = 3", "app.py": FLASK}, "int"),
    ],
)
def test_an_import_says_what_would_stop_the_build(tmp_path: Path, files: dict[str, str | bytes], says: str) -> None:
    """A minute of build less for whoever forgot the Procfile."""
    told = plan.describe(written(tmp_path, files), "3.11.2")
    assert any(says in warning for warning in told["warnings"]), told


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "flask", "app.py": FLASK},
        {"requirements.txt": "x", "Procfile": "\ufeffweb: mine\n"},
        {"requirements.txt": "x", "rustploy.yaml": "version: 1\napp:\n  start_command: mine\n"},
    ],
)
def test_nothing_is_wrong_with_an_app_that_starts(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    assert plan.describe(written(tmp_path, files), "3.11.2")["warnings"] == []


UV_SAYS = """error: Failed to build `psycopg2==2.9.9`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

         [stderr]
         Error: pg_config executable not found.

hint: Build failures usually indicate a problem with the package
"""


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (UV_SAYS, "psycopg2 2.9.9 cannot be built: Error: pg_config executable not found.; the host lacks it: as root, "
         "`apt-get install libpq-dev`, then deploy again"),
        ("error: No solution found when resolving\n  cause: Because x was not found in the package registry\n"
         "and you require x==1, we can conclude.\n\nhint: no",
         "Because x was not found in the package registry and you require x==1, we can conclude."),
        ("error: Failed to install cpython\n  cause: Failed to download `https://x.example/y`\n  cause: client error\n"
         "  cause: dns error\n  cause: Name or service not known",
         "Failed to download `https://x.example/y`: Name or service not known"),
        ("Looking\nERROR: No matching distribution found for x==1\n", "No matching distribution found for x==1"),
        ("", "it said nothing"),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_its_cause(said: str, sentence: str) -> None:
    assert explain.sentence(said) == sentence


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Traceback\n  x\nKeyError: 'SECRET_KEY'\n", "SECRET_KEY"),
        ("decouple.UndefinedValueError: DEBUG not found. Declare it as envvar", "DEBUG"),
        ("django.core.exceptions.ImproperlyConfigured: Set the DATABASE_URL environment variable", "DATABASE_URL"),
        ("django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.", "SECRET_KEY"),
        ("ModuleNotFoundError: No module named 'x'", ""),
        ("KeyError: 'lower'", ""),
    ],
)
def test_settings_that_want_a_variable_name_it(said: str, name: str) -> None:
    """Without static files a Django site is served bare, and nobody is told."""
    assert unset.variable(said).partition("=")[0] == name


def test_uv_uses_the_index_that_root_gave_pip(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nextra-index-url =\n  https://a.example\n  https://b.example\n"
        "find-links = /opt/wheels\n[install]\ntrusted-host = mirror.example\n"
    )
    assert hostindex.variables((str(tmp_path / "missing"), str(tmp_path / "pip.conf"))) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_FIND_LINKS": "/opt/wheels",
        "UV_INSECURE_HOST": "mirror.example",
    }
