"""The command line; see the package's docstring."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tests.bench as package
from tests.bench import deploy, idle, ingress, requests, rollback, scale
from tests.bench.subjects import chosen
from tests.machine import Machine
from tests.machine.base import RELEASES
from tests.machine.machine import build_deb

KINDS = {
    "deploy": deploy.measure,
    "rollback": rollback.measure,
    "idle": idle.measure,
    "requests": requests.measure,
    "ingress": ingress.measure,
}
SCALE = "scale"


def main() -> None:
    parser = argparse.ArgumentParser(
        "python3 -m tests.bench", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=(*KINDS, SCALE))
    parser.add_argument("--release", choices=RELEASES, default="bookworm")
    parser.add_argument("--machine")
    parser.add_argument("--apps")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--count", type=int, default=150)
    arguments = parser.parse_args()
    subjects = chosen(arguments.apps)
    with machine_of(arguments.machine, arguments.release) as machine:
        if arguments.kind == SCALE:
            scale.measure(machine, subjects, arguments.pairs, arguments.count)
        else:
            KINDS[arguments.kind](machine, subjects, arguments.pairs)


@contextlib.contextmanager
def machine_of(name: str | None, release: str) -> Iterator[Machine]:
    """A new machine with the package of this work tree, ended afterwards; or a running one, left as it is."""
    if name is not None:
        machine = Machine.attach(name)
        created = machine.run(["rustploy-agent", "token", "create", "--name", "bench", "--scope", "admin"])
        machine.token = created.stdout.splitlines()[-1]
        yield machine
        return
    machine = Machine.create(release)
    try:
        with tempfile.TemporaryDirectory() as directory:
            machine.install(build_deb(Path(directory)))
        yield machine
    finally:
        machine.end()


if __name__ == "__main__":
    main()
