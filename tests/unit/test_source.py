"""The fetch program against real git repositories, kind and unkind."""

import base64
import contextlib
import functools
import http.server
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustploy_agent.builder.bring import candidates
from tests.unit.programs import BUILDPACKS, Repository, Workshop

pytestmark = pytest.mark.processes


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def test_the_default_branch_a_branch_a_tag_and_a_commit_are_each_checked_out(
    workshop: Workshop, repository: Repository
) -> None:
    first = repository.commit({"a": "1"})
    repository.git("tag", "light")
    repository.git("tag", "-m", "annotated", "v1")
    second = repository.commit({"a": "2", "sub/b": "x"})
    repository.git("branch", "feature/x", first)
    wanted = [
        ({}, second),
        ({"ref": "main"}, second),
        ({"ref": "feature/x"}, first),
        ({"ref": "light"}, first),
        ({"ref": "v1"}, first),
        ({"ref": "refs/tags/v1"}, first),
        ({"ref": first}, first),
        ({"commit": first}, first),
        ({"ref": "main", "commit": first}, first),
    ]
    for asked, commit in wanted:
        result = workshop.fetch(repository.url, **asked)
        assert (result["ok"], result.get("commit")) == (True, commit), (asked, result)
        expected = {"a"} if commit == first else {"a", "sub/b"}
        assert files_in(workshop.checkout) == expected, asked


def test_a_branch_wins_over_a_tag_of_the_same_name(workshop: Workshop, repository: Repository) -> None:
    repository.commit({"a": "tagged"})
    repository.git("tag", "main")
    tip = repository.commit({"a": "branch"})
    assert workshop.fetch(repository.url, ref="main")["commit"] == tip


def test_branches_that_replace_each_other_as_directories_do_not_block_the_mirror(
    workshop: Workshop, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    repository.git("branch", "topic")
    assert workshop.fetch(repository.url, ref="topic")["ok"]
    repository.git("branch", "-D", "topic")
    repository.git("branch", "topic/one")
    assert workshop.fetch(repository.url, ref="topic/one")["ok"]


def test_a_rewritten_branch_is_followed(workshop: Workshop, repository: Repository) -> None:
    repository.commit({"a": "1"})
    workshop.fetch(repository.url)
    (repository.path / "a").write_text("2")
    repository.git("commit", "--quiet", "--all", "--amend", "-m", "rewritten")
    result = workshop.fetch(repository.url)
    assert result["commit"] == repository.git("rev-parse", "HEAD")
    assert (workshop.checkout / "a").read_text() == "2"


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({"ref": "missing"}, "ref_not_found", "no branch or tag named missing"),
        ({"ref": "abcdef12"}, "ref_not_found", "write all 40 digits"),
        ({"ref": "--upload-pack=id"}, "ref_not_found", "not a name"),
        ({"ref": "+main:refs/heads/x"}, "ref_not_found", "not a name"),
        ({"commit": "0123456789" * 4}, "commit_not_found", "0123456789"),
        ({"ref": "0123456789" * 4}, "commit_not_found", "0123456789"),
    ],
)
def test_what_the_repository_does_not_have_is_said_by_name(
    workshop: Workshop, repository: Repository, asked: dict[str, str], code: str, says: str
) -> None:
    repository.commit({"a": "1"})
    result = workshop.fetch(repository.url, **asked)
    assert (result["ok"], result["code"], result["retryable"]) == (False, code, False)
    assert says in result["message"]


def test_an_empty_repository_and_a_tag_of_a_file_are_refused(workshop: Workshop, repository: Repository) -> None:
    result = workshop.fetch(repository.url)
    assert (result["code"], "empty" in result["message"]) == ("ref_not_found", True)
    repository.commit({"a": "1"})
    repository.git("tag", "-m", "of a blob", "blob", repository.git("rev-parse", "HEAD:a"))
    assert workshop.fetch(repository.url, ref="blob")["code"] == "ref_not_found"


