"""Answers with the versions of a locked package, of the project itself, and of one that only developers want."""

import importlib.metadata


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("itsdangerous", "notes", "colorama")
    return [" ".join(f"{name} {version(name)}" for name in names).encode()]


def main():
    raise SystemExit("the command of the project")
