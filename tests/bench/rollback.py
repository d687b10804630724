"""`python3 -m tests.bench rollback`."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from typing import Any

from tests.bench.deployed import Deployed
from tests.bench.subjects import Subject, sign
from tests.bench.table import Comparison, show
from tests.bench.watch import page_shows
from tests.machine import Machine

AIM = 2.0


def measure(machine: Machine, subjects: list[Subject], pairs: int) -> None:
    show([compare(machine, subject, pairs) for subject in subjects], "rollback", "restart")


def compare(machine: Machine, subject: Subject, pairs: int) -> Comparison:
    """Back and forth between two releases; in between, systemd restarts the unit of whichever runs."""
    comparison = Comparison(subject.name, AIM)
    url = machine.repositories.create(f"bench-{subject.name}", subject.edition(1))
    deployed = Deployed(machine, subject, url, f"back-{subject.name}")
    deployed.deploy(1)
    first = deployed.active()
    machine.repositories.commit(f"bench-{subject.name}", subject.edition(2))
    deployed.deploy(2)
    second = deployed.active()
    for turn in range(pairs):
        target, number = ((first, 1), (second, 2))[turn % 2]
        # In even turns the rollback comes first, so the restart finds what it brought; in odd ones what was there.
        running = 3 - number if turn % 2 else number
        comparison.pair(
            partial(deployed.rollback, target, number),
            partial(restart, machine, deployed, running),
        )
    print(comparison.row(), flush=True)
    deployed.remove()
    return comparison


def restart(machine: Machine, deployed: Deployed, number: int) -> float:
    """Seconds of `systemctl restart` until the app answers again."""
    return _until_it_answers(machine, deployed, number, "restart")


def start(machine: Machine, deployed: Deployed, number: int) -> float:
    """Seconds of `systemctl start`, of an app that does not run, until it answers."""
    machine.run(["systemctl", "stop", _unit(deployed.show())])
    return _until_it_answers(machine, deployed, number, "start")


def _unit(app: Any) -> str:
    return str(next(process["unit"] for process in app["processes"] if process["type"] == "web"))


def _until_it_answers(machine: Machine, deployed: Deployed, number: int, verb: str) -> float:
    """Entering the machine is not part of it."""
    app = deployed.show()
    unit = _unit(app)
    argv = machine.argv(["bash", "-c", 'read -r _ && systemctl "$1" "$2" && echo done', verb, verb, unit])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        time.sleep(0.2)
        started = time.monotonic()
        assert shell.stdin is not None and shell.stdout is not None
        shell.stdin.write("go\n")
        shell.stdin.flush()
        if not shell.stdout.readline():
            raise SystemExit(f"systemctl {verb} {unit} failed")
        page_shows(app["address"], sign(number), f"{unit} after its {verb}")
        return time.monotonic() - started
