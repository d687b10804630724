"""`python3 -m tests.bench scale`: what each thing takes with many apps, over what it took with one, in the same run."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from tests.bench.subjects import Subject, sign
from tests.bench.watch import PATIENCE_SECONDS, page, until
from tests.machine import Machine
from tests.machine.machine import BASE_DOMAIN

ROW = "{:<44} {:>9} {:>9} {:>7} {:>7}"
#: So many apps are imported and deployed at once to fill the machine.
AT_ONCE = 4
#: What follows a deployment, an import or a removal ends in this time.
CALM_SECONDS = 4.0
PROBE, SEVERAL = "probe", 10
AIMS = {"import": 2.0, "delete": 2.0, "warm deployment": 1.5, "restart of the agent": 2.0}


def measure(machine: Machine, subjects: list[Subject], pairs: int, count: int) -> None:
    scale = Scale(machine, subjects[0])
    scale.add(PROBE)
    with_one = scale.times(pairs)
    scale.fill(count - 1)
    with_many = scale.times(pairs)
    print(ROW.format("", "1 app", f"{count} apps", "ratio", "aim"))
    for what, aim in AIMS.items():
        one, many = median(with_one[what]), median(with_many[what])
        print(ROW.format(what, f"{one:.2f} s", f"{many:.2f} s", f"{many / one:.2f}", f"<= {aim:g}"), flush=True)
    scale.print_at_once(min(SEVERAL, count - 1))
    scale.print_boot()


class Scale:
    def __init__(self, machine: Machine, subject: Subject) -> None:
        self._machine, self._subject, self._edition = machine, subject, 1
        self._url = machine.repositories.create("bench-scale", subject.edition(1))
        self._apps: list[str] = []

    def times(self, pairs: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {what: [] for what in AIMS}
        self.deploy(PROBE)
        for _ in range(pairs):
            self._commit()
            found["warm deployment"].append(self._calm(lambda: self.deploy(PROBE)))
        for _ in range(pairs):
            found["import"].append(self._calm(lambda: self.import_app("passing")))
            found["delete"].append(self._calm(lambda: self._call("DELETE", "/apps/passing", None, 204)))
        for _ in range(pairs):
            found["restart of the agent"].append(self._calm(self._restart))
        return found

    def fill(self, more: int) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.add, [f"app-{number}" for number in range(more)]))
        print(f"{more} more apps in {time.monotonic() - started:.0f} s", flush=True)
        time.sleep(CALM_SECONDS)

    def add(self, name: str) -> None:
        self.import_app(name)
        self.deploy(name)
        self._apps.append(name)

    def import_app(self, name: str) -> None:
        repository = {"provider": "git", "owner": "bench", "name": name, "clone_url": self._url}
        self._call("POST", "/apps/import", {"name": name, "repository": repository}, 201)

    def deploy(self, name: str) -> None:
        path, wait = f"/apps/{name}/deployments", {"Prefer": f"wait={PATIENCE_SECONDS}"}
        accepted = self._call("POST", path, {}, (200, 202), wait)
        shown = f"{path}/{accepted.get('deployment_id') or accepted['id']}"
        ended: Any = accepted
        while ended["status"] not in ("healthy", "failed"):
            time.sleep(0.05)
            ended = self._call("GET", shown, None, 200)
        if ended["status"] != "healthy":
            raise SystemExit(f"the deployment of {name} is {ended['status']}: {ended['last_error']}")

    def print_at_once(self, number: int) -> None:
        """The same deployments, one after the other and all at once."""
        names = self._apps[-number:]
        self._commit()
        started = time.monotonic()
        for name in names:
            self.deploy(name)
        turns = time.monotonic() - started
        time.sleep(CALM_SECONDS)
        self._commit()
        started = time.monotonic()
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(self.deploy, names))
        together = time.monotonic() - started
        what = f"{number} deployments, one by one and at once"
        print(ROW.format(what, f"{turns:.1f} s", f"{together:.1f} s", f"{together / turns:.2f}", ""), flush=True)
        time.sleep(CALM_SECONDS)

    def print_boot(self) -> None:
        """Seconds from the start of PID 1, whose clock is this host's."""
        before = self._machine.leader
        self._machine.run(["systemctl", "--no-block", "reboot"])
        until(lambda: self._machine._leader() not in (before, None), "the machine to come back")
        seen: dict[str, float] = {}
        waiting = list(reversed(self._apps))
        while waiting:
            waiting = [name for name in waiting if not self._serves(name, seen)]
            if "agent" not in seen and self._agent_answers():
                seen["agent"] = time.monotonic()
        until(lambda: "agent" in seen or self._agent_answers(), "the agent")
        seen.setdefault("agent", time.monotonic())
        asked = ["systemctl", "show", "--value", "--property=UserspaceTimestampMonotonic"]
        begun = int(self._machine.run(asked).stdout) / 1e6
        apps = sorted(at - begun for name, at in seen.items() if name != "agent")
        for what, seconds in (
            ("after a boot, the first app serves", apps[0]),
            ("after a boot, the middle one serves", median(apps)),
            ("after a boot, the last app serves", apps[-1]),
            ("after a boot, the agent answers", seen["agent"] - begun),
        ):
            print(ROW.format(what, "", f"{seconds:.1f} s", "", ""), flush=True)

    def _serves(self, name: str, seen: dict[str, float]) -> bool:
        ingress = f"http://127.0.0.1:{self._machine.place.http_port}"
        if page(ingress, f"{name}.{BASE_DOMAIN}") is None:
            return False
        seen[name] = time.monotonic()
        return True

    def _agent_answers(self) -> bool:
        try:
            return self._machine.http("GET", "/api/v1/health", checked=False).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _restart(self) -> None:
        """`systemctl restart` waits until the agent is ready."""
        self._machine.run(["systemctl", "restart", "rustploy-agent.service"], timeout=PATIENCE_SECONDS)

    def _commit(self) -> None:
        self._edition += 1
        page_of_it = self._subject.edition(self._edition)
        assert sign(self._edition) in page_of_it[self._subject.edited]
        self._machine.repositories.commit("bench-scale", page_of_it)

    @staticmethod
    def _calm(action: Callable[[], object]) -> float:
        started = time.monotonic()
        action()
        taken = time.monotonic() - started
        time.sleep(CALM_SECONDS)
        return taken

    def _call(
        self, method: str, path: str, body: Any, expected: int | tuple[int, ...], headers: dict[str, str] | None = None
    ) -> Any:
        known = (expected,) if isinstance(expected, int) else expected
        url = f"/api/v1{path}"
        while True:
            answer = self._machine.http(method, url, body, headers=headers, timeout=PATIENCE_SECONDS, checked=False)
            if answer.status in known:
                return answer.body
            if answer.status != 503:
                raise SystemExit(f"{method} {path} answered {answer.status}, not {expected}: {answer.body}")
            time.sleep(0.2)
