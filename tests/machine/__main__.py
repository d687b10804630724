"""The command line for developers; see the package's docstring."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import tests.machine as package
from tests.machine import places
from tests.machine.base import RELEASES
from tests.machine.machine import Machine, build_deb


def boot(release: str = "bookworm", *, install: bool = True) -> None:
    if release not in RELEASES:
        raise SystemExit(f"release {release!r} is none of {', '.join(RELEASES)}")
    machine = Machine.create(release, outlive=True)
    me = "python3 -m tests.machine"
    print(f"{machine.name} ({release}) is up; ports {machine.place.port} to {machine.place.last_port}")
    print(f"  enter:  {me} shell {machine.name}")
    print(f"  end:    {me} end {machine.name}")
    if install:
        update(machine.name)


def bare(release: str = "bookworm") -> None:
    boot(release, install=False)


def update(name: str) -> None:
    machine = Machine.attach(name)
    with tempfile.TemporaryDirectory() as directory:
        machine.install(build_deb(Path(directory)))
    print(f"  agent:  http://127.0.0.1:{machine.place.port}  admin token: {machine.token}")


def shell(name: str) -> None:
    argv = Machine.attach(name).argv(["env", f"TERM={os.environ.get('TERM', 'dumb')}", "bash", "--login"])
    os.execvp(argv[0], argv)


def run(name: str, *command: str) -> None:
    raise SystemExit(subprocess.run(Machine.attach(name).argv(command)).returncode)


def show() -> None:
    for place in places.taken():
        state = "running" if "machine" in place.processes() else "left over"
        print(f"{place.name}\t{state}\tports {place.port} to {place.last_port}")


def end(name: str) -> None:
    Machine.attach(name).end()


COMMANDS: dict[str, Callable[..., None]] = {
    "boot": boot,
    "bare": bare,
    "update": update,
    "shell": shell,
    "run": run,
    "list": show,
    "end": end,
}

if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
    raise SystemExit(package.__doc__)
COMMANDS[sys.argv[1]](*sys.argv[2:])
