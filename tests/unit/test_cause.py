"""The line of a failed build that says why: the only one that most people read, in `last_error`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent.builder import cause, debian_hints

NPM_USAGE = """npm error code EUSAGE
npm error
npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.
npm error
npm error Missing: ms@2.1.3 from lock file
npm error
npm error Clean install a project
npm error
npm error Usage:
npm error npm ci
npm error
npm error Options:
npm error [--install-strategy <hoisted|nested|shallow|linked>] [--legacy-bundling]
npm error   --omit
npm error     Dependency types to omit from the installation tree on disk.
npm error Run "npm help ci" for more info
npm error A complete log of this run can be found in: /x/_logs/2026-01-01T00_00_00_000Z-debug-0.log"""
NPM_SCRIPT = """> x@1.2.3 prepare
> is-ci-tool

sh: 1: is-ci-tool: not found
npm ERR! code 127
npm ERR! path /x
npm ERR! command failed
npm ERR! command sh -c is-ci-tool
npm ERR! A complete log of this run can be found in:
npm ERR!     /x/_logs/debug-0.log"""
YARN_1 = """yarn install v1.22.22
[1/4] Resolving packages...
error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.
info Visit https://yarnpkg.com/en/docs/cli/install for documentation about this command."""
TSC = """> build
> tsc

src/index.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.
npm error Lifecycle script `build` failed with error:
npm error code 2
npm error path /x"""
GYP = """npm error code 1
npm error path /x/node_modules/y
npm error command failed
npm error command sh -c node-gyp rebuild
npm error gyp info it worked if it ends with ok
npm error gyp ERR! configure error
npm error gyp ERR! stack Error: EACCES: permission denied, mkdir '/x'
npm error gyp ERR! stack     at async run (/x/node-gyp/bin/node-gyp.js:81:18)
npm error gyp ERR! System Linux 6.1
npm error gyp ERR! cwd /x
npm error gyp ERR! $npm_package_name y
npm error gyp ERR! node -v v20.1.0
npm error gyp ERR! not ok"""
NODE_TRACE = """/x/build.js:1
throw new Error("DATABASE_URL is not set")
^

Error: DATABASE_URL is not set
    at Object.<anonymous> (/x/build.js:1:7)
    at node:internal/main/run_main_module:28:49

Node.js v20.1.0"""


@pytest.mark.parametrize(
    ("output", "says", "lacks"),
    [
        (NPM_USAGE, ["Missing: ms@2.1.3 from lock file", "in sync"], ["Usage", "--omit", "complete log", "help ci"]),
        (NPM_SCRIPT, ["is-ci-tool: not found"], ["code 127", "command failed", "debug-0.log"]),
        (YARN_1, ["Your lockfile needs to be updated"], ["Visit"]),
        (GYP, ["Error: EACCES: permission denied"], ["at async", "$npm_package", "not ok", "cwd", "node -v"]),
        (TSC, ["error TS2322"], ["path /x"]),
        (NODE_TRACE, ["Error: DATABASE_URL is not set"], ["node:internal", "Node.js v20"]),
    ],
)
def test_the_cause_is_quoted_and_the_usage_text_is_not(output: str, says: list[str], lacks: list[str]) -> None:
    told = cause.of(output.splitlines())
    assert [text for text in says if text not in told] == []
    assert [text for text in lacks if text in told] == []


def test_a_line_that_two_programs_print_is_quoted_once() -> None:
    told = cause.of(["Error: no config", "npm error Error: no config", "error: error: no config"])
    assert told.count("Error: no config") == 1


def test_the_buildpacks_own_sentence_is_the_whole_cause() -> None:
    told = cause.of(["npm error code E404", "\x1b[31m !     node: two lock files\x1b[0m"])
    assert told == "node: two lock files"


def test_a_cause_far_above_much_chatter_is_still_found() -> None:
    told = cause.of(["Error: cannot read config.json", *(f"entry {number}" for number in range(30))])
    assert "Error: cannot read config.json" in told


def test_nothing_printed_is_said_so() -> None:
    assert cause.of([]) == "its last lines: (none)"


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("Error: pg_config executable not found.", "libpq-dev"),
        ("/bin/sh: 1: pg_config: not found", "libpq-dev"),
        ("make: g++: No such file or directory", "build-essential"),
        ("gyp ERR! stack Error: not found: make", "build-essential"),
        ("error: command 'gcc' failed: No such file or directory", "build-essential"),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory", "build-essential"),
        ("unable to execute 'gcc': No such file or directory", "build-essential"),
        ("/bin/sh: 1: make: not found", "build-essential"),
        ("gyp ERR! find Python", "python3"),
        ("gyp ERR! stack Error: Could not find any Python installation to use", "python3"),
        ("src/x.c:5:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("fatal error: libpq-fe.h: No such file or directory", "libpq-dev"),
        ("../x.h:1:10: fatal error: openssl/ssl.h: No such file or directory", "libssl-dev"),
        ("fatal error: 'ffi.h' file not found", "libffi-dev"),
        ("/bin/sh: 1: pkg-config: not found", "pkg-config"),
        ("Package pixman-1 was not found in the pkg-config search path.", "libpixman-1-dev"),
        ("No package 'pangocairo' found", "libpango1.0-dev"),
        ("OSError: mysql_config not found", "default-libmysqlclient-dev"),
        ("Error: please make sure the libxml2 and libxslt development packages are installed.", ""),
        ("sh: 1: husky: not found", ""),
        ("make it so", ""),
        (
            "gyp ERR! stack FetchError: request to https://host/v18.20.4/node-v18.20.4-headers.tar.gz failed",
            "libnode-dev",
        ),
        ("ERROR: Could not find a version that satisfies the requirement gcc", ""),
    ],
)
def test_a_missing_tool_or_header_is_named_by_its_debian_package(line: str, package: str) -> None:
    assert debian_hints.package(line) == package


def test_the_package_to_install_stands_in_the_cause() -> None:
    told = cause.of(["building", "Error: pg_config executable not found.", "note: see above", "error: subprocess"])
    assert told.startswith("Error: pg_config executable not found.")
    assert "apt-get install libpq-dev" in told


@given(st.lists(st.text(max_size=200), max_size=40))
def test_no_output_breaks_the_error(lines: list[str]) -> None:
    assert cause.of(lines)
