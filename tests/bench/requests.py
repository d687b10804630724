"""`python3 -m tests.bench requests`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.load import Rate, rate
from tests.bench.subjects import Subject
from tests.integration.helpers import install_script_buildpack, scripted
from tests.machine import Machine

SECONDS = 4.0
APPS, FEW, MANY = 200, 100, 100_000
LIST_AIM = 1.5
COLUMNS = "{:<26} {:>10} {:>10} {:>7} {:>10} {:>10} {:>9}"

#: The server of the agent, with its threads and its way with bodies, and the smallest application there can be.
HELLO = """
import socket, sys
from flask import Flask
from rustploy_agent import config, spool, webhooks
from rustploy_agent.api.resource import LARGEST_BODY
from rustploy_agent.server import Server
app = Flask("hello")
app.add_url_rule("/", "hello", lambda: {"status": "ok"})
here = socket.create_server(("127.0.0.1", int(sys.argv[1])))
settings = config.parse({})
channel = spool.channel_class(LARGEST_BODY, webhooks.may_be_large)
Server(app, [here], settings.threads + settings.streams, channel).run()
"""

#: Rows as the agent would write them; apps of which nothing runs cost its API the same.
FILL = """
import sqlite3, sys, uuid
apps, few, many = map(int, sys.argv[1:])
database = sqlite3.connect("/var/lib/rustploy/agent/rustploy.db")
insert = "INSERT INTO app (id, name, repository, created_at_unix_ms, updated_at_unix_ms) VALUES (?, ?, ?, 1, 1)"
repository = '{"provider": "git", "owner": "o", "name": "n", "clone_url": "https://git.example.org/n"}'
names = [f"bench{number}" for number in range(apps - 1)]
ids = {name: str(uuid.uuid4()) for name in names}
database.executemany(insert, [(ids[name], name, repository) for name in names])
rows = [(ids[name], number) for name, count in (("bench0", few), ("bench1", many)) for number in range(count)]
database.executemany(
    "INSERT INTO deployment (id, app_id, kind, status, created_at_unix_ms, updated_at_unix_ms, finished_at_unix_ms)"
    " VALUES (?, ?, 'deploy', 'failed', ?, 1, 1)", [(str(uuid.uuid4()), app, number + 1) for app, number in rows])
database.commit()
"""


def measure(machine: Machine, _: list[Subject], pairs: int) -> None:
    """On a machine of its own: it fills the database."""
    settings = machine.settings() | {"deployments": {"concurrency": 1}}
    machine.write("/etc/rustploy/agent.yaml", json.dumps(settings), 0o640, "root:rustploy")
    machine.run(["systemctl", "restart", "rustploy-agent.service"])
    machine.wait_for_agent()
    keep_the_worker_busy(machine)
    machine.run(
        ["setpriv", "--reuid=rustploy", "--regid=rustploy", "--clear-groups", "python3", "-c", FILL]
        + [str(number) for number in (APPS, FEW, MANY)],
        timeout=120,
    )
    port = machine.place.port
    with hello(machine) as bare:
        print(COLUMNS.format("", "per s", "bare", "ratio", "p99 ms", "bare", "aim"))
        compare("GET /health", pairs, (port, ask(machine, "GET", "/health"), 200), bare, ">= 0.8")
        compare(f"GET /apps ({APPS} apps)", pairs, (port, ask(machine, "GET", "/apps"), 200), bare, ">= 0.4")
        queue = ask(machine, "POST", "/apps/bench2/deployments")
        compare("POST deployments", pairs, (port, queue, 202), bare, "reported")
    lists(machine, pairs)


def keep_the_worker_busy(machine: Machine) -> None:
    """The only place is taken by a build that does not end, so what is asked for below is queued and no more."""
    install_script_buildpack(machine)
    url = machine.repositories.create("bench-busy", scripted("1", "sleep 3600"))
    repository = {"provider": "git", "owner": "bench", "name": "busy", "clone_url": url}
    machine.http("POST", "/api/v1/apps/import", {"repository": repository, "name": "busy", "build_mode": "script"})
    started = machine.http("POST", "/api/v1/apps/busy/deployments")
    path = f"/api/v1/apps/busy/deployments/{started.body['deployment_id']}"
    machine.wait_for(lambda: machine.http("GET", path).body["step"] == "build", 60, "the build to have begun")


@contextmanager
def hello(machine: Machine) -> Iterator[tuple[int, bytes, int]]:
    port = machine.place.last_port
    machine.run(["systemd-run", "--quiet", "--unit=bench-hello", "--uid=rustploy", "python3", "-c", HELLO, str(port)])
    machine.wait_for(lambda: machine.run(["curl", "-s", f"127.0.0.1:{port}"], check=False).returncode == 0, 20, "hello")
    try:
        yield port, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode(), 200
    finally:
        machine.run(["systemctl", "stop", "bench-hello.service"])


def ask(machine: Machine, method: str, path: str) -> bytes:
    head = [f"{method} /api/v1{path} HTTP/1.1", f"Host: 127.0.0.1:{machine.place.port}"]
    head += [f"Authorization: Bearer {machine.token}", *(["Content-Length: 0"] if method == "POST" else [])]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def compare(what: str, pairs: int, ours: tuple[int, bytes, int], bare: tuple[int, bytes, int], aim: str) -> None:
    found: list[tuple[Rate, Rate]] = [(rate(*ours, SECONDS), rate(*bare, SECONDS)) for _ in range(pairs)]
    mine, other = (median(pair[side].per_second for pair in found) for side in (0, 1))
    ratio = median(pair[0].per_second / pair[1].per_second for pair in found)
    slow = [f"{1000 * median(pair[side].p99 for pair in found):.1f}" for side in (0, 1)]
    print(COLUMNS.format(what, f"{mine:.0f}", f"{other:.0f}", f"{ratio:.2f}", *slow, aim), flush=True)


def lists(machine: Machine, pairs: int) -> None:
    """The newest page of a long history over that of a short one, by time per request."""
    ratios = []
    for _ in range(pairs):
        few, many = (
            rate(machine.place.port, ask(machine, "GET", f"/apps/{app}/deployments?limit=100"), 200, SECONDS)
            for app in ("bench0", "bench1")
        )
        ratios.append(few.per_second / many.per_second)
    print(f"GET deployments, {MANY} rows over {FEW}: {median(ratios):.2f} (aim <= {LIST_AIM})")
