"""A stop: each process of an app hears of it once, however it was started, and may finish what it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")

SERVER = """
import http.server, os, signal, sys, threading, time

name, told = sys.argv[1], []

def bye(*_):
    told.append(1)
    print(name, "told", len(told), flush=True)

signal.signal(signal.SIGTERM, bye)
if name == "web":
    address = ("127.0.0.1", int(os.environ["PORT"]))
    server = http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(name, "up", flush=True)
while not told:
    time.sleep(0.05)
time.sleep(1.5)
print(name, "drained", flush=True)
os._exit(0)
"""
#: Passes the signal on to what it started, and waits for that, as foreman, honcho and npm do.
MANAGER = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "server.py", sys.argv[1]])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
child.wait()
"""
#: Waits for signals that it blocks, as tini does.
INIT = """
import signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
unblock = lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGCHLD])
child = subprocess.Popen([sys.executable, "server.py", sys.argv[1]], preexec_fn=unblock)
while child.poll() is None:
    if signal.sigwait([signal.SIGTERM, signal.SIGCHLD]) == signal.SIGTERM:
        child.terminate()
"""
#: Knows nothing of signals, and leaves what it started behind.
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "server.py", sys.argv[1]])
"""
COMMANDS = {
    "web": "./run.sh web",
    "plain": "python3 server.py plain",
    "exec": "exec python3 server.py exec",
    "chain": "true && python3 server.py chain && echo after",
    "wrapper": "./run.sh wrapper",
    "bash": "exec bash run.sh bash",
    "execwrap": "./exec.sh execwrap",
    "trap": "./trap.sh trap",
    "loop": "while :; do python3 server.py loop; done",
    "both": "python3 server.py both1 & python3 server.py both2; wait",
    "manager": "python3 manager.py manager",
    "init": "exec python3 init.py init",
    "parent": "python3 parent.py parent",
    "deep": "./run2.sh deep",
}
FILES = {
    "server.py": SERVER,
    "manager.py": MANAGER,
    "init.py": INIT,
    "parent.py": PARENT,
    "run.sh": '#!/bin/sh\npython3 server.py "$1"\necho "$1 wrapper ends"\n',
    "exec.sh": '#!/bin/sh\nexec python3 server.py "$1"\n',
    "trap.sh": '#!/bin/bash\npython3 server.py "$1" &\ntrap "kill -TERM $!" TERM\nwait\n',
    "run2.sh": '#!/bin/sh\n./run.sh "$1"\n:\n',
    "build.sh": "chmod +x *.sh\n",
    "Procfile": "".join(f"{name}: {command}\n" for name, command in COMMANDS.items()),
}
SERVERS = sorted({*COMMANDS, "both1", "both2"} - {"both"})


@pytest.fixture
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


def test_each_process_hears_of_a_stop_once(api: Deployments) -> None:
    """Else a server behind a wrapper script, which ends at the second signal, drops the requests that it drains."""
    machine = api.machine
    api.create("told", scripted("one") | FILES, build_mode="script")
    deployment = api.healthy("told")["id"]
    for name in SERVERS:
        machine.wait_for(lambda name=name: f"{name} up" in api.logs("told", deployment), 20, f"{name} to run")
    assert machine.http("POST", "/api/v1/apps/told/stop", timeout=90).status == 200
    lines = [line for line in api.logs("told", deployment).splitlines() if line.split(" ", 1)[0] in SERVERS]
    heard = {name: [line.partition(" ")[2] for line in lines if line.split(" ", 1)[0] == name] for name in SERVERS}
    assert heard == {name: ["up", "told 1", "drained"] for name in SERVERS}
    for process in COMMANDS:
        unit = f"rustploy-app@told-{process}-a.service"
        assert machine.property(unit, "Result") == "success", process
