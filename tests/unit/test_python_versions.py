"""Which Python an app gets: the wrong one does not start it, and a misread one refuses it."""

from pathlib import Path

import pytest

from tests.unit.pyplan import module, written

asked, versions = module("asked"), module("versions")
Wrong = module("wrong").Wrong


@pytest.mark.parametrize(
    ("text", "host_fits", "chosen"),
    [
        ("3", True, "3.13"),
        ("3.11", True, "3.11"),
        ("3.12.x", False, "3.12"),
        ("3.12.*", False, "3.12"),
        (">=3.10,<3.13", True, "3.12"),
        (">=3.10 <3.13", True, "3.12"),
        (">= 3.12", False, "3.13"),
        ("^3.8", True, "3.13"),
        ("~3.10", False, "3.10"),
        ("~=3.12.0", False, "3.12"),
        ("~=3.10", True, "3.13"),
        ("==3.12.*", False, "3.12"),
        ("==3.10.4", False, "3.10.4"),
        ("!=3.11.*", False, "3.13"),
        ("^3.8 || ^3.12", True, "3.13"),
        ("cpython@3.12", False, "3.12"),
        ("python-3.12", False, "3.12"),
        ("3.14-dev", False, "3.14"),
        ("<=3.11", True, "3.11"),
        (">3.11", True, "3.13"),
        ("*", True, "3.13"),
        (">=3.14", False, "3.14"),
        (">=3.8.0rc1", True, "3.13"),
    ],
)
def test_spellings_of_versions_and_ranges(text: str, host_fits: bool, chosen: str) -> None:
    alternatives = versions.parse(text)
    assert versions.fits(alternatives, (3, 11, 2)) is host_fits
    assert versions.choose(alternatives) == chosen


@pytest.mark.parametrize("text", ["", "latest", "3.x.y.z!", "3.13t", "three"])
def test_what_is_no_version_is_no_range_either(text: str) -> None:
    with pytest.raises(ValueError):
        versions.parse(text)


@pytest.mark.parametrize(
    ("files", "specifier"),
    [
        ({}, ""),
        ({".python-version": "3.12.1\n"}, "3.12"),
        ({".python-version": b"\xef\xbb\xbf3.11\n"}, ""),
        ({".python-version": "3.11\r\n".encode("utf-16")}, ""),
        ({".python-version": "# mine\n\n3.11.9 3.12.1\n"}, ""),
        ({".python-version": "3.12.1/envs/blog"}, "3.12"),
        ({".python-version": "blog-env\n"}, ""),
        ({"runtime.txt": "python-3.11.2\r\n"}, ""),
        ({"runtime.txt": "python-3.9.x"}, "3.9"),
        ({"Pipfile": '[requires]\npython_version = "3.12"'}, "3.12"),
        ({"Pipfile": '[requires]\npython_full_version = "3.11.7"'}, ""),
        ({".tool-versions": "nodejs 20\npython 3.12.4\n"}, "3.12"),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.12"'}, "3.13"),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.9,<3.12"'}, ""),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "~3.10"'}, "3.10"),
        ({"pyproject.toml": "[project]", "uv.lock": 'version = 1\nrequires-python = "==3.12.*"'}, "3.12"),
        ({"setup.cfg": "[options]\npython_requires = >=3.12\n"}, "3.13"),
        ({"setup.py": "setup(python_requires='<3.10')"}, "3.9"),
        # A pin is more than a range.
        ({".python-version": "3.12", "pyproject.toml": '[project]\nrequires-python = ">=3.9"'}, "3.12"),
    ],
)
def test_every_place_that_may_name_a_version(tmp_path: Path, files: dict[str, str | bytes], specifier: str) -> None:
    assert asked.choose(written(tmp_path, files), "3.11.2").specifier == specifier


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"runtime.txt": "python-2.7.18"}, "runtime.txt asks for Python python-2.7.18; the host has 3.11"),
        ({".python-version": "pypy3.10-7.3"}, "only CPython"),
        ({".python-version": "3.13t!"}, ".python-version must name a version such as 3.11"),
        ({"pyproject.toml": "[project"}, "not valid TOML"),
    ],
)
def test_what_cannot_be_had_is_said_with_what_would_be_right(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong, match=says.replace(".", r"\.")):
        asked.choose(written(tmp_path, files), "3.11.2")  # type: ignore[arg-type]
