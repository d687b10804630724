"""The build program: what a buildpack says and does ends up in the log and the result, whatever it is."""

import time
from pathlib import Path

import pytest

from rustploy_agent.builder import child
from tests.unit.programs import Workshop

pytestmark = pytest.mark.processes


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, tmp_path / "buildpacks")


def buildpack(workshop: Workshop, compile_: str, release: str = "echo 'default_process_types: {}'") -> None:
    for name, body in (("compile", compile_), ("release", release)):
        path = workshop.buildpacks / "test" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)


def test_a_build_leaves_its_procfile_its_release_and_its_size(workshop: Workshop) -> None:
    buildpack(workshop, 'head -c 100000 /dev/zero >"$1/out"', "echo 'default_process_types: {web: run}'")
    result = workshop.build({"Procfile": "web: mine\n"}, "test")
    assert (result["ok"], result["procfile"]) == (True, "web: mine\n")
    assert result["release"] == "default_process_types: {web: run}\n"
    assert result["bytes"] >= 100_000


def test_a_build_sees_a_plain_environment_and_no_secrets(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    buildpack(workshop, 'ls -A "$3" >"$1/env_dir"; env >"$1/environment"; umask >"$1/umask"; pwd >"$1/pwd"')
    assert workshop.build({}, "test")["ok"]
    environment = dict(line.split("=", 1) for line in (workshop.checkout / "environment").read_text().splitlines())
    assert set(environment) - {"PWD", "SHLVL", "_"} == {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "STACK",
        "CI",
        "RUSTPLOY_KEPT_SLUGS",
        "RUSTPLOY_REPOSITORY_DIR",
    }
    assert environment["HOME"] == str(workshop.root / "cache" / "home")
    assert (workshop.checkout / "env_dir").read_text() == ""
    assert (workshop.checkout / "umask").read_text() == "0022\n"
    assert (workshop.checkout / "pwd").read_text() == f"{workshop.checkout}\n"


def test_a_build_from_scratch_finds_nothing_that_an_earlier_one_left(workshop: Workshop) -> None:
    """Else who builds anew because a dependency was hostile builds with what it left."""
    buildpack(workshop, 'mkdir -p "$2/home/deep/er"; : >"$2/home/.npmrc"; ln -s /etc "$2/out"; chmod 0 "$2/home/deep"')
    assert workshop.build({}, "test")["ok"]
    buildpack(workshop, 'find "$2" >"$1/cache"')
    assert workshop.build({}, "test", empty_cache=True)["ok"]
    cache = workshop.root / "cache"
    assert (workshop.checkout / "cache").read_text().split() == [str(cache), f"{cache}/home"]


def test_a_failing_build_quotes_what_it_said_last(workshop: Workshop) -> None:
    buildpack(workshop, "echo one; echo '\033[31mERROR: no such package\033[0m' >&2; echo; exit 3")
    result = workshop.build({}, "test")
    assert (result["ok"], result["code"], result["exit_status"]) == (False, "build_failed", 3)
    assert result["message"] == "the build ended with 3; its last lines: one; ERROR: no such package"


def test_a_build_killed_by_a_signal_says_which(workshop: Workshop) -> None:
    buildpack(workshop, "kill -KILL $$")
    result = workshop.build({}, "test")
    assert (result["code"], result["exit_status"]) == ("build_failed", -9)
    assert "signal 9" in result["message"]


def test_a_build_that_hangs_ends_at_its_deadline_with_all_it_started(workshop: Workshop, tmp_path: Path) -> None:
    buildpack(workshop, f"(trap '' TERM; sleep 3; touch {tmp_path}/survived) & sleep 60")
    begun = time.monotonic()
    result = workshop.build({}, "test", timeout_seconds=1)
    assert result["code"] == "build_timeout"
    assert time.monotonic() - begun < 3
    time.sleep(3 - (time.monotonic() - begun) + 0.5)
    assert not (tmp_path / "survived").exists()


def test_a_build_that_leaves_a_process_behind_ends_all_the_same(workshop: Workshop) -> None:
    buildpack(workshop, "sleep 60 & echo started")
    begun = time.monotonic()
    assert workshop.build({}, "test")["ok"]
    assert time.monotonic() - begun < 10


def test_a_full_disk_is_told_from_a_broken_build(workshop: Workshop) -> None:
    buildpack(workshop, "echo 'cp: write error: No space left on device' >&2; exit 1")
    assert workshop.build({}, "test")["code"] == "disk_full"


@pytest.mark.parametrize("name", ["missing", "lib", None])
def test_an_unknown_buildpack_is_named_with_those_there_are(workshop: Workshop, name: str | None) -> None:
    buildpack(workshop, "true")
    (workshop.buildpacks / "lib").mkdir()
    result = workshop.build({}, name)
    assert result["code"] == "no_buildpack"
    assert name is None or ("there are: test" in result["message"] and name in result["message"])


def test_a_procfile_that_is_a_link_is_not_read(workshop: Workshop) -> None:
    buildpack(workshop, 'echo "web: secret" >"$1/other"; ln -s other "$1/Procfile"')
    result = workshop.build({}, "test")
    assert (result["code"], "secret" in str(result)) == ("build_failed", False)
    assert "Procfile" in result["message"]


def test_a_release_that_prints_without_end_or_fails_is_a_failed_build(workshop: Workshop) -> None:
    buildpack(workshop, "true", "head -c 100000 /dev/zero")
    assert workshop.build({}, "test")["code"] == "build_failed"
    buildpack(workshop, "true", "echo why >&2; exit 4")
    assert "why" in workshop.build({}, "test")["message"]


def lines_of(tmp_path: Path, script: str) -> list[str]:
    path = tmp_path / "script"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    lines: list[str] = []
    assert child.run([str(path)], {"PATH": "/usr/bin:/bin"}, time.monotonic() + 30, lines.append) == 0
    return lines


def test_output_arrives_line_by_line_in_order_whatever_the_bytes(tmp_path: Path) -> None:
    script = (
        r"printf 'a\nb'; printf ' c\n' >&2; printf 'bad \xff\xc3 utf-8 \xc3\xa4\n'; printf '10%%\r20%%\rdone\r\n\nend'"
    )
    assert lines_of(tmp_path, script) == ["a", "b c", "bad \ufffd\ufffd utf-8 ä", "done", "", "end"]


def test_a_line_without_end_is_cut_and_not_kept_in_memory(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo after")
    assert max(map(len, lines)) <= child.LONGEST_LINE
    assert "".join(lines) == "x" * 3_000_000 + "after"


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        (r"printf '10%%\r50%%\r100%%\r\n'", ["100%"]),
        (r"printf '10%%\r100%%\r\033[K\n'", ["100%"]),
        (r"printf '10%%\r100%%'", ["100%"]),
        (r"for i in $(seq 3000); do printf 'step %d\r' $i; done; echo done", ["done"]),
        (r"for i in $(seq 3000); do printf 'step %d\r' $i; done; printf '\n'", ["step 3000"]),
        (r"printf 'one\r\n \n\n'", ["one", " ", ""]),
    ],
)
def test_the_last_state_of_a_line_counts_however_long_it_was_redrawn(
    tmp_path: Path, script: str, lines: list[str]
) -> None:
    """Else a progress bar fills the log with all it ever showed."""
    assert lines_of(tmp_path, script) == lines


