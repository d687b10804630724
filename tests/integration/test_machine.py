"""The harness itself: without it no other test on a machine means anything."""

import pytest

from tests.machine import Machine
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
