"""npm, npx, yarn and pnpm as a running app finds them: what Procfiles and start scripts of other people call."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.nodeplan import written
from tests.unit.programs import BUILDPACKS

pytestmark = pytest.mark.processes
RUN = BUILDPACKS / "node" / "lib" / "run.py"
SCRIPTS = {
    "start": "echo start",
    "serve": "echo serve $npm_package_version $npm_lifecycle_event",
    "chain": "npm run serve -- --flag",
    "with": "echo main",
    "prewith": "A=1; echo before",
    "postwith": "echo after $A",
    "usetool": "tool x",
    "loop": "npm run loop",
    "fails": "exit 7",
    "prefails2": "exit 9",
    "fails2": "echo never",
}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app with a program in node_modules, a workspace, and the commands that the buildpack leaves."""
    package = {"name": "x", "version": "1.2.3", "config": {"port": 8}, "scripts": SCRIPTS, "workspaces": ["apps/*"]}
    member = {"name": "@x/web", "scripts": {"start": "echo member; pwd | sed 's,.*/,,'"}}
    files = {
        "package.json": json.dumps(package),
        "apps/web/package.json": json.dumps(member),
        "node_modules/.bin/tool": '#!/bin/sh\necho tool "$@"\n',
        "node_modules/library/package.json": "{}",
        "node_modules/@nestjs/cli/package.json": '{"bin": {"tool": "x"}}',
        "sub/note": "",
    }
    written(tmp_path, files)
    (tmp_path / "node_modules/.bin/tool").chmod(0o755)
    for name in ("npm", "npx", "yarn", "pnpm"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -I -S -B {RUN} {name} "$@"\n')
        path.chmod(0o755)
    return tmp_path


def run(app: Path, command: str, directory: str = ".") -> Any:
    environment = {"PATH": f"{app}/bin:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=app / directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "prints"),
    [
        ("npm start", "start"),
        ("npm start a", "start a"),
        ("npm start -- --port 1", "start --port 1"),
        ("npm start --silent", "start"),
        ("npm run serve", "serve 1.2.3 serve"),
        ("npm run serve -- --flag 'a b'", "serve 1.2.3 serve --flag a b"),
        ("npm run chain", "serve 1.2.3 serve --flag"),
        ("npm run chain -- more", "serve 1.2.3 serve --flag more"),
        ("npm run --silent serve", "serve 1.2.3 serve"),
        ("npm run-script start", "start"),
        ("npm run with", "before\nmain\nafter"),
        ("npm run usetool -- y", "tool x y"),
        ("npm run gone --if-present", ""),
        ("npm run start --workspace apps/web", "member\nweb"),
        ("npm start -w @x/web", "member\nweb"),
        ("npm --prefix apps/web start", "member\nweb"),
        ("cd apps/web && npm start", "member\nweb"),
        ("cd sub && npm start", "start"),
        ("npm exec tool -- 1", "tool -- 1"),
        ("yarn start", "start"),
        ("yarn start --port 1", "start --port 1"),
        ("yarn run serve --x", "serve 1.2.3 serve --x"),
        ("yarn tool 1", "tool 1"),
        ("yarn workspace @x/web start", "member\nweb"),
        ("yarn --cwd apps/web start", "member\nweb"),
        ("pnpm start", "start"),
        ("pnpm run start -- --x", "start --x"),
        ("pnpm serve --x", "serve 1.2.3 serve --x"),
        ("pnpm --filter @x/web start", "member\nweb"),
        ("pnpm --filter=@x/web run start", "member\nweb"),
        ("pnpm -C apps/web start", "member\nweb"),
        ("pnpm exec tool 1", "tool 1"),
        ("npx tool 1 --y", "tool 1 --y"),
        ("npx --yes tool@3 1", "tool 1"),
        ("npx -p other tool 1", "tool 1"),
        ("npx @nestjs/cli start", "tool start"),
        ("npx -c 'tool 1'", "tool 1"),
    ],
)
def test_a_command_runs_what_the_real_one_would(app: Path, command: str, prints: str) -> None:
    done = run(app, command)
    assert (done.stdout.strip(), done.returncode) == (prints, 0), done.stderr


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("npm run gone", 127, "no script 'gone'"),
        ("npm install", 127, "put it into the build"),
        ("npm run loop", 127, "without an end"),
        ("npm run fails", 7, ""),
        ("npm run fails2", 9, ""),
        ("npx unheard-of", 127, "add it to dependencies"),
        ("npx library", 127, "no program"),
        ("npm start -w nobody", 127, "no workspace nobody"),
        ("yarn", 127, "belongs to the build"),
    ],
)
def test_what_cannot_run_says_why_and_ends(app: Path, command: str, status: int, says: str) -> None:
    done = run(app, command)
    assert done.returncode == status
    assert says in done.stderr


def test_a_single_program_takes_the_place_of_the_command(app: Path) -> None:
    """A shell between systemd and the app would take the signal that asks it to stop."""
    (app / "package.json").write_text(json.dumps({"scripts": {"start": "tool"}}))
    (app / "node_modules/.bin/tool").write_text("#!/bin/sh\necho $$\n")
    done = run(app, "echo $$; exec npm start")
    first, second = done.stdout.split()
    assert first == second
