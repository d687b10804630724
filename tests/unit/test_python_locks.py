"""A lock file is obeyed or refused: one that is passed over installs what nobody tested."""

import json
from pathlib import Path

import pytest

from tests.unit.pyplan import module, written

locked, pipfile, poetry = module("locked"), module("pipfile"), module("poetry")
sources, wheels = module("sources"), module("wheels")
Wrong = module("wrong").Wrong

POETRY = """
[tool.poetry]
name = "blog"
[tool.poetry.dependencies]
python = "^3.11"
flask = "^3.0"
uvicorn = {version = "*", extras = ["standard"]}
pywin32 = {version = "*", platform = "win32"}
colorama = {version = "^0.4", optional = true}
mine = {path = "libs/mine", develop = true}
other = {git = "https://git.example/other.git", tag = "v1"}
[tool.poetry.group.dev.dependencies]
pytest = "*"
"""
POETRY_LOCK = """
[[package]]
name = "flask"
version = "3.0.3"
files = [{file = "flask-3.0.3-py3-none-any.whl", hash = "sha256:aa"}, {file = "flask-3.0.3.tar.gz", hash = "sha256:bb"}]
[[package]]
name = "Jinja2"
version = "3.1.0"
files = [{file = "x.whl", hash = "sha256:cc"}]
[[package]]
name = "other"
version = "1.0"
files = []
[package.source]
type = "git"
url = "https://git.example/other.git"
reference = "v1"
resolved_reference = "abc123"
[metadata]
lock-version = "2.1"
"""


def test_what_a_poetry_lock_pins_is_a_constraint_of_the_resolution(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"pyproject.toml": POETRY, "poetry.lock": POETRY_LOCK, "libs/mine/setup.py": ""}
    found = sources.find(written(tmp_path, files))
    assert found.requirements.lines == [
        "flask>=3.0,<4",
        "uvicorn[standard]",
        "pywin32 ; sys_platform == 'win32'",
        f"-e {tmp_path}/libs/mine",
        "other @ git+https://git.example/other.git@abc123",
    ]
    assert found.requirements.constraints == ["flask==3.0.3", "jinja2==3.1.0"]
    assert (found.how, found.lockfile, found.local) == ("poetry", "poetry.lock", True)


def test_each_resolved_package_gets_the_hashes_of_the_lock(tmp_path: Path) -> None:
    root = written(tmp_path, {"poetry.lock": POETRY_LOCK})
    resolved = "--index-url https://index.example\nflask==3.0.3\njinja2==3.1\nother @ git+https://git.example/other.git@abc123\n"
    assert locked.join(root, "poetry.lock", resolved) == [
        "--index-url https://index.example",
        "flask==3.0.3 --hash=sha256:aa --hash=sha256:bb",
        "jinja2==3.1 --hash=sha256:cc",
        "other @ git+https://git.example/other.git@abc123",
    ]


@pytest.mark.parametrize("resolved", ["requests==2.0", "flask==3.0.4"])
def test_what_is_not_in_the_lock_is_refused(tmp_path: Path, resolved: str) -> None:
    with pytest.raises(Wrong, match="poetry.lock is out of step with pyproject.toml: .* run `poetry lock`"):
        locked.join(written(tmp_path, {"poetry.lock": POETRY_LOCK}), "poetry.lock", resolved)


def test_a_pdm_lock_is_read_alike(tmp_path: Path) -> None:
    lock = '[[package]]\nname = "a"\nversion = "1"\nfiles = [{file = "a.whl", hash = "sha256:aa"}]\n' * 2
    files: dict[str, str | bytes] = {"pyproject.toml": '[project]\ndependencies = ["a[x]>=1"]', "pdm.lock": lock}
    found = sources.find(written(tmp_path, files))
    assert (found.requirements.lines, found.requirements.constraints) == (["a[x]>=1"], ["a==1"])
    assert locked.join(str(tmp_path), "pdm.lock", "a==1") == ["a==1 --hash=sha256:aa"]


