"""Requirements files are read as pip reads them; a file that is overlooked leaves old packages in a healthy release."""

from pathlib import Path

import pytest

from tests.unit.pyplan import module, written

requirements, sources = module("requirements"), module("sources")
Wrong = module("wrong").Wrong


def collected(directory: Path, files: dict[str, str | bytes], web: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    found = requirements.Requirements(written(directory, files), (web or {}).__getitem__)
    found.add("requirements.txt")
    return found


@pytest.mark.parametrize(
    "first",
    [
        "-r base.txt\nwaitress",
        " -r base.txt\nwaitress",
        b"\xef\xbb\xbf-r base.txt\r\nwaitress\r\n",
        "-r base.txt\r\nwaitress\r\n".encode("utf-16"),
        "-r base.txt\nwaitress".encode("utf-16-be").join([b"\xfe\xff", b""]),
        "-r \\\nbase.txt\nwaitress",
        "-r base.txt # pinned\n\n# alone\nwaitress",
        '-r "base.txt"\nwaitress',
        "--requirement=base.txt\nwaitress",
        "-rbase.txt\nwaitress",
        "# -*- coding: latin-1 -*-\n# \xe9\n-r base.txt\nwaitress".encode("latin-1"),
    ],
)
def test_an_included_file_is_found_in_every_spelling(tmp_path: Path, first: str | bytes) -> None:
    found = collected(tmp_path, {"requirements.txt": first, "base.txt": "itsdangerous==2.1.2\r\n"})
    assert found.lines == ["itsdangerous==2.1.2", "waitress"]
    assert found.pins == {"itsdangerous": "2.1.2"}
    assert not found.local


def test_includes_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "requirements.txt": "-r deploy/prod.txt",
        "deploy/prod.txt": "-r common.txt\n-c ../limits.txt",
        "deploy/common.txt": "flask",
        "limits.txt": "werkzeug<3",
    }
    found = collected(tmp_path, files)
    assert (found.lines, found.constraints, found.names) == (["flask"], ["werkzeug<3"], {"flask"})


def test_files_behind_urls_count_as_well(tmp_path: Path) -> None:
    web = {"http://files.example/a/more.txt": "-r deeper.txt\nx==1", "http://files.example/a/deeper.txt": "y"}
    found = collected(tmp_path, {"requirements.txt": "-r http://files.example/a/more.txt"}, web)
    assert found.lines == ["y", "x==1"]
    found = collected(tmp_path, {"requirements.txt": "-c http://files.example/a/more.txt\nz"}, web)
    assert (found.lines, found.constraints) == (["z"], ["y", "x==1"])


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("libs/mylib", "{root}/libs/mylib"),
        ("./libs/mylib[extra]", "{root}/libs/mylib[extra]"),
        ("-e libs/mylib", "-e {root}/libs/mylib"),
        ("--editable=./libs/mylib", "-e {root}/libs/mylib"),
        ("-e .", "-e {root}"),
        (".", "{root}"),
        ("file:libs/mylib", "{root}/libs/mylib"),
        ("mylib @ file:./libs/mylib", "mylib @ file://{root}/libs/mylib"),
        ("./libs/mylib ; python_version > '3'", "{root}/libs/mylib ; python_version > '3'"),
    ],
)
def test_what_lies_in_the_repository_is_installed_anew_each_time(tmp_path: Path, line: str, becomes: str) -> None:
    found = collected(tmp_path, {"requirements.txt": line, "libs/mylib/setup.py": ""})
    assert found.lines == [becomes.format(root=tmp_path)]
    assert found.local


@pytest.mark.parametrize(
    "line",
    [
        "mylib",
        "name @ https://files.example/x.whl",
        "git+https://git.example/x.git@main#egg=x",
        "https://files.example/x.tar.gz",
    ],
)
def test_what_only_looks_like_a_path_is_left_as_it_is(tmp_path: Path, line: str) -> None:
    found = collected(tmp_path, {"requirements.txt": line, "mylib/setup.py": ""})
    assert (found.lines, found.local) == ([line], False)


def test_options_hold_as_for_pip(tmp_path: Path) -> None:
    text = (
        "-i https://index.example/simple\n--extra-index-url https://more.example/simple\n--pre\n"
        "--trusted-host more.example\n--no-binary lxml,pillow\n--prefer-binary\n-f wheels\n"
        "flask==3.0 \\\n  --hash=sha256:aa \\\n  --hash sha256:bb\n"
        "-e git+https://git.example/x.git#egg=x\n"
    )
    found = collected(tmp_path, {"requirements.txt": text, "wheels/x.whl": ""})
    assert found.lines == [
        "--index-url https://index.example/simple",
        "--extra-index-url https://more.example/simple",
        "--no-binary lxml",
        "--no-binary pillow",
        f"--find-links {tmp_path}/wheels",
        "flask==3.0 --hash=sha256:aa --hash=sha256:bb",
        "git+https://git.example/x.git#egg=x",
    ]
    assert (found.pre, found.hashed, found.trusted) == (True, True, ["more.example"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-r missing.txt", "missing.txt is named"),
        ("-r requirements.txt", "include each other"),
        ("-r ../../etc/passwd", "is named in a requirements file but is not in the repository"),
        ("../outside", "leads out of the repository"),
        ("./missing", "is not in the repository"),
        ("--no-such-option x", "no-such-option"),
        ('-r "unfinished', "No closing quotation"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Wrong, match=says):
        collected(tmp_path, {"requirements.txt": text})


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("base.txt", "itsdangerous==2.1.2", "itsdangerous==2.2.0"),
        ("limits.txt", "werkzeug<3", "werkzeug<4"),
        ("requirements.txt", "-r base.txt\n-c limits.txt", "-r base.txt\n-c limits.txt\nflask"),
    ],
)
def test_the_key_of_kept_packages_changes_with_every_file(tmp_path: Path, file: str, before: str, after: str) -> None:
    files: dict[str, str | bytes] = {
        "requirements.txt": b"\xef\xbb\xbf-r base.txt\n-c limits.txt",
        "base.txt": "itsdangerous==2.1.2",
        "limits.txt": "werkzeug<3",
    }
    first = sources.find(written(tmp_path, files | {file: before})).key
    assert sources.find(written(tmp_path, files | {file: before})).key == first
    assert sources.find(written(tmp_path, files | {file: after})).key != first


def test_a_link_out_of_the_repository_is_not_read(tmp_path: Path) -> None:
    """A requirements file may not show a build what only the host may read."""
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden==1")
    root = tmp_path / "repository"
    root.mkdir()
    (root / "requirements.txt").symlink_to(secret)
    with pytest.raises(Wrong, match="not in the repository"):
        requirements.Requirements(str(root)).add("requirements.txt")


def test_an_app_in_one_directory_may_use_another_of_its_repository(tmp_path: Path) -> None:
    checkout = tmp_path / "slugs" / "00000000-0000-4000-8000-000000000001" / "app"
    written(checkout, {"libs/mylib/setup.py": "", "server/requirements.txt": "../libs/mylib"})
    found = requirements.Requirements(str(checkout / "server"))
    found.add("requirements.txt")
    assert found.lines == [f"{checkout}/libs/mylib"]
