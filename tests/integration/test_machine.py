"""The harness itself: without it no other test on a machine means anything."""

import subprocess
import sys
import time

import pytest

from tests.machine import Machine, places
from tests.machine.places import started


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_power_cut_ends_every_process_and_keeps_files(release: str) -> None:
    machine = Machine.create(release)
    try:
        machine.write("/var/lib/kept", "kept")
        leader = machine.leader
        machine.power_cut()
        assert started(leader) is None
        machine.boot()
        assert machine.read("/var/lib/kept") == "kept"
        machine.reboot()
        assert machine.read("/var/lib/kept") == "kept"
        assert machine.failed_units() == []
    finally:
        machine.end()


def test_a_killed_run_leaves_no_machine_behind() -> None:
    """Otherwise every broken-off run would cost ports and memory until the host is restarted."""
    program = "from tests.machine import Machine; m = Machine.create('bookworm'); print(m.name, m.leader, flush=True)"
    program += "; input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        name, leader = run.stdout.readline().decode().split()
        run.kill()
        run.wait(10)
    deadline = time.monotonic() + 10
    while started(int(leader)) is not None:
        assert time.monotonic() < deadline, f"{name} goes on without the run that made it"
        time.sleep(0.05)
    places.clear_left_over()
    assert name not in [place.name for place in places.taken()]


def test_two_machines_run_side_by_side() -> None:
    """With their cgroups in common one would wait for the other's processes, with their ports for its agent."""
    first, second = Machine.create("bookworm"), Machine.create("bookworm")
    try:
        assert first.place.port != second.place.port
        for machine in (first, second):
            machine.run(["systemd-run", "--unit=same", "sleep", "60"])
        first.run(["systemctl", "stop", "same.service"])
        assert second.run(["systemctl", "is-active", "same.service"]).stdout.strip() == "active"
    finally:
        first.end()
        second.end()
