"""Finds the object that serves an app: which files may hold it, and what in their text names it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pyplan import texts

FIRST = ("wsgi.py", "asgi.py", "app.py", "main.py", "application.py", "server.py", "api.py", "run.py", "index.py")
DIRECTORIES = ("app", "src", "backend", "server", "api")
SKIPPED = frozenset(
    "tests test docs doc examples example scripts migrations alembic node_modules venv env static templates build dist "
    "conf etc".split()
)
ASGI_LIBRARIES = frozenset("fastapi starlette quart litestar sanic blacksheep python-fasthtml".split())
WSGI_LIBRARIES = frozenset("flask django bottle falcon pyramid dash".split())
ASGI = r"(?:FastAPI|Starlette|Quart|Litestar|Sanic|BlackSheep|ASGIApp|FastHTML|get_asgi_application|asgi\.App)"
WSGI = r"(?:Flask|APIFlask|Bottle|default_app|get_wsgi_application|falcon\.App|falcon\.API|WSGIApp)"
ASGI_IMPORT = re.compile(r"(?m)^\s*(?:from|import)\s+(?:fastapi|starlette|quart|litestar|sanic|blacksheep|fasthtml)\b")
NAMES = r"app|application|api|server"
DASH = re.compile(r"(?m)^(\w+)\s*(?::[^=\n]*)?=\s*(?:dash\.)?Dash\(")
FACTORY = re.compile(r"(?m)^(?:async\s+)?def\s+(create_app|make_app|get_app|create_application)\(([^)]*)\)")
PORT = re.compile(r"(?:environ(?:\.get)?|getenv)\s*[\[(]\s*[\"']PORT[\"']")
MAIN = re.compile(r"(?m)^if __name__ == |\.(?:run|listen|serve_forever|run_app)\(|^(?:uvicorn|bottle)\.run\(|^run\(")
IMPORTED = re.compile(r"(?m)^from\s+[\w.]+\s+import\s+(?:.*\bas\s+)?(app|application)\b")


class Found(NamedTuple):
    """`target` is module:object below `directory`; `kind` is wsgi, asgi, factory or asgi-factory."""

    target: str
    kind: str
    directory: str
    file: str


def find(root: str, names: frozenset[str]) -> Found | None:
    """The first file in the order of FIRST, then of other files and directories, that holds an object to serve."""
    for file in files(root):
        text = texts.read(root, file)
        spotted = text and spot(text, names, file.rpartition("/")[2] in (*FIRST, "__init__.py"))
        if text and spotted:
            directory, module = place(root, file, text)
            return Found(f"{module}:{spotted[0]}", spotted[1], directory, file)
    return None


def script(root: str) -> str | None:
    """A program at the top that runs a server by itself, at the port that its environment names."""
    for file in files(root):
        text = "/" not in file and texts.read(root, file)
        if text and PORT.search(text) and MAIN.search(text):
            return file
    return None


def files(root: str) -> list[str]:
    """Python files that may hold it, the likely ones first."""
    top = _python_files(root, ".")
    found = [name for name in FIRST if name in top]
    found += [name for name in top if name not in FIRST and not name.startswith(("test", "setup", "conftest", "__"))]
    directories = [name for name in DIRECTORIES if os.path.isdir(f"{root}/{name}")]
    directories += [name for name in _directories(root, ".") if name not in directories]
    # A package in src/ is as likely as one at the top.
    directories += [f"src/{name}" for name in _directories(root, "src")]
    for directory in directories:
        inner = _python_files(root, directory)
        found += [f"{directory}/{name}" for name in (*FIRST, "__init__.py") if name in inner]
    return found


def spot(text: str, names: frozenset[str], likely: bool) -> tuple[str, str] | None:
    """(object, kind) in a module's text. In unlikely files only a known framework's object counts."""
    for kind, framework in (("asgi", ASGI), ("wsgi", WSGI)):
        made = re.search(rf"(?m)^(\w+)\s*(?::[^=\n]*)?=\s*(?:[A-Za-z_][\w.]*\.)?{framework}\s*\(", text)
        if made and not (kind == "wsgi" and DASH.search(text)):
            wrapped = re.search(
                rf"(?m)^({NAMES})\s*=\s*(?:\w+\.)?(?:ASGIApp|WSGIApp|WsgiToAsgi|\w+Middleware)\s*\(", text
            )
            asgi = kind == "asgi" or (wrapped and "Asgi" in wrapped[0])
            return (wrapped or made)[1], "asgi" if asgi else "wsgi"
    fast = re.search(r"(?m)^(app)\s*,.*=\s*fast_app\(", text)
    if fast:
        return fast[1], "asgi"
    dash = DASH.search(text)
    if dash:
        served = re.search(rf"(?m)^(\w+)\s*=\s*{dash[1]}\.server\b", text)
        return (served[1] if served else f"{dash[1]}.server"), "wsgi"
    if not likely:
        return None
    return _likely(text, names)


def _likely(text: str, names: frozenset[str]) -> tuple[str, str] | None:
    kind = "asgi" if is_asgi(text, names) else "wsgi"
    given = re.search(rf"(?m)^({NAMES})\s*(?::[^=\n]*)?=(?!=)\s*(?!None\b)", text) or IMPORTED.search(text)
    if given:
        return given[1], kind
    for pattern, called in ((r"(?m)^def (app|application)\(environ", "wsgi"),
                            (r"(?m)^async def (app|application)\(scope", "asgi")):  # fmt: skip
        function = re.search(pattern, text)
        if function:
            return function[1], called
    factory = FACTORY.search(text)
    if factory and not required_arguments(factory[2]):
        return factory[1], "factory" if kind == "wsgi" else "asgi-factory"
    return None


def required_arguments(arguments: str) -> bool:
    """Whether a function cannot be called without any."""
    flat = re.sub(r"\[[^\]]*\]", "", arguments)
    named = [part.strip() for part in flat.split(",") if part.strip() not in ("", "*", "/")]
    return any("=" not in part and not part.startswith("*") for part in named)


def is_asgi(text: str, names: frozenset[str]) -> bool:
    """By what the module imports, else by the requirements when only ASGI frameworks are among them."""
    if ASGI_IMPORT.search(text):
        return True
    if re.search(r"(?m)^\s*(?:from|import)\s+(?:flask|django|bottle|falcon|pyramid|dash)\b", text):
        return False
    return bool(names & ASGI_LIBRARIES) and not names & WSGI_LIBRARIES


def place(root: str, file: str, text: str) -> tuple[str, str]:
    """(directory to run in, module): as the file's own imports expect it."""
    path = file.removesuffix(".py").removesuffix("/__init__")
    top, _, rest = path.partition("/")
    if not rest and not file.endswith("__init__.py"):
        return ".", path
    if not rest or _imports_from(text, top):
        return ".", path.replace("/", ".")
    if top == "src" and not os.path.isfile(f"{root}/src/__init__.py") and not ("/" not in rest and _relative(text)):
        return top, rest.replace("/", ".")
    imported = re.findall(r"(?m)^\s*(?:from|import)\s+(\w+)", text)
    inner, outer = f"{root}/{path.rpartition('/')[0]}", root
    beside = [name for name in imported if _is_module(inner, name) and not _is_module(outer, name)]
    if beside and not _relative(text):
        return path.rpartition("/")[0], path.rpartition("/")[2]
    return ".", path.replace("/", ".")


def _imports_from(text: str, package: str) -> bool:
    return bool(re.search(rf"(?m)^\s*(?:from|import)\s+{re.escape(package)}\b", text))


def _relative(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*from\s+\.", text))


def _is_module(directory: str, name: str) -> bool:
    return os.path.isfile(f"{directory}/{name}.py") or os.path.isdir(f"{directory}/{name}")


def _python_files(root: str, directory: str) -> list[str]:
    try:
        with os.scandir(f"{root}/{directory}") as entries:
            return sorted(
                entry.name for entry in entries if entry.name.endswith(".py") and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []


def _directories(root: str, directory: str) -> list[str]:
    try:
        with os.scandir(f"{root}/{directory}") as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if name.isidentifier() and name not in SKIPPED)