def test_a_hundred_thousand_lines_all_arrive(tmp_path: Path) -> None:
    assert lines_of(tmp_path, "seq 100000") == [str(number) for number in range(1, 100_001)]


KEPT = "00000000-0000-4000-8000-000000000009"


def test_what_a_build_shares_is_told_so_that_it_is_not_removed(workshop: Workshop) -> None:
    """Else the app would lose its packages when an old release is pruned."""
    buildpack(workshop, 'mkdir "$1/.rustploy"; echo "$RUSTPLOY_KEPT_SLUGS" >"$1/.rustploy/needs"')
    assert workshop.build({}, "test", kept_slugs=[KEPT])["needs_slugs"] == [KEPT]
    assert workshop.build({}, "test")["needs_slugs"] == []
    buildpack(workshop, f'mkdir "$1/.rustploy"; echo {KEPT} >"$1/.rustploy/needs"')
    assert workshop.build({}, "test")["code"] == "build_failed"


VARIABLES = {
    "VITE_API": "https://api.example.org",
    "NPM_TOKEN": "hunter2hunter2",
    "PATH": "/nowhere",
    "TWO": "a\nsecond line",
}


def test_a_build_gets_the_variables_that_are_for_it_as_environment_and_files(workshop: Workshop) -> None:
    """A front end built without its public variables calls nobody; PATH stays the platform's, or no build would run."""
    buildpack(workshop, 'cp -r "$3" "$1/env_dir"; env -0 >"$1/environment"; echo "$3" >"$1/where"')
    assert workshop.build({}, "test", environment=VARIABLES, hidden=["NPM_TOKEN"])["ok"]
    environment = (workshop.checkout / "environment").read_text().split("\0")
    assert {"VITE_API=https://api.example.org", "NPM_TOKEN=hunter2hunter2", "TWO=a\nsecond line"} <= set(environment)
    assert "PATH=/nowhere" not in environment
    assert {path.name: path.read_text() for path in (workshop.checkout / "env_dir").iterdir()} == VARIABLES
    assert not Path((workshop.checkout / "where").read_text().strip()).exists()


def test_a_secret_that_a_build_prints_is_neither_in_the_error_nor_in_the_log(workshop: Workshop) -> None:
    """Logs and last_error are for everybody with scope read, variables only for admins."""
    buildpack(workshop, 'echo "token is $NPM_TOKEN for $VITE_API; $TWO"; exit 1')
    result = workshop.build({}, "test", environment=VARIABLES, hidden=["NPM_TOKEN", "TWO"])
    assert result["message"].endswith("token is ******** for https://api.example.org; a; ********")


@pytest.mark.parametrize("environment", [{"A-B": "x"}, {"A": 1}, {"A": "x\0y"}, ["A"], {"A\n": "x"}])
def test_variables_that_are_none_end_the_job(workshop: Workshop, environment: object) -> None:
    buildpack(workshop, "true")
    with pytest.raises(AssertionError, match="environment: must be"):
        workshop.build({}, "test", environment=environment)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_procfile_is_read_as_its_editor_wrote_it(workshop: Workshop, encoding: str) -> None:
    """Windows' editors put a mark before the first word; `web` was not found behind it."""
    buildpack(workshop, 'cp "$1/Procfile" "$1/seen"')
    workshop.files = {"Procfile": "web: grün\n".encode(encoding)}
    result = workshop.build({}, "test")
    assert (result["ok"], result["procfile"]) == (True, "web: grün\n")
    assert (workshop.checkout / "seen").read_bytes() == "web: grün\n".encode()
