"""The apps that are measured, and what a person would type to run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).with_name("apps")
PIP = ".venv/bin/pip --quiet --disable-pip-version-check install --requirement requirements.txt"


@dataclass(frozen=True)
class Subject:
    """`edited` is the file that holds the one line that changes; the commands are for a shell in the checkout."""

    name: str
    edited: str
    first_install: str
    install: str
    start: str
    warm_aim: float
    cold_aim: float = 1.15

    def edition(self, number: int) -> dict[str, str]:
        """The repository's files; every edition differs from the others in that one line."""
        directory = APPS / self.name
        paths = [path for path in sorted(directory.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
        texts = {str(path.relative_to(directory)): path.read_text() for path in paths}
        return texts | {self.edited: texts[self.edited].replace("edition 0", sign(number))}


def sign(number: int) -> str:
    """What a page of that edition contains."""
    return f"edition {number}."


SUBJECTS = [
    Subject(
        "static",
        edited="index.html",
        first_install=":",
        install=":",
        start="caddy file-server --root . --listen 127.0.0.1:$PORT",
        warm_aim=3,
    ),
    Subject(
        "flask",
        edited="app.py",
        first_install=f"python3 -m venv .venv && {PIP}",
        install=PIP,
        start=".venv/bin/gunicorn --bind 127.0.0.1:$PORT app:app",
        warm_aim=3,
    ),
    Subject("node", edited="server.js", first_install=":", install=":", start="node server.js", warm_aim=3),
    Subject(
        "django",
        edited="pages/views.py",
        first_install=f"python3 -m venv .venv && {PIP}",
        install=PIP,
        start=".venv/bin/gunicorn --bind 127.0.0.1:$PORT shop.wsgi",
        warm_aim=1.15,
    ),
]


def chosen(names: str | None) -> list[Subject]:
    known = {subject.name: subject for subject in SUBJECTS}
    wanted = list(known) if names is None else names.split(",")
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"--apps: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    return [known[name] for name in wanted]
