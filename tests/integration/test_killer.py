"""A release that kills every process of its user can be mended and rolled back."""

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import SERVER, Deployments, server
from tests.machine import Machine

#: What one user may signal, it ends, all the time, but itself and its launcher, with which it would end.
KILLING = """
import contextlib, os, threading, time

def kill():
    while True:
        own = {os.getppid(), *map(int, os.listdir("/proc/self/task"))}
        # /proc does not show those of the other slot; they are newer.
        for pid in range(os.getpid(), os.getpid() + 3000):
            if pid not in own:
                with contextlib.suppress(OSError):
                    os.kill(pid, 9)
        time.sleep(0.005)

threading.Thread(target=kill, daemon=True).start()
"""


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def test_a_release_that_kills_is_replaced_and_rolled_back(api: Deployments) -> None:
    """Else the only way out is root's, on the host."""
    api.create("killer", server("calm"))
    api.healthy("killer")
    for what in ("rollback", "deployments"):
        api.commit("killer", {"app.py": KILLING + SERVER, "version.txt": "kills"})
        api.healthy("killer")
        assert api.get("killer").body == "kills"
        version = "calm" if what == "rollback" else "mended"
        api.commit("killer", {"app.py": SERVER, "version.txt": version})
        about = api.wait("killer", api.start("killer", what), 60)
        assert about["status"] == "healthy", about["last_error"]
        assert "it is stopped first" in api.logs("killer", about["id"])
        api.wait_until_settled("killer")
        assert api.get("killer").body == version
        assert api.machine.failed_units() == []
