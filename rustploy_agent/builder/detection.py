"""Which framework a repository uses, from the names at its top and a few small files. Pure; runs nothing of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from typing import Any

Read = Callable[[str], str | None]

#: In the order of buildpacks/node/lib/nodeplan/managers.py; a test compares them.
LOCKFILES = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("npm-shrinkwrap.json", "npm"),
    ("package-lock.json", "npm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
)
PACKAGE_MANAGER = re.compile(r"(npm|pnpm|yarn|bun)@v?\d")
PYTHON_LOCKFILES = (("uv.lock", "uv"), ("poetry.lock", "poetry"), ("Pipfile.lock", "pipenv"))
#: First match wins: a framework before the library that it is built on.
NODE_FRAMEWORKS = (
    ("nuxt", "nuxt"),
    ("@sveltejs/kit", "sveltekit"),
    ("@remix-run/serve", "remix"),
    ("@remix-run/react", "remix"),
    ("@react-router/dev", "react-router"),
    ("astro", "astro"),
    ("@angular/core", "angular"),
    ("@solidjs/start", "solidstart"),
    ("gatsby", "gatsby"),
    ("@docusaurus/core", "docusaurus"),
    ("@11ty/eleventy", "eleventy"),
    ("react-scripts", "create-react-app"),
    ("@vue/cli-service", "vue-cli"),
    ("@nestjs/core", "nestjs"),
    ("fastify", "fastify"),
    ("koa", "koa"),
    ("hono", "hono"),
    ("express", "express"),
    ("vite", "vite"),
)
PYTHON_FRAMEWORKS = ("django", "fastapi", "starlette", "quart", "litestar", "flask", "bottle", "falcon", "pyramid")
GO_FRAMEWORKS = (
    ("github.com/gin-gonic/gin", "gin"),
    ("github.com/labstack/echo", "echo"),
    ("github.com/gofiber/fiber", "fiber"),
    ("github.com/go-chi/chi", "chi"),
)
STATIC_ROOTS = ("public", "dist", "_site", "www")
PYTHON_FILES = ("requirements.txt", "pyproject.toml", "Pipfile", "setup.py")
REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
#: A module that go.mod requires, without the suffix of its major version.
GO_REQUIREMENT = re.compile(r"(?m)^(?:require)?\s+([a-z0-9.-]+\.[a-z]+/[^\s/]+/[^\s/]+)(?:/v\d+)?\s+v")
QUOTED_REQUIREMENT = re.compile(r"""["']([A-Za-z0-9][A-Za-z0-9._-]*)""")


def detect(names: Set[str], read: Read) -> dict[str, Any]:
    """The contract's Detection object. `names`: what lies at the top; `read` gives a file's text, or None."""
    if {"go.mod", "main.go"} & names:
        found = _go(names, read)
    elif "package.json" in names and not _python_first(names):
        found = _node(names, read)
    elif any(name in names for name in PYTHON_FILES):
        found = _python(names, read)
    elif "index.html" in names or any(name in names for name in STATIC_ROOTS):
        found = _detection("static", "none", None, "static")
    else:
        found = _detection("unknown", "none", None, "unknown")
    return found | {"dockerfile_present": "Dockerfile" in names}


def _go(names: Set[str], read: Read) -> dict[str, Any]:
    required = set(GO_REQUIREMENT.findall(read("go.mod") or ""))
    framework = next((name for module, name in GO_FRAMEWORKS if module in required), "go")
    return _detection(framework, "go", "go.sum" if "go.sum" in names else None, "go")


def _python_first(names: Set[str]) -> bool:
    """In the buildpacks' order: requirements.txt makes a Python app, package.json beside it builds its assets."""
    return "requirements.txt" in names


def _node(names: Set[str], read: Read) -> dict[str, Any]:
    package = _json_object(read("package.json"))
    lockfile, manager = _package_manager(package, names)
    dependencies = _keys(package.get("dependencies")) | _keys(package.get("devDependencies"))
    if "next" in dependencies and {"build", "start"} <= _keys(package.get("scripts")):
        return _detection("nextjs", manager, lockfile, "node")
    framework = next((name for dependency, name in NODE_FRAMEWORKS if dependency in dependencies), "node")
    return _detection(framework, manager, lockfile, "node")


def _package_manager(package: dict[str, Any], names: Set[str]) -> tuple[str | None, str]:
    """The lock file and its tool; packageManager decides where it names one."""
    match = PACKAGE_MANAGER.match(str(package.get("packageManager", "")))
    volta = package.get("volta") if isinstance(package.get("volta"), dict) else {}
    asked = match[1] if match else next((tool for tool in ("pnpm", "yarn") if tool in _keys(volta)), None)
    found = next(((file, tool) for file, tool in LOCKFILES if file in names and asked in (None, tool)), None)
    return found or (None, asked or "npm")


def _python(names: Set[str], read: Read) -> dict[str, Any]:
    lockfile, manager = next(((file, tool) for file, tool in PYTHON_LOCKFILES if file in names), (None, "pip"))
    required = {
        _normal(name) for line in (read("requirements.txt") or "").splitlines() for name in REQUIREMENT.findall(line)
    }
    if "requirements.txt" not in names:
        text = (read("pyproject.toml") or "") + (read("Pipfile") or "")
        required = {
            _normal(name) for name in QUOTED_REQUIREMENT.findall(text) + re.findall(r"(?m)^([A-Za-z0-9._-]+)\s*=", text)
        }
    if "manage.py" in names:
        required.add("django")
    framework = next((name for name in PYTHON_FRAMEWORKS if name in required), "python")
    return _detection(framework, manager, lockfile, "python")


def _detection(framework: str, package_manager: str, lockfile: str | None, build_profile: str) -> dict[str, Any]:
    return {
        "framework": framework,
        "package_manager": package_manager,
        "lockfile": lockfile,
        "build_profile": build_profile,
    }


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _keys(value: object) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
