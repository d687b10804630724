"""The launcher: what the agent wrote is what the app's process gets, byte for byte, and nothing else happens."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustploy_agent import pipes, slots
from tests.unit.waiting import until

LAUNCH = Path(__file__).parents[2] / "units" / "launch"
PRINT = "exec /usr/bin/env --null"
pytestmark = pytest.mark.processes


def quoted(value: bytes) -> bytes:
    return b"'" + value.replace(b"'", b"'\\''") + b"'"


def launch(app: Path, command: str, env: dict[str, bytes] | None = None) -> subprocess.CompletedProcess[bytes]:
    lines = [b"export %s=%s\n" % (key.encode(), quoted(value)) for key, value in (env or {}).items()]
    lines += [b"rustploy_app_dir=%s\n" % quoted(bytes(app)), b"rustploy_command=%s\n" % quoted(command.encode())]
    slot = app.parent / "slot.env"
    slot.write_bytes(b"".join(lines))
    given_env = {"RUSTPLOY_SLOT_FILE": str(slot), "PATH": "/usr/bin:/bin"}
    return subprocess.run([LAUNCH], env=given_env, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)


def environment(output: bytes) -> dict[bytes, bytes]:
    return dict(entry.split(b"=", 1) for entry in output.split(b"\0") if entry)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "app with 'quotes' and $dollars"
    directory.mkdir()
    return directory


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
def test_any_text_arrives_unchanged(app: Path, text: str) -> None:
    """A password with a quote or a dollar sign in it must still be that password."""
    assert environment(launch(app, PRINT, {"VALUE": text.encode()}).stdout)[b"VALUE"] == text.encode()


@pytest.mark.parametrize("value", [
    b"'; touch pwned; '", b"$(touch pwned)", b"`touch pwned`", b"${HOME}", b"%n %i %%", b"a\nb\n", b"\n", b"", b" ",
    b"\\", b"\\n", b"tab\there", b"*", b"~", b"# no comment", b"-n", "grün \N{SNOWMAN}".encode(),
    bytes(range(1, 256)), b"x" * 65536,
])  # fmt: skip
def test_values_that_mean_something_to_a_shell_arrive_unchanged(app: Path, value: bytes) -> None:
    done = launch(app, PRINT, {"VALUE": value})
    assert environment(done.stdout)[b"VALUE"] == value
    assert (done.stderr, list(app.iterdir())) == (b"", [])


def test_the_process_sees_only_its_own_variables(app: Path) -> None:
    """The launcher's own names are not the app's business."""
    seen = environment(launch(app, PRINT, {"VALUE": b"1"}).stdout)
    assert set(seen) == {b"PATH", b"VALUE", b"PWD", b"OLDPWD"} or set(seen) == {b"PATH", b"VALUE", b"PWD"}


def test_it_runs_in_the_apps_directory_and_its_status_is_the_commands(app: Path) -> None:
    done = launch(app, "pwd; exit 7")
    assert (done.stdout.decode().strip(), done.returncode) == (str(app), 7)


def test_profile_scripts_are_sourced_in_order_and_may_fail(app: Path) -> None:
    """Heroku's buildpacks set up paths there; their authors do not write for strict mode."""
    profile = app / ".profile.d"
    profile.mkdir()
    (profile / "1.sh").write_text("export ORDER=1; false; echo $undefined\n")
    (profile / "2.sh").write_text("export ORDER=${ORDER}2\n")
    (profile / "3.txt").write_text("export ORDER=wrong\n")
    assert environment(launch(app, PRINT, {"VALUE": b"kept"}).stdout)[b"ORDER"] == b"12"


def test_a_command_may_be_any_line_of_shell(app: Path) -> None:
    done = launch(app, 'GREETING="$VALUE you"; (echo "$GREETING" && true) | cat # the end', {"VALUE": b"hello"})
    assert done.stdout == b"hello you\n"


def test_a_missing_slot_file_or_directory_ends_it(app: Path, tmp_path: Path) -> None:
    """It must not run anything in a place it was not told."""
    done = subprocess.run([LAUNCH], env={"RUSTPLOY_SLOT_FILE": str(tmp_path / "none")}, capture_output=True, timeout=20)
    assert done.returncode != 0
    assert subprocess.run([LAUNCH], env={}, capture_output=True, timeout=20).returncode != 0
    done = launch(app / "gone", "echo ran")
    assert (done.returncode != 0, done.stdout) == (True, b"")


