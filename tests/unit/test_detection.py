"""What a repository is taken for: users see it right after the import."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent.builder.detection import detect


def detected(files: dict[str, str]) -> dict[str, Any]:
    return detect(frozenset(files), files.get)


def package(**keys: Any) -> str:
    return json.dumps({"name": "x", **keys})


NEXT = package(dependencies={"next": "15", "react": "19"}, scripts={"build": "next build", "start": "next start"})


@pytest.mark.parametrize(
    ("lockfile", "manager"),
    [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("package-lock.json", "npm"), (None, "npm")],
)
def test_a_next_app_and_its_package_manager_by_lock_file(lockfile: str | None, manager: str) -> None:
    files = {"package.json": NEXT} | ({lockfile: ""} if lockfile else {})
    assert detected(files) == {
        "framework": "nextjs",
        "package_manager": manager,
        "lockfile": lockfile,
        "build_profile": "node",
        "dockerfile_present": False,
    }


def test_next_without_a_start_script_is_not_called_an_app_of_it() -> None:
    assert detected({"package.json": package(dependencies={"next": "15"})})["framework"] == "node"


@pytest.mark.parametrize(
    ("files", "framework", "profile"),
    [
        ({"package.json": package(dependencies={"express": "5"})}, "express", "node"),
        ({"package.json": package(devDependencies={"vite": "7"})}, "vite", "node"),
        ({"package.json": package()}, "node", "node"),
        ({"requirements.txt": "# web\nDjango>=5\ngunicorn"}, "django", "python"),
        ({"requirements.txt": "", "manage.py": ""}, "django", "python"),
        ({"requirements.txt": "fastapi[standard]==0.1\nuvicorn"}, "fastapi", "python"),
        ({"requirements.txt": "flask"}, "flask", "python"),
        ({"requirements.txt": "flask-cors"}, "python", "python"),
        ({"pyproject.toml": '[project]\ndependencies = ["Flask>=3"]'}, "flask", "python"),
        ({"pyproject.toml": '[tool.poetry.dependencies]\nfastapi = "^0.1"'}, "fastapi", "python"),
        ({"requirements.txt": "flask", "package.json": package(devDependencies={"vite": "7"})}, "flask", "python"),
        ({"index.html": ""}, "static", "static"),
        ({"public": ""}, "static", "static"),
        ({"README.md": ""}, "unknown", "unknown"),
        ({}, "unknown", "unknown"),
    ],
)
def test_frameworks(files: dict[str, str], framework: str, profile: str) -> None:
    found = detected(files)
    assert (found["framework"], found["build_profile"]) == (framework, profile)


def test_a_dockerfile_is_mentioned_and_nothing_more() -> None:
    assert detected({"Dockerfile": "FROM x"})["dockerfile_present"] is True


@given(
    st.dictionaries(st.sampled_from(["package.json", "requirements.txt", "pyproject.toml", "Dockerfile"]), st.text())
)
def test_no_content_breaks_the_import(files: dict[str, str]) -> None:
    found = detected(files)
    assert set(found) == {"framework", "package_manager", "lockfile", "build_profile", "dockerfile_present"}


@pytest.mark.parametrize("content", ["[]", "{", '{"scripts": [], "dependencies": "x"}', "null", "[" * 100_000])
def test_a_broken_package_json_is_still_a_node_repository(content: str) -> None:
    assert detected({"package.json": content})["framework"] == "node"
