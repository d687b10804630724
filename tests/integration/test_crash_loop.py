"""An app that crashes again and again is not called healthy, whatever it answers in between."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import SERVER, Deployments, server
from tests.machine import Machine

FLAG = "/var/lib/rustploy/apps/loop/data/crash"
#: With the flag, it serves for a moment after each start, and then it is over.
CRASHING = """
import os, pathlib, threading, time

def crash():
    time.sleep(0.7)
    os._exit(1)

if pathlib.Path(os.environ["RUSTPLOY_DATA_DIR"], "crash").exists():
    threading.Thread(target=crash).start()
"""


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def test_a_crash_loop_is_neither_healthy_nor_unchanged(api: Deployments) -> None:
    """Else a pipeline is green while visitors get 502."""
    api.create("loop", server("calm") | {"app.py": CRASHING + SERVER})
    api.healthy("loop")
    api.machine.write(FLAG, "", owner="rp-loop:rp-loop")
    active = api.app("loop")["active_slot"]
    api.machine.run(["systemctl", "kill", "--signal=KILL", f"rustploy-app@loop-web-{active}.service"])
    for _ in range(3):
        about = api.wait("loop", api.start("loop"), 60)
        assert (about["status"], about["error_code"]) == ("failed", "exited"), about["last_error"]
    api.machine.run(["rm", FLAG])
    assert api.healthy("loop")
    assert api.get("loop").body == "calm"