@pytest.mark.parametrize(
    ("constraint", "specifier"),
    [
        *(("^1.2", ">=1.2,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("~1.2.3", ">=1.2.3,<1.3")),
        *(
            ("~1", ">=1,<2"),
            ("1.2.*", "==1.2.*"),
            ("1.2.3", "==1.2.3"),
            ("*", ""),
            (">=1 <2", ">=1,<2"),
            ("^0", ">=0,<1"),
        ),
    ],
)
def test_versions_as_poetry_writes_them(constraint: str, specifier: str) -> None:
    assert poetry.specifier(constraint) == specifier


PIPFILE = (
    '[packages]\nflask = "*"\n[[source]]\nurl = "https://index.example/simple"\nverify_ssl = true\nname = "pypi"\n'
)


def test_a_pipfile_lock_is_installed_with_its_hashes(tmp_path: Path) -> None:
    about = {"version": "==3.0.3", "hashes": ["sha256:aa"], "markers": "python_version >= '3.8'", "extras": ["async"]}
    private = {"name": "mine", "url": "https://mine.example/simple", "verify_ssl": True}
    lock = {
        "_meta": {
            "hash": {"sha256": "0"},
            "sources": [{"name": "pypi", "url": "https://index.example/simple"}, private],
        },
        "default": {
            "flask": about,
            "lib": {"path": "./lib", "editable": True},
            "g": {"git": "https://g.example/g", "ref": "1"},
        },
        "develop": {"pytest": {"version": "==1"}},
    }
    files: dict[str, str | bytes] = {"Pipfile": PIPFILE, "Pipfile.lock": json.dumps(lock), "lib/setup.py": ""}
    found = sources.find(written(tmp_path, files))
    assert found.requirements.lines == [
        "--extra-index-url https://mine.example/simple",
        "flask[async]==3.0.3 ; python_version >= '3.8' --hash=sha256:aa",
        f"-e {tmp_path}/lib",
        "g @ git+https://g.example/g@1",
    ]
    assert "older than Pipfile" in found.notes[0]


def test_a_pipfile_lock_knows_its_pipfile(tmp_path: Path) -> None:
    """The hash is one that pipenv makes; whoever forgot `pipenv lock` is told."""
    text = (
        '[[source]]\nurl = "https://index.example/simple"\nverify_ssl = true\nname = "pypi"\n\n'
        '[packages]\nflask = "*"\n\n[dev-packages]\n\n[requires]\npython_version = "3"\n'
    )
    said = "d660b1d354f666cf6c75693bf4bdebfe7a4d71942e725b7cf4219d77ff96d259"
    files: dict[str, str | bytes] = {"Pipfile.lock": json.dumps({"_meta": {"hash": {"sha256": said}}})}
    assert pipfile.in_step(written(tmp_path, files | {"Pipfile": text}))
    assert not pipfile.in_step(written(tmp_path, files | {"Pipfile": text.replace("flask", "flask2")}))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"uv.lock": "", "poetry.lock": "", "pyproject.toml": "[project]"}, "two lock files, uv.lock and poetry.lock"),
        ({"uv.lock": ""}, "uv.lock needs the pyproject.toml"),
        ({"Pipfile.lock": "{", "Pipfile": ""}, "Pipfile.lock is no lock file of pipenv"),
        ({"poetry.lock": "package = 3", "pyproject.toml": "[tool.poetry]"}, "poetry.lock is no lock file"),
        ({"pyproject.toml": "[tool.ruff]"}, "nothing says which packages are needed"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(tmp_path: Path, files: dict[str, str | bytes], says: str) -> None:
    with pytest.raises(Wrong, match=says):
        sources.find(written(tmp_path, files))


@pytest.mark.parametrize(
    ("names", "file", "how", "manager"),
    [
        (["uv.lock", "requirements.txt", "pyproject.toml"], "uv.lock", "uv", "uv"),
        (["poetry.lock", "requirements.txt", "pyproject.toml"], "poetry.lock", "poetry", "poetry"),
        (["pylock.toml", "requirements.txt"], "pylock.toml", "pylock", "uv"),
        (["requirements.txt", "Pipfile", "pyproject.toml"], "requirements.txt", "requirements", "pip"),
        (["Pipfile", "setup.py"], "Pipfile", "pipenv", "pipenv"),
        (["setup.py"], "setup.py", "project", "pip"),
        (
            ["requirements/base.txt", "requirements/production.txt"],
            "requirements/production.txt",
            "requirements",
            "pip",
        ),
    ],
)
def test_one_file_holds(tmp_path: Path, names: list[str], file: str, how: str, manager: str) -> None:
    assert sources.choose(written(tmp_path, {name: "" for name in names})) == (file, how, manager)


def uv_lock(**packages: list[str]) -> str:
    text = '[[package]]\nname = "blog"\nsource = { virtual = "." }\ndependencies = ['
    text += ", ".join(f'{{ name = "{name}" }}' for name in packages if name != "unused") + "]\n"
    for name, files in packages.items():
        listed = ", ".join(f'{{ url = "https://files.example/{file}" }}' for file in files)
        text += f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ registry = "x" }}\nwheels = [{listed}]\n'
    return text


def wheel(name: str, tags: str) -> str:
    return f"{name}-1-{tags}.whl"


OLD = [
    wheel("old", f"cp3{minor}-cp3{minor}-manylinux_2_17_{machine}")
    for minor in (11, 12)
    for machine in ("x86_64", "aarch64")
]


@pytest.mark.parametrize(
    ("packages", "older"),
    [
        ({"old": OLD}, (12, ["old"])),
        ({"old": OLD, "pure": [wheel("pure", "py3-none-any")]}, (12, ["old"])),
        (
            {"old": OLD, "stable": [wheel("stable", "cp39-abi3-manylinux_2_17_x86_64.manylinux2014_aarch64")]},
            (12, ["old"]),
        ),
        ({"pure": [wheel("pure", "py2.py3-none-any")]}, None),
        ({"sdist": []}, None),
        ({"unused": OLD}, None),
        ({"windows": [wheel("windows", "cp311-cp311-win_amd64")]}, None),
    ],
)
def test_a_lock_without_wheels_for_this_python_has_an_older_one(
    tmp_path: Path, packages: dict[str, list[str]], older: tuple[int, list[str]] | None
) -> None:
    """Building psycopg2 or numpy from source ends most such deployments, for a missing header or after half an hour."""
    assert wheels.older(written(tmp_path, {"uv.lock": uv_lock(**packages)}), "uv.lock", 13) == older


def test_poetrys_groups_do_not_count(tmp_path: Path) -> None:
    file = "old-1-cp311-cp311-manylinux_2_17_x86_64.whl"
    lock = f'[[package]]\nname = "old"\nversion = "1"\ngroups = ["dev"]\nfiles = [{{file = "{file}", hash = "x"}}]\n'
    assert wheels.older(written(tmp_path, {"poetry.lock": lock}), "poetry.lock", 13) is None


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("[project]", False),
        ("[project]\n[build-system]", True),
        ("[project]\n[build-system]\n[tool.uv]\npackage = false", False),
        ("[tool.poetry]\npackage-mode = false\n[build-system]", False),
    ],
)
def test_whether_the_project_itself_is_installed(tmp_path: Path, text: str, package: bool) -> None:
    root = written(tmp_path, {"pyproject.toml": text})
    assert sources.is_package(root, module("texts").toml(root, "pyproject.toml")) is package