def test_a_known_commit_is_not_checked_out_again(workshop: Workshop, repository: Repository) -> None:
    commit = repository.commit({"a": "1"})
    result = workshop.fetch(repository.url, known_commits=[commit])
    assert (result["ok"], result["commit"], result["known"]) == (True, commit, True)
    assert not workshop.checkout.exists()


def test_nothing_of_git_is_left_in_the_checkout_and_modes_are_plain(workshop: Workshop, repository: Repository) -> None:
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    (repository.path / "link").symlink_to("run")
    repository.commit({"a": "1", "caf\u00e9 \n": "odd name"})
    workshop.fetch(repository.url)
    assert files_in(workshop.checkout) == {"a", "run", "link", "caf\u00e9 \n"}
    assert (workshop.checkout / "run").stat().st_mode & 0o7777 == 0o755
    assert (workshop.checkout / "a").stat().st_mode & 0o7777 == 0o644
    assert (workshop.checkout).stat().st_mode & 0o7777 == 0o755
    assert (workshop.checkout / "link").readlink() == Path("run")


def test_manifest_detection_and_buildpack_are_reported(workshop: Workshop, repository: Repository) -> None:
    app = "from flask import Flask\napp = Flask(__name__)\n"
    repository.commit(
        {"requirements.txt": "Flask==3\n", "app.py": app, "rustploy.yaml": "version: 1\n", "Dockerfile": "FROM x"}
    )
    result = workshop.fetch(repository.url)
    assert (result["manifest"], result["buildpack"]) == ("version: 1\n", "python")
    assert result["detection"] == {
        "framework": "flask",
        "package_manager": "pip",
        "lockfile": None,
        "build_profile": "python",
        "dockerfile_present": True,
        "runtime": f"python {sys.version_info.major}.{sys.version_info.minor}",
        "processes": {"web": "exec .venv/bin/python .rustploy/serve.py --listen=127.0.0.1:$PORT app:app"},
        "warnings": [],
    }
    assert workshop.fetch(repository.url, build_mode="static")["buildpack"] is None


@pytest.mark.parametrize("content", [b"x" * 70_000, b"\xff\xff"])
def test_an_unreadable_manifest_is_an_error_and_not_ignored(
    workshop: Workshop, repository: Repository, content: bytes
) -> None:
    (repository.path / "rustploy.yaml").write_bytes(content)
    repository.commit()
    assert workshop.fetch(repository.url)["code"] == "invalid_manifest"


def test_a_manifest_that_is_a_link_reveals_nothing(workshop: Workshop, repository: Repository) -> None:
    (repository.path / "rustploy.yaml").symlink_to("other")
    repository.commit({"other": "secret"})
    result = workshop.fetch(repository.url)
    assert (result["code"], "secret" in str(result)) == ("invalid_manifest", False)


# --- hostile repositories


@pytest.mark.parametrize(
    ("mode", "kind", "name", "content", "code"),
    [
        ("120000", "blob", "link", b"/etc/passwd", "unsafe_symlink"),
        ("120000", "blob", "link", b"../../../../etc/passwd", "unsafe_symlink"),
        ("120000", "blob", "link", b"a/../../x", "unsafe_symlink"),
        ("160000", "commit", "module", "1" * 40, "unsupported_submodule"),
    ],
)
def test_a_tree_that_reaches_out_is_refused_before_anything_is_written(
    workshop: Workshop, repository: Repository, mode: str, kind: str, name: str, content: bytes | str, code: str
) -> None:
    repository.commit_entry(mode, kind, name, content)
    result = workshop.fetch(repository.url)
    assert result["code"] == code, result
    assert name in result["message"]
    assert not workshop.checkout.exists()


