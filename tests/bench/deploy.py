"""`python3 -m tests.bench deploy`."""

from __future__ import annotations

import time
from functools import partial

from tests.bench.byhand import Person
from tests.bench.deployed import Deployed
from tests.bench.subjects import Subject
from tests.bench.table import Comparison, show
from tests.machine import Machine


def measure(machine: Machine, subjects: list[Subject], pairs: int) -> None:
    comparisons = []
    for subject in subjects:
        url = machine.repositories.create(f"bench-{subject.name}", subject.edition(1))
        person = Person(machine, subject, url)
        comparisons.append(cold(machine, subject, url, person, max(1, pairs // 3)))
        comparisons.append(warm(machine, subject, url, person, pairs))
        person.leave()
    show(comparisons, "deploy", "by hand")


def cold(machine: Machine, subject: Subject, url: str, person: Person, pairs: int) -> Comparison:
    """An app that was never deployed: no packages, no caches."""
    comparison = Comparison(f"{subject.name}, cold", subject.cold_aim)
    for number in range(pairs):
        deployed = Deployed(machine, subject, url, f"cold-{subject.name}-{number}")
        person.forget()
        comparison.pair(partial(deployed.deploy, 1), partial(person.seconds, "first", 1))
        deployed.remove()
    print(comparison.row(), flush=True)
    return comparison


def warm(machine: Machine, subject: Subject, url: str, person: Person, pairs: int) -> Comparison:
    """It ran before, a commit changed one line, the requirements are the same. By hand, the last cold run goes on."""
    comparison = Comparison(f"{subject.name}, warm", subject.warm_aim)
    deployed = Deployed(machine, subject, url, f"warm-{subject.name}")
    deployed.deploy(1)
    for number in range(2, pairs + 2):
        # By hand, Python takes a file that changed within a second, and not in size, for what it has compiled.
        time.sleep(1.1)
        machine.repositories.commit(f"bench-{subject.name}", subject.edition(number))
        comparison.pair(partial(deployed.deploy, number), partial(person.seconds, "again", number))
    print(comparison.row(), flush=True)
    deployed.remove()
    return comparison
