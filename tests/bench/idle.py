"""`python3 -m tests.bench idle`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.deployed import Deployed
from tests.bench.subjects import Subject
from tests.machine import Machine

UNIT = "rustploy-agent.service"
SECONDS = 60
SETTLE_SECONDS = 5
MEMORY_AIM_MIB = 35
COLUMNS = "{:<34} {:>12} {:>14} {:>16}"


@dataclass(frozen=True)
class Reading:
    """Of all the agent's processes; times in seconds, switches of all threads."""

    pss_kib: int
    processor_seconds: float
    context_switches: int
    threads: int


def measure(machine: Machine, subjects: list[Subject], pairs: int) -> None:
    machine.run(["systemctl", "restart", UNIT])
    machine.wait_for_agent()
    print(COLUMNS.format("", "PSS", "CPU in 60 s", "wake-ups in 60 s"))
    report(machine, "after start")
    deployments = 0
    for subject in subjects:
        deployments += deploy_some(machine, subject, pairs)
    report(machine, f"after {deployments} deployments")
    print(COLUMNS.format("aim", f"<= {MEMORY_AIM_MIB} MiB", "0", "0"))


def deploy_some(machine: Machine, subject: Subject, count: int) -> int:
    """The app stays: its being there must not keep the agent awake either."""
    url = machine.repositories.create(f"bench-{subject.name}", subject.edition(1))
    deployed = Deployed(machine, subject, url, f"idle-{subject.name}")
    deployed.deploy(1)
    for number in range(2, count + 1):
        machine.repositories.commit(f"bench-{subject.name}", subject.edition(number))
        deployed.deploy(number)
    return count


def report(machine: Machine, when: str) -> None:
    time.sleep(SETTLE_SECONDS)
    before = read(machine)
    time.sleep(SECONDS)
    after = read(machine)
    memory = f"{after.pss_kib / 1024:.1f} MiB"
    processor = f"{(after.processor_seconds - before.processor_seconds) * 1000:.0f} ms"
    switches = f"{after.context_switches - before.context_switches}"
    print(COLUMNS.format(f"{when} ({after.threads} threads)", memory, processor, switches), flush=True)


def read(machine: Machine) -> Reading:
    """Read from the host, so that reading does not wake what is measured."""
    processes = [Path(f"/proc/{pid}") for pid in agent_pids(machine)]
    threads = [thread for process in processes for thread in (process / "task").iterdir()]
    return Reading(
        sum(_pss_kib(process) for process in processes),
        sum(_processor_seconds(process) for process in processes),
        sum(_switches(thread) for thread in threads),
        len(threads),
    )


def agent_pids(machine: Machine) -> list[int]:
    """The host's process ids of the unit's processes."""
    group = machine.run(["systemctl", "show", "--property=ControlGroup", "--value", UNIT]).stdout.strip()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{group}\n" in (entry / "cgroup").read_text() and _inside(machine, entry):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    if not found:
        raise SystemExit(f"{UNIT} does not run on {machine.name}")
    return found


def _inside(machine: Machine, process: Path) -> bool:
    return (process / "ns" / "pid").readlink() == Path(f"/proc/{machine.leader}/ns/pid").readlink()


def _pss_kib(process: Path) -> int:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _processor_seconds(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _switches(thread: Path) -> int:
    lines = (thread / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