@pytest.mark.parametrize("name", [".git", ".GIT", ".."])
def test_names_that_git_keeps_for_itself_are_refused(workshop: Workshop, repository: Repository, name: str) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", input=b"[core]\n\tfsmonitor = id\n")
    inner = repository.git("mktree", input=f"100644 blob {blob}\tconfig\n".encode())
    raw = b"40000 " + name.encode() + b"\0" + bytes.fromhex(inner)
    outer = repository.git("hash-object", "-w", "--stdin", "--literally", "-t", "tree", input=raw)
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", "-m", "bad", outer))
    result = workshop.fetch(repository.url)
    assert result["code"] in {"unsafe_path", "corrupt_repository"}, result
    assert not workshop.checkout.exists()


def test_a_small_pack_that_unpacks_to_much_is_refused(workshop: Workshop, repository: Repository) -> None:
    """A gigabyte of zeros is a megabyte on the wire."""
    with (repository.path / "zeros").open("wb") as file:
        file.truncate(64 * 2**20)
    repository.commit()
    result = workshop.fetch(repository.url, max_bytes=32 * 2**20)
    assert (result["code"], "zeros" in result["message"]) == ("repository_too_large", True)
    assert not workshop.checkout.exists()


def test_a_pack_above_the_limit_does_not_fill_the_disk(workshop: Workshop, repository: Repository) -> None:
    repository.git("config", "core.compression", "0")
    repository.git("config", "core.bigFileThreshold", "1m")
    for number in range(9):
        (repository.path / f"noise{number}").write_bytes(os.urandom(9 * 2**20))
    repository.commit()
    result = workshop.fetch(repository.url, max_bytes=2**20)
    assert result["code"] == "repository_too_large", result["message"]
    mirror = sum(file.stat().st_size for file in (workshop.root / "mirror").rglob("*") if file.is_file())
    assert mirror < 80 * 2**20


def test_a_tree_bomb_ends_in_a_second(workshop: Workshop, repository: Repository) -> None:
    """Ten levels of ten entries that are all the same tree: 10^10 files in a few hundred bytes."""
    blob = repository.git("hash-object", "-w", "--stdin", input=b"x")
    entry, kind, found = "100644", "blob", blob
    for _ in range(10):
        listing = "".join(f"{entry} {kind} {found}\t{number}\n" for number in range(10))
        entry, kind, found = "040000", "tree", repository.git("mktree", input=listing.encode())
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", "-m", "bomb", found))
    begun = time.monotonic()
    assert workshop.fetch(repository.url)["code"] == "repository_too_large"
    assert time.monotonic() - begun < 10


def test_hooks_filters_and_attributes_of_the_repository_run_nothing(
    workshop: Workshop, repository: Repository, tmp_path: Path
) -> None:
    trap = tmp_path / "trapped"
    attributes = "* filter=evil ident\n*.lfs filter=lfs diff=lfs merge=lfs -text\n"
    config = f'[filter "evil"]\n\tsmudge = touch {trap}\n\tprocess = touch {trap}\n'
    repository.commit({".gitattributes": attributes, ".gitconfig": config, "a": "$Id$\n", "b.lfs": "version x\n"})
    assert workshop.fetch(repository.url)["ok"]
    for place in (repository.path / ".git", workshop.root / "mirror" / "repository.git"):
        for hook in ("post-checkout", "post-merge", "reference-transaction", "post-index-change", "upload-pack"):
            (place / "hooks").mkdir(exist_ok=True)
            (place / "hooks" / hook).write_text(f"#!/bin/sh\necho {hook} >>{trap}\n")
            (place / "hooks" / hook).chmod(0o755)
    assert workshop.fetch(repository.url)["ok"]
    assert not trap.exists()


# --- trouble on the way


