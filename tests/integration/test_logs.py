"""Every line of a build and of an app: through the API, and with journalctl alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rustploy_agent.loglines import CUT, LONGEST_LINE
from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def two(api: Deployments) -> list[str]:
    """Two deployments, each of which says which one it is while it builds, migrates and serves."""
    made = []
    api.create("chatty", _saying("one"), build_mode="script")
    made.append(api.healthy("chatty")["id"])
    api.commit("chatty", _saying("two"))
    made.append(api.healthy("chatty")["id"])
    return made


def _saying(version: str) -> dict[str, str]:
    build = f"echo building {version}; echo warning of {version} >&2"
    procfile = f"web: exec python3 app.py\nrelease: echo migrating {version}\n"
    return scripted(version, build) | {"Procfile": procfile}


EXPECTED = ["building {0}", "warning of {0}", "migrating {0}", "version {0} listens on"]


@pytest.mark.parametrize(("index", "version", "other"), [(0, "one", "two"), (1, "two", "one")])
def test_the_log_of_a_deployment_has_its_lines_in_order_and_no_others(
    api: Deployments, two: list[str], index: int, version: str, other: str
) -> None:
    """Else who looks for why a build failed reads another build's log."""
    lines = api.logs("chatty", two[index]).splitlines()
    places = [
        next((number for number, line in enumerate(lines) if text.format(version) in line), -1) for text in EXPECTED
    ]
    assert -1 not in places, lines
    assert places[0] < places[2] < places[3]
    assert [line for line in lines for text in EXPECTED if text.format(other) in line] == []


def test_journalctl_alone_shows_an_app_and_a_deployment(api: Deployments, two: list[str]) -> None:
    """Else an operator on the host needs the agent to see what an app says."""
    of_app = [entry["MESSAGE"] for entry in api.machine.journal("RUSTPLOY_APP=chatty")]
    of_second = [
        entry["MESSAGE"] for entry in api.machine.journal("RUSTPLOY_APP=chatty", f"RUSTPLOY_DEPLOYMENT={two[1]}")
    ]
    for text in EXPECTED:
        assert any(text.format("one") in line for line in of_app)
        assert any(text.format("two") in line for line in of_app)
        assert any(text.format("two") in line for line in of_second)
        assert not any(text.format("one") in line for line in of_second)


def test_the_tail_of_a_log_is_its_newest_lines(api: Deployments, two: list[str]) -> None:
    """Else a long log cannot be looked at without loading all of it."""
    whole = api.logs("chatty", two[1]).splitlines()
    answer = api.machine.http("GET", f"/api/v1/apps/chatty/deployments/{two[1]}/logs?tail=3")
    assert answer.body["logs"].splitlines() == whole[-3:]
    wrong = api.machine.http("GET", f"/api/v1/apps/chatty/deployments/{two[1]}/logs?tail=0")
    assert (wrong.status, wrong.body["error"]["details"][0]["field"]) == (400, "tail")


def test_a_line_that_journald_is_just_writing_is_read_whole(api: Deployments) -> None:
    """Else a log has an empty line in the place of one line of thousands, and the reader never sees that one."""
    api.machine.send(Path(__file__).with_name("linking.py"), "/run/linking.py")
    for _ in range(2):  # the first makes the unit and its field known to the file
        read = api.machine.run(["python3", "/run/linking.py", "11111111-1111-4111-8111-111111111111"]).stdout
    assert read == "read\n"


def test_logs_go_on_without_the_agent(api: Deployments, two: list[str]) -> None:
    """Else the lines that tell why the agent died are the ones that are missing."""
    api.machine.run(["systemctl", "stop", "rustploy-agent.service"])
    try:
        unit = "rustploy-app@chatty-web-b.service"
        api.machine.run(["systemctl", "restart", unit])
        found = ["RUSTPLOY_APP=chatty", f"RUSTPLOY_DEPLOYMENT={two[1]}", f"_SYSTEMD_UNIT={unit}"]
        api.machine.wait_for(
            lambda: len(api.machine.journal(*found)) >= 2, 10, "the app's first line after its restart"
        )
    finally:
        api.machine.run(["systemctl", "start", "rustploy-agent.service"])
        api.machine.wait_for_agent()


#: journald takes a field of any size in a sealed piece of memory; only builds reach its socket.
HUGE = """
import fcntl, json, os, pathlib, socket, sys

app, size = sys.argv[1], int(sys.argv[2])
deployment = json.loads(pathlib.Path(f"/var/lib/rustploy/apps/{app}/jobs/build.json").read_bytes())["deployment_id"]
line = os.urandom(size)
memory = os.memfd_create("line", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
with open(memory, "wb", closefd=False) as file:
    file.write(f"RUSTPLOY_DEPLOYMENT={deployment}\\nMESSAGE\\n".encode() + size.to_bytes(8, "little") + line + b"\\n")
seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.connect("/run/systemd/journal/socket")
    socket.send_fds(journal, [b""], [memory])
"""


def test_a_line_of_any_size_is_cut_before_it_costs_memory(api: Deployments) -> None:
    """Else a build makes the agent as large as it likes whenever somebody looks at its log."""
    size = 16 << 20
    files = scripted("one", f"python3 huge.py huge {size}; echo after it") | {"huge.py": HUGE}
    api.create("huge", files, build_mode="script")
    before = _largest(api)
    log = api.logs("huge", api.healthy("huge")["id"])
    assert CUT in log and "after it" in log and len(log) < 2 * LONGEST_LINE
    assert _largest(api) - before < 4.5 * size, "a mapping and copies of the bytes, but not of their characters"


def _largest(api: Deployments) -> int:
    """Bytes that the agent has had in memory at once since its start."""
    pid = api.machine.property("rustploy-agent.service", "MainPID")
    status = dict(line.partition(":")[::2] for line in api.machine.read(f"/proc/{pid}/status").splitlines())
    return 1024 * int(status["VmHWM"].split()[0])