def test_a_stopped_server_is_signalled_once_and_may_drain(app: Path) -> None:
    """systemd signals every process of the unit; the shell around the server must neither die first nor start anew."""
    command = "trap 'echo drained; exit 0' TERM; kill -TERM 0; wait"
    script = app / "server.sh"
    script.write_text(command)
    slot = app.parent / "slot.env"
    slot.write_bytes(b"rustploy_app_dir=%s\nrustploy_command='sh server.sh; echo started anew'\n" % quoted(bytes(app)))
    argv, env = ["setsid", "--wait", str(LAUNCH)], {"RUSTPLOY_SLOT_FILE": str(slot), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=20)
    assert (done.stdout, done.returncode) == (b"drained\n", 143)


@pytest.fixture
def waiting(app: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher that was started before there is anything to run."""
    slot = app.parent / "slot.env"
    pipes.make(slot)
    pipe = pipes.hold(slot)
    env = {"RUSTPLOY_SLOT_FILE": str(slot), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([LAUNCH], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                os.close(pipe)


def pipe_of(process: subprocess.Popen[bytes], app: Path) -> int:
    """Once the launcher is at the pipe: this process's own end of it."""
    slot = _inode(str(app.parent / "slot.env"))
    until(lambda: slot in _open_files(process.pid))
    return next(int(fd) for fd in os.listdir("/proc/self/fd") if _inode(f"/proc/self/fd/{fd}") == slot)


def _open_files(pid: int) -> set[int]:
    return {_inode(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def _inode(path: str) -> int:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0


def write_slot(app: Path, command: str) -> None:
    content = b"rustploy_app_dir=%s\nrustploy_command=%s\n" % (quoted(bytes(app)), quoted(command.encode()))
    slots.write(app.parent / "slot.env", content)


def test_a_launcher_that_was_started_ahead_runs_what_is_written_later(
    app: Path, waiting: subprocess.Popen[bytes]
) -> None:
    pipe = pipe_of(waiting, app)
    write_slot(app, "echo ran")
    assert waiting.poll() is None, "it went on before it was told"
    os.close(pipe)
    assert waiting.communicate(timeout=20) == (b"ran\n", b"")


def test_what_else_the_app_runs_cannot_take_its_release_out_of_the_pipe(
    app: Path, waiting: subprocess.Popen[bytes]
) -> None:
    """Else the old release, of the same user, could give the new one half of its environment."""
    pipe = pipe_of(waiting, app)
    with (app.parent / "slot.env").open("rb", buffering=0) as thief:
        write_slot(app, "echo ran")
        os.close(pipe)
        assert thief.read() == b""
    assert waiting.communicate(timeout=20) == (b"ran\n", b"")


def test_a_launcher_that_nobody_hands_anything_waits_until_it_is_stopped(
    app: Path, waiting: subprocess.Popen[bytes]
) -> None:
    """The agent was killed: the unit must neither run half a release nor turn in circles."""
    os.close(pipe_of(waiting, app))
    until(lambda: _inode(str(app.parent / "slot.env")) not in _open_files(waiting.pid))
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.3)
    spent = sum(map(int, Path(f"/proc/{waiting.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    assert spent <= 0.1 * os.sysconf("SC_CLK_TCK")
    waiting.terminate()
    assert waiting.wait(20) == -signal.SIGTERM


def launch_copy(release: Path, command: str, root: str = "") -> subprocess.CompletedProcess[bytes]:
    """As the unit does for a process that may write into a copy of its release."""
    slot, copies = release.parent / "slot.env", release.parent / "copies"
    copies.mkdir(exist_ok=True)
    slot.write_bytes(slots.render({}, release, command, root=root, copied=True))
    env = {"RUSTPLOY_SLOT_FILE": str(slot), "PATH": "/usr/bin:/bin", "RUSTPLOY_COPIES": str(copies)}
    return subprocess.run([LAUNCH], env=env, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)


def tree(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_process_writes_into_its_copy_and_never_into_the_release(app: Path) -> None:
    """Many apps write below their own directory; a release must stay as it was built."""
    tree(app, {"app.db": "old", ".hidden/x": "h", "..odd": "o", "deep/er/file": "d", "-n": "dash"})
    done = launch_copy(app, "cat .hidden/x ..odd deep/er/file ./-n; echo new >app.db; : >deep/er/made; cat app.db")
    assert (done.stdout, done.stderr) == (b"hoddashnew\n", b"")
    assert (app / "app.db").read_text() == "old"
    assert not (app / "deep/er/made").exists()
    assert launch_copy(app, "cat app.db; ls deep/er").stdout == b"oldfile\n", "each start begins with the release"


def test_installed_packages_are_linked_and_not_copied(app: Path) -> None:
    """A copy of node_modules at each start would take seconds and a second time its room."""
    tree(
        app, {"node_modules/x/index.js": "1", ".venv/bin/python": "2", "vendor/y": "3", ".profile.d/a.sh": "export A=4"}
    )
    printed = launch_copy(app, 'readlink node_modules .venv vendor; cat node_modules/x/index.js; echo "$A"').stdout
    expected = [str(app / name) for name in ("node_modules", ".venv", "vendor")]
    assert printed.decode().splitlines() == [*expected, "14"]


@pytest.mark.parametrize("root", ["web", "apps/web", "vendor/web"])
def test_a_directory_of_the_release_is_copied_with_what_lies_around_it(app: Path, root: str) -> None:
    """Workspaces find their packages above them."""
    tree(app, {f"{root}/file": "mine", "shared/name": "shared", "node_modules/x": "x", f"{root}/node_modules/y": "y"})
    up = "/".join([".."] * len(root.split("/")))
    command = f"cat file {up}/shared/name {up}/node_modules/x node_modules/y; echo >>file && pwd"
    done = launch_copy(app, command, root)
    copy = app.parent / "copies" / "app" / root
    assert (done.stdout.decode(), done.stderr) == (f"minesharedxy{copy}\n", b"")
    assert (app / root / "file").read_text() == "mine"


def test_links_of_the_release_stay_links_and_nothing_outside_is_copied(app: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    tree(app, {"target": "t"})
    (app / "inner").symlink_to("target")
    (app / "outer").symlink_to(tmp_path / "outside")
    done = launch_copy(app, "readlink inner outer; cat inner")
    assert done.stdout.decode() == f"target\n{tmp_path}/outside\nt"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        *(("kill -9 $$", -9), ("exec sh -c 'kill -SEGV $$'", -11), ("exit 7", 7), ("exit 255", 255), ("true", 0)),
        ("exit 147", 147),  # 19 would stop the launcher, and its unit would look alive for ever
    ],
)
def test_how_a_command_ended_is_how_its_launcher_ends(app: Path, command: str, status: int) -> None:
    """Who reads `status 137` does not learn that the app was killed, and a killer is not told from a crash."""
    assert launch(app, command).returncode == status


def test_on_a_full_disk_the_release_itself_runs(app: Path) -> None:
    """With half of its files an app would start and be wrong; without a copy it only cannot write."""
    tree(app, {"a": "1" * 300_000, "b": "2" * 300_000})
    slot = app.parent / "slot.env"
    slot.write_bytes(slots.render({}, app, "pwd; cat a b | wc -c", copied=True))
    copies = app.parent / "copies"
    copies.mkdir()
    script = f"mount -t tmpfs -o size=256k tmpfs {copies} && exec {LAUNCH}"
    env = {"RUSTPLOY_SLOT_FILE": str(slot), "PATH": "/usr/bin:/bin", "RUSTPLOY_COPIES": str(copies)}
    argv = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.stdout.decode().split() == [str(app).split()[0], *str(app).split()[1:], "600000"], done.stderr
    assert b"no room on the disk for a copy" in done.stderr


def test_a_file_that_the_app_may_not_read_does_not_keep_it_from_its_copy(app: Path) -> None:
    tree(app, {"file": "x"})
    (app / "gone").symlink_to("/nonexistent/target")
    os.mkfifo(app / "pipe")
    done = launch_copy(app, "echo y >file; cat file")
    assert done.stdout == b"y\n"