def test_a_host_that_never_answers_ends_at_the_deadline_and_may_be_tried_again(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        begun = time.monotonic()
        result = workshop.fetch(f"http://127.0.0.1:{port}/x", schemes=["http"], timeout_seconds=2)
    assert (result["code"], result["retryable"]) == ("fetch_timeout", True)
    assert 2 <= time.monotonic() - begun < 6


def test_a_closed_port_is_a_reason_to_try_again(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = workshop.fetch(f"http://127.0.0.1:{port}/x", schemes=["http"])
    assert (result["code"], result["retryable"]) == ("host_unreachable", True)


def test_a_directory_that_is_no_repository(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = workshop.fetch(f"file://{tmp_path}/empty")
    assert (result["code"], result["retryable"]) == ("repository_not_found", False)


class Recorder(http.server.BaseHTTPRequestHandler):
    """Asks for credentials and refuses them, noting what it was sent and which processes ran meanwhile."""

    authorizations: list[str]
    command_lines: list[bytes]

    def do_GET(self) -> None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.command_lines.append(entry.read_bytes())
            except OSError:
                continue
        self.authorizations.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[tuple[type[Recorder], int]]:
    handler = type("Fresh", (Recorder,), {"authorizations": [], "command_lines": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, server.server_address[1]
        server.shutdown()


def test_a_password_in_the_url_reaches_the_host_but_no_command_line_no_message_and_no_disk(
    workshop: Workshop, recorder: tuple[type[Recorder], int]
) -> None:
    handler, port = recorder
    result = workshop.fetch(f"http://ci:hunt%65r2@127.0.0.1:{port}/x", schemes=["http"])
    assert result["code"] == "authentication_failed", result
    assert "Basic " + base64.b64encode(b"ci:hunter2").decode() in handler.authorizations
    assert any(b"git-remote-http" in line or b"remote-http" in line for line in handler.command_lines)
    for secret in ("hunter2", "hunt%65r2"):
        assert not any(secret.encode() in line for line in handler.command_lines)
        assert secret not in str(result) + workshop.done.stdout + workshop.done.stderr
        left = [file for file in (workshop.root / "mirror").rglob("*") if file.is_file()]
        assert not any(secret.encode() in file.read_bytes() for file in left)


def test_no_credentials_no_question(workshop: Workshop, recorder: tuple[type[Recorder], int]) -> None:
    """git would wait for somebody at a terminal for ever."""
    result = workshop.fetch(f"http://127.0.0.1:{recorder[1]}/x", schemes=["http"])
    assert (result["code"], result["retryable"]) == ("authentication_failed", False)


class Moving(http.server.SimpleHTTPRequestHandler):
    """Serves a directory; below /moved/ it redirects to what `leads` says, as it does for what `later` ends with."""

    leads: str
    later: str | None
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        path, _, query = self.path.partition("?")
        if path.startswith("/moved/") or (self.later and path.endswith(self.later)):
            self.send_response(301)
            rest = path.removeprefix("/moved") + (f"?{query}" if query else "")
            self.send_header("Location", self.leads + rest)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hosts(repository: Repository) -> Iterator[tuple[type[Moving], type[Moving], list[str]]]:
    """Two that serve the same repository, at /.git, and their addresses."""
    made: list[type[Moving]] = []
    addresses: list[str] = []
    with contextlib.ExitStack() as stack:
        for name in ("First", "Second"):
            handler = type(name, (Moving,), {"leads": "", "later": None, "seen": []})
            serve = functools.partial(handler, directory=str(repository.path))
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            made.append(handler)
            addresses.append(f"http://127.0.0.1:{server.server_address[1]}")
        yield made[0], made[1], addresses


def served(repository: Repository) -> str:
    commit = repository.commit({"a": "1"})
    repository.git("update-server-info")
    return commit


def test_a_repository_that_moved_on_its_host_is_found(
    workshop: Workshop, repository: Repository, hosts: tuple[type[Moving], type[Moving], list[str]]
) -> None:
    """Else a renamed repository is not deployed any more."""
    commit, (first, _, addresses) = served(repository), hosts
    first.leads = addresses[0]
    result = workshop.fetch(f"{addresses[0]}/moved/.git", schemes=["http"])
    assert (result["ok"], result.get("commit")) == (True, commit), result
    assert files_in(workshop.checkout) == {"a"}


def test_a_redirect_into_this_host_or_its_network_is_not_followed(
    workshop: Workshop, repository: Repository, hosts: tuple[type[Moving], type[Moving], list[str]]
) -> None:
    """Else a git host has the build user ask what only this host reaches: the API, a neighbour, a metadata service."""
    commit, (first, second, addresses) = served(repository), hosts
    for leads in (addresses[1], "http://169.254.169.254", "http://[::1]:1", "http://10.0.0.1", "http://0.0.0.0:1"):
        first.leads = leads
        result = workshop.fetch(f"{addresses[0]}/moved/.git", schemes=["http"])
        assert (result["code"], result["retryable"]) == ("redirect_refused", False), (leads, result)
        assert "source.hosts" in result["message"]
    assert second.seen == []
    first.leads = addresses[1]
    result = workshop.fetch(f"{addresses[0]}/moved/.git", schemes=["http"], hosts=["127.0.0.0/8"])
    assert (result["ok"], result.get("commit")) == (True, commit), result


@pytest.mark.parametrize(
    "leads", ["file:///etc", "https://127.0.0.1:1", "ssh://git@127.0.0.1", "http://u:p@example.org"]
)
def test_a_redirect_to_another_scheme_or_with_a_password_is_not_followed(
    workshop: Workshop, repository: Repository, hosts: tuple[type[Moving], type[Moving], list[str]], leads: str
) -> None:
    served(repository)
    hosts[0].leads = leads
    result = workshop.fetch(f"{hosts[2][0]}/moved/.git", schemes=["http"], hosts=["127.0.0.0/8"])
    assert result["code"] == "redirect_refused", result


def test_redirects_without_end_end(workshop: Workshop, hosts: tuple[type[Moving], type[Moving], list[str]]) -> None:
    hosts[0].leads = f"{hosts[2][0]}/moved"
    result = workshop.fetch(f"{hosts[2][0]}/moved/.git", schemes=["http"])
    assert result["code"] == "redirect_refused", result
    assert len(hosts[0].seen) < 10


def test_a_redirect_after_the_first_request_is_not_followed(
    workshop: Workshop, repository: Repository, hosts: tuple[type[Moving], type[Moving], list[str]]
) -> None:
    """Else a host answers the first request itself, and sends all others elsewhere."""
    served(repository)
    (first, second, addresses) = hosts
    first.leads, first.later = addresses[1], "/HEAD"
    assert not workshop.fetch(f"{addresses[0]}/.git", schemes=["http"])["ok"]
    assert second.seen == []


def test_a_password_is_not_sent_where_a_redirect_leads(
    workshop: Workshop, repository: Repository, hosts: tuple[type[Moving], type[Moving], list[str]]
) -> None:
    served(repository)
    (first, second, addresses) = hosts
    first.leads = addresses[1]
    url = f"{addresses[0]}/moved/.git".replace("//", "//ci:hunter2@")
    assert workshop.fetch(url, schemes=["http"], hosts=["127.0.0.1"])["ok"]
    assert second.seen and all(authorization == "" for _, authorization in second.seen)


def test_locks_and_half_a_pack_of_a_killed_fetch_do_not_block_the_next(
    workshop: Workshop, repository: Repository
) -> None:
    repository.commit({"a": "1"})
    workshop.fetch(repository.url)
    mirror = workshop.root / "mirror" / "repository.git"
    ref = next((mirror / "refs" / "rustploy").iterdir())
    leftovers = [
        mirror / "shallow.lock",
        mirror / "config.lock",
        mirror / "packed-refs.lock",
        mirror / "checkout.index",
        ref.with_suffix(".lock"),
        mirror / "checkout.index.lock",
        mirror / "objects" / "pack" / "tmp_pack_x1",
    ]
    for leftover in leftovers:
        leftover.write_text("half")
    (mirror / "objects" / "tmp_objdir-incoming-x").mkdir()
    commit = repository.commit({"a": "2"})
    result = workshop.fetch(repository.url)
    assert (result["ok"], result.get("commit")) == (True, commit), result
    assert not any(leftover.exists() for leftover in leftovers)


@pytest.mark.parametrize("damage", ["HEAD", "pack", "ref", "shallow", "config", "objects"])
def test_a_damaged_mirror_is_fetched_anew(workshop: Workshop, repository: Repository, damage: str) -> None:
    """After a power cut files may be empty; nobody should have to delete a mirror by hand."""
    repository.commit({"a": "1"})
    workshop.fetch(repository.url)
    mirror = workshop.root / "mirror" / "repository.git"
    hurt = {
        "HEAD": [mirror / "HEAD"],
        "pack": list((mirror / "objects" / "pack").iterdir()),
        "ref": list((mirror / "refs" / "rustploy").iterdir()),
        "shallow": [mirror / "shallow"],
        "config": [mirror / "config"],
        "objects": [],
    }[damage]
    for file in hurt:
        file.chmod(0o600)
        file.write_bytes(b"" if damage in {"HEAD", "ref"} else b"garbage")
    if damage == "objects":
        for file in (mirror / "objects" / "pack").iterdir():
            file.unlink()
    commit = repository.commit({"a": "2"})
    result = workshop.fetch(repository.url)
    assert (result["ok"], result.get("commit")) == (True, commit), result
    assert (workshop.checkout / "a").read_text() == "2"


def test_many_fetches_do_not_leave_many_packs(workshop: Workshop, repository: Repository) -> None:
    repository.commit({"a": "0"})
    workshop.fetch(repository.url)
    packs = workshop.root / "mirror" / "repository.git" / "objects" / "pack"
    for number in range(60):
        (packs / f"pack-{number:040x}.pack").write_bytes(b"")
    commit = repository.commit({"a": "1"})
    assert workshop.fetch(repository.url)["commit"] == commit
    commit = repository.commit({"a": "2"})
    assert workshop.fetch(repository.url)["commit"] == commit


def test_a_ref_becomes_the_branch_first_and_then_the_tag() -> None:
    assert candidates(None) == ["HEAD"]
    assert candidates("v1") == ["refs/heads/v1", "refs/tags/v1"]
    assert candidates("refs/pull/7/head") == ["refs/pull/7/head"]


# --- builds that need no build unit


@pytest.mark.parametrize(
    "files",
    [
        {"index.html": "x"},
        {"package.json": '{"scripts": {"start": "node x.js"}}'},
        {"package.json": '{"main": "x.js"}', "Procfile": "web: node x.js\n"},
    ],
)
def test_what_runs_nothing_of_the_repository_is_built_by_the_fetch_as_the_build_would(
    workshop: Workshop, repository: Repository, files: dict[str, str]
) -> None:
    """It saves a deployment the start of a sandbox, a tenth of a second."""
    repository.commit(files)
    fetched = workshop.fetch(repository.url)
    assert fetched["ok"], fetched
    built = workshop.build(files, fetched["buildpack"])
    assert {key: fetched["built"][key] for key in ("procfile", "release")} == {
        key: built[key] for key in ("procfile", "release")
    }
    assert fetched["built"]["bytes"] > 0
    assert workshop.fetch(repository.url, inspect_only=True)["built"] is None, "an import builds nothing"


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "flask"},
        {"package.json": '{"scripts": {"build": "touch trapped", "start": "x"}}'},
        {"package.json": '{"main": "x.js", "dependencies": {"a": "1"}}'},
        {"package.json": '{"main": "x.js", "engines": {"node": "99"}}'},
        {"package.json": '{"main": '},
        {"README": "x"},
    ],
)
def test_everything_else_is_left_to_the_build_unit(
    workshop: Workshop, repository: Repository, files: dict[str, str]
) -> None:
    """The fetch has the network and the mirror; code of a repository does not run there."""
    repository.commit(files)
    fetched = workshop.fetch(repository.url)
    assert (fetched["ok"], fetched["built"]) == (True, None)
    assert not (workshop.checkout / "trapped").exists()


@pytest.mark.skipif(not Path("/usr/bin/npm").exists(), reason="without npm nothing could be run")
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "package",
    [
        r'{"scripts": {"\u0062uild": "touch trapped", "start": "x"}}',
        r'{"main": "x.js", "work\u0073paces": ["a"], "scripts": {"preinstall": "touch trapped"}}',
        r'{"main": "x.js", "dep\u0065ndencies": {"a": "file:a"}, "scripts": {"preinstall": "touch trapped"}}',
    ],
)
def test_however_its_keys_are_spelled_a_script_does_not_run_beside_the_deploy_key(
    repository: Repository, tmp_path: Path, package: str, encoding: str, looks: bool
) -> None:
    """Else any commit could read the key and the password that the repository is fetched with.

    Also where bin/instant sees nothing of it (`looks` is False).
    """
    buildpacks = tmp_path / "buildpacks"
    shutil.copytree(BUILDPACKS, buildpacks)
    if not looks:
        (buildpacks / "node" / "bin" / "instant").write_text("#!/bin/sh\nexit 0\n")
    repository.commit({"server.js": "", "a/package.json": '{"name": "a", "version": "1.0.0"}'})
    (repository.path / "package.json").write_text(package, encoding=encoding)
    repository.commit()
    workshop = Workshop(tmp_path / "workshop", buildpacks)
    fetched = workshop.fetch(repository.url, file_root=str(tmp_path))
    assert (fetched["ok"], fetched["buildpack"], fetched["built"]) == (True, "node", None)
    assert not (workshop.checkout / "trapped").exists()


def test_a_mirror_of_many_packs_is_tidied_up_once_the_answer_is_there(
    workshop: Workshop, repository: Repository
) -> None:
    """Each fetch leaves one; git looks into all of them for each object, so deployments would get slower for ever."""
    repository.commit({"a": "1"})
    workshop.fetch(repository.url)
    packs = workshop.root / "mirror" / "repository.git" / "objects" / "pack"
    (pack,) = packs.glob("*.pack")
    for number in range(60):
        for file in (pack, pack.with_suffix(".idx")):
            shutil.copy(file, packs / f"pack-{number:040x}{file.suffix}")
    (packs.parents[1] / "gc.pid").write_text(f"{os.getpid()} {socket.gethostname()}")  # left by one that was killed
    second = repository.commit({"a": "2"})
    assert workshop.fetch(repository.url)["commit"] == second
    assert len(list(packs.glob("*.pack"))) == 1
    assert workshop.fetch(repository.url)["commit"] == second, "the mirror is of use as before"


def test_a_fetch_for_a_push_says_whether_the_branch_has_the_pushed_commit(
    workshop: Workshop, repository: Repository
) -> None:
    """Else a late delivery and a host that lags behind cannot be told apart."""
    first = repository.commit({"a": "1"})
    for number in range(2, 5):
        newest = repository.commit({"a": str(number)})
    repository.git("checkout", "--quiet", "-b", "other", first)
    elsewhere = repository.commit({"a": "elsewhere"})
    for pushed, contained in ((newest, True), (first, True), (elsewhere, False), ("f" * 40, False)):
        result = workshop.fetch(repository.url, ref="main", pushed=pushed)
        assert (result["commit"], result["contains_pushed"]) == (newest, contained), pushed
    assert workshop.fetch(repository.url, ref="main", pushed=first, known_commits=[newest])["contains_pushed"] is True
