"""How the web process starts when no Procfile says so: which object, and which production server runs it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pyplan import candidates, texts

SERVERS = {"wsgi": ("waitress", "gunicorn"), "asgi": ("uvicorn", "hypercorn", "daphne")}
LISTEN = "127.0.0.1:$PORT"
STREAMLIT_FILES = (
    "streamlit_app.py",
    "app.py",
    "main.py",
    "Home.py",
    "home.py",
    "Hello.py",
    "src/app.py",
    "src/main.py",
)


class Entry(NamedTuple):
    """`server` runs it, `what` says it to people; all are empty when nothing is found."""

    command: str
    server: str
    what: str
    framework: str | None
    warnings: tuple[str, ...]


NOTHING = Entry("", "", "", None, ())


def choose(root: str, names: frozenset[str]) -> Entry:
    """The start of the app. `names` are the distributions that will be there."""
    found = django(root, names)
    if found is None and names & {"streamlit", "gradio"}:
        script = _script(root, names)
        if script:
            return script
    found = found or candidates.find(root, names)
    if found is None:
        script = candidates.script(root)
        if script:
            return Entry(f"exec python '{script}'", "", f"{script}, which listens at PORT itself", None, ())
        return NOTHING._replace(warnings=(_advice(root),))
    server = _server("asgi" if found.kind.startswith("asgi") else "wsgi", names)
    line = _command(found, server)
    if server == "waitress":
        up = "../" * len(found.directory.split("/")) if found.directory != "." else ""
        line = line.replace("exec ", f"exec {up}.venv/bin/python {up}.rustploy/serve.py ", 1)
    if found.directory != ".":
        line = f"cd '{found.directory}' && {line}"
    inside = "" if found.directory == "." else f" in {found.directory}"
    return Entry(line, server, f"{found.target} with {server}{inside}", None, ())


def django(root: str, names: frozenset[str]) -> candidates.Found | None:
    """The project of a manage.py, at the top or one directory below."""
    directory = django_directory(root)
    if directory is None:
        return None
    top = root if directory == "." else f"{root}/{directory}"
    settings = re.search(r"DJANGO_SETTINGS_MODULE[\"', ]+([A-Za-z0-9_.]+)", texts.read(top, "manage.py") or "")
    packages: list[str] = []
    parts = settings[1].split(".") if settings else []
    while len(parts) > 1:
        parts = parts[:-1]
        packages.append("/".join(parts))
    packages += candidates._directories(top, ".")
    asgi = bool(names & {"channels", "daphne"})
    for package in packages:
        for kind in ("asgi", "wsgi") if asgi else ("wsgi", "asgi"):
            if os.path.isfile(f"{top}/{package}/{kind}.py"):
                return candidates.Found(f"{package.replace('/', '.')}.{kind}:application", kind, directory, "manage.py")
    return None


def django_directory(root: str) -> str | None:
    """Where manage.py lies."""
    for directory in (".", "src", "backend", *candidates._directories(root, ".")):
        text = texts.read(root, f"{directory}/manage.py")
        if text is not None and (directory == "." or "django" in text.lower()):
            return directory
    return None


def _server(kind: str, names: frozenset[str]) -> str:
    """The one that the requirements name, else the first."""
    return next((server for server in SERVERS[kind] if server in names), SERVERS[kind][0])


def _command(found: candidates.Found, server: str) -> str:
    """One process with threads: the least memory. WEB_CONCURRENCY asks gunicorn and uvicorn for more."""
    factory = found.kind.endswith("factory")
    target = found.target
    if server == "waitress":
        call = "--call " if factory else ""
        return f"exec --listen={LISTEN} {call}{target}"
    if server == "gunicorn":
        return f"exec gunicorn --bind={LISTEN} --threads=8 '{target}{'()' if factory else ''}'"
    if server == "uvicorn":
        return f"exec uvicorn --host=127.0.0.1 --port=$PORT {'--factory ' if factory else ''}{target}"
    if server == "daphne":
        return f"exec daphne -b 127.0.0.1 -p $PORT {target}"
    return f"exec hypercorn --bind={LISTEN} '{target}{'()' if factory else ''}'"


def _script(root: str, names: frozenset[str]) -> Entry | None:
    """Streamlit and Gradio apps are scripts that bring their own server."""
    tops = [name for name in candidates._python_files(root, ".") if name not in STREAMLIT_FILES]
    for library in ("streamlit", "gradio"):
        if library not in names:
            continue
        for file in (*STREAMLIT_FILES, *tops):
            text = texts.read(root, file) or ""
            if not re.search(rf"(?m)^\s*(?:import|from)\s+{library}\b", text):
                continue
            if library == "streamlit":
                options = "--server.address=127.0.0.1 --server.headless=true --browser.gatherUsageStats=false"
                return Entry(
                    f"exec streamlit run '{file}' --server.port=$PORT {options}",
                    "",
                    f"{file} with streamlit",
                    library,
                    (),
                )
            if re.search(r"\.launch\(", text):
                variables = "GRADIO_SERVER_NAME=127.0.0.1 GRADIO_SERVER_PORT=$PORT GRADIO_ANALYTICS_ENABLED=False"
                return Entry(f"exec env {variables} python '{file}'", "", f"{file} with gradio", library, ())
    return None


def _advice(root: str) -> str:
    """What to write when nothing was recognised."""
    for file in candidates.files(root):
        factory = candidates.FACTORY.search(texts.read(root, file) or "")
        if factory:
            return (
                f"no start command: {factory[1]} in {file} needs arguments; add a file wsgi.py that calls it and "
                "names the result app, or a Procfile with a line `web: <command>`"
            )
    return (
        "no start command: no Procfile, no Django project, and no app object in "
        f"{', '.join(candidates.FIRST[:6])}, in app/ or in src/; add a Procfile with a line `web: <command>`"
    )
