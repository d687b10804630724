"""`python3 -m tests.bench ingress`."""

from __future__ import annotations

import re
import threading
import time
from statistics import median

from tests.bench.deployed import Deployed
from tests.bench.rollback import start
from tests.bench.subjects import Subject
from tests.bench.table import Comparison, show
from tests.bench.watch import page
from tests.machine import Machine
from tests.machine.machine import BASE_DOMAIN

CONNECTIONS, SECONDS = 16, 4
SWITCH_AIM = 1.3
COLUMNS = "{:<8} {:>9} {:>9} {:>9} {:>14} {:>14}"
RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
#: As whoever has always put nginx in front of an app writes it; the rest is Debian's nginx.conf.
NGINX = """
server {{
    listen 127.0.0.1:{listen};
    location / {{
        proxy_pass http://127.0.0.1:{app};
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
"""


def measure(machine: Machine, subjects: list[Subject], pairs: int) -> None:
    machine.apt("update")
    machine.apt("install", "nginx-light", "wrk")
    machine.run(["rm", "-f", "/etc/nginx/sites-enabled/default"])
    deployed = {subject.name: _deployed(machine, subject) for subject in subjects}
    print(COLUMNS.format("", "app", "ingress", "nginx", "ingress/app", "ingress/nginx"), flush=True)
    for app in deployed.values():
        rates(machine, app, pairs)
    show([gaps(machine, subject, deployed[subject.name], pairs) for subject in subjects], "deploying", "calm")
    show([switches(machine, subject, deployed[subject.name], pairs) for subject in subjects], "switched", "start-up")


def _deployed(machine: Machine, subject: Subject) -> Deployed:
    url = machine.repositories.create(f"bench-{subject.name}", subject.edition(1))
    deployed = Deployed(machine, subject, url, f"front-{subject.name}")
    deployed.deploy(1)
    return deployed


def rates(machine: Machine, deployed: Deployed, pairs: int) -> None:
    """Requests per second of the app itself, through the ingress and through nginx, one right after the other."""
    port = int(deployed.show()["address"].rpartition(":")[2])
    listen = machine.place.last_port
    machine.write("/etc/nginx/sites-enabled/bench.conf", NGINX.format(listen=listen, app=port))
    machine.run(["systemctl", "reload-or-restart", "nginx.service"])
    host = f"{deployed.name}.{BASE_DOMAIN}"
    ways = (port, machine.place.http_port, listen)
    found = [[wrk(machine, way, host) for way in ways] for _ in range(pairs)]
    medians = [f"{median(row[way] for row in found):.0f}" for way in range(len(ways))]
    ratios = [f"{median(row[1] / row[other] for row in found):.2f}" for other in (0, 2)]
    print(COLUMNS.format(deployed.subject.name, *medians, *ratios), flush=True)


def wrk(machine: Machine, port: int, host: str) -> float:
    options = ["--threads=1", f"--connections={CONNECTIONS}", f"--duration={SECONDS}s", "--header", f"Host: {host}"]
    said = machine.run(["wrk", *options, f"http://127.0.0.1:{port}/"]).stdout
    rate = RATE.search(said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk on port {port}: {said}")
    return float(rate[1])


def gaps(machine: Machine, subject: Subject, deployed: Deployed, pairs: int) -> Comparison:
    """The longest time without an answer during a warm deployment, over that of a calm while."""
    comparison = Comparison(subject.name, None)
    for number in range(2, pairs + 2):
        machine.repositories.commit(f"bench-{subject.name}", subject.edition(number))
        with Visitor(machine, deployed.name) as busy:
            deployed.deploy(number)
        with Visitor(machine, deployed.name) as calm:
            time.sleep(busy.seconds)
        comparison.ours.append(busy.longest)
        comparison.others.append(calm.longest)
    return comparison


def switches(machine: Machine, subject: Subject, deployed: Deployed, pairs: int) -> Comparison:
    """From POST until the ingress serves the new page, warm, over a start of the app's unit until it answers.

    Without visitors, who would slow down both.
    """
    comparison = Comparison(subject.name, SWITCH_AIM)
    for number in range(pairs + 2, 2 * pairs + 2):
        machine.repositories.commit(f"bench-{subject.name}", subject.edition(number))
        comparison.ours.append(deployed.switch(number))
        comparison.others.append(start(machine, deployed, number))
    return comparison


class Visitor:
    """Asks the ingress for the app's page, one request after the other; `longest` is from one answer to the next."""

    def __init__(self, machine: Machine, app: str) -> None:
        self._address, self._host = f"http://127.0.0.1:{machine.place.http_port}", f"{app}.{BASE_DOMAIN}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.longest = self.seconds = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        last = time.monotonic()
        while not self._over.is_set():
            if page(self._address, host=self._host) is not None:
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
