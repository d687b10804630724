"""systemd's manager as the agent's D-Bus door sees it: same calls, same answers, the units' programs played here.

Everything above the bus is the real code. Units have stand-ins: apply makes directories and answers with the
digest of what it read, fetch and build leave results, an app's unit serves HTTP on its port.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import select
import shlex
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rustploy_agent.systemd import SERVICE, Systemd

COMMIT = "1" * 40
DETECTION = {
    "framework": "static",
    "package_manager": "none",
    "lockfile": None,
    "build_profile": "static",
    "dockerfile_present": False,
}


@dataclass
class Unit:
    active: str = "inactive"
    sub: str = "dead"
    exit: tuple[str, int, int] = ("success", 0, 0)
    #: How often systemd had to start it again, and when its process was started (time.monotonic).
    restarts: int = 0
    started: float = 0.0
    server: ThreadingHTTPServer | None = None


@dataclass
class Manager:
    """`state` is /var/lib/rustploy. A test says by `fetched`, `built` and `refused` how the programs shall end.

    `instead` has commands of instances (`web-a2`) that shall not do what their slot file says.
    """

    state: Path
    fetched: dict[str, Any] = field(default_factory=dict)
    built: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    apply_error: str | None = None
    build_goes_on: bool = False
    #: A unit that kills all others of its app while it runs.
    killer: str | None = None
    #: Units whose files systemd has not read again.
    outdated: set[str] = field(default_factory=set)
    asked: int = 0
    applied: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    units: dict[str, Unit] = field(default_factory=dict)
    before_stop: Callable[[str], None] = lambda name: None
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def StartUnit(self, name: str, mode: str, *, timeout: float) -> str:
        self.calls.append(("start", name))
        unit = self.units.setdefault(name, Unit())
        if unit.active == "active":
            return "/job"
        kind, _, instance = name.removesuffix(".service").partition("@")
        getattr(self, kind.replace("-", "_"))(unit, instance)
        return "/job"

    def StopUnit(self, name: str, mode: str, *, timeout: float) -> str:
        self.calls.append(("stop", name))
        self.before_stop(name)
        unit = self.units.setdefault(name, Unit())
        if unit.server is not None:
            unit.server.shutdown()
            unit.server.server_close()
        self.units[name] = Unit()
        return "/job"

    def RestartUnit(self, name: str, mode: str, *, timeout: float) -> str:
        self.calls.append(("restart", name))
        self.StopUnit(name, mode, timeout=timeout)
        return self.StartUnit(name, mode, timeout=timeout)

    def ResetFailedUnit(self, name: str, *, timeout: float) -> None:
        self.units[name] = Unit()

    def ListUnitsByNames(self, names: list[str], *, timeout: float) -> list[tuple[Any, ...]]:
        self.asked += 1
        found = []
        for name in names:
            unit = self.units.get(name, Unit())
            found.append((name, "", "loaded", unit.active, unit.sub, "", f"/unit/{name}", 0, "", "/"))
        return found

    def ListUnitsByPatterns(self, states: list[str], patterns: list[str], *, timeout: float) -> list[tuple[Any, ...]]:
        assert not states
        names = [name for name in self.units if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        return self.ListUnitsByNames(names, timeout=timeout)

    def running(self) -> set[str]:
        return {name for name, unit in self.units.items() if unit.active == "active"}

    # --- what the units run

    def rustploy_apply(self, unit: Unit, _: str) -> None:
        self.applied += 1
        content = (self.state / "agent" / "desired.json").read_bytes()
        wish = json.loads(content)
        answer: dict[str, Any] = {
            "desired_sha256": hashlib.sha256(content).hexdigest(),
            "ok": self.apply_error is None,
            "error": self.apply_error,
            "apps": {},
            "removed_apps": [],
            "removed_slugs": [],
        }
        if self.apply_error is None:
            for app in wish["apps"]:
                self._provide(app, answer)
            for name in wish["remove_apps"]:
                shutil.rmtree(self.state / "apps" / name, ignore_errors=True)
                answer["removed_apps"].append(name)
        (self.state / "apply" / "result.json").write_text(json.dumps(answer))

    def _provide(self, app: dict[str, Any], answer: dict[str, Any]) -> None:
        reason = self.refused.get(app["name"])
        answer["apps"][app["name"]] = {"ok": reason is None, "error": reason}
        if reason is not None:
            return
        home = self.state / "apps" / app["name"]
        for directory in ("data", "slots", "slugs", "jobs", "results", "mirror", "cache"):
            (home / directory).mkdir(parents=True, exist_ok=True)
        for slug in app["remove_slugs"]:
            shutil.rmtree(home / "slugs" / slug, ignore_errors=True)
            answer["removed_slugs"].append(slug)

    def rustploy_fetch(self, unit: Unit, app: str) -> None:
        if self._stands_by(unit, app, "fetch", self._fetch_later):
            return
        if self.gate.is_set():
            self._fetch(app)
            return
        unit.active, unit.sub = "activating", "start"
        threading.Thread(target=self._fetch_later, args=(unit, app), daemon=True).start()

    def _stands_by(self, unit: Unit, app: str, kind: str, go_on: Callable[[Unit, str], None]) -> bool:
        """The program waits at a pipe, and goes on when there is a job."""
        job, name = self.state / "apps" / app / "jobs" / f"{kind}.json", f"rustploy-{kind}@{app}.service"
        if not job.is_fifo():
            return False

        def wait() -> None:
            while job.is_fifo() and self.units.get(name) is unit:
                with contextlib.suppress(FileNotFoundError):
                    self._read(job, lambda: self.units.get(name) is unit)
            if job.exists() and self.units.get(name) is unit:
                go_on(unit, app)

        unit.active, unit.sub = "active", "running"
        threading.Thread(target=wait, daemon=True).start()
        return True

    @staticmethod
    def _read(pipe: Path, wanted: Callable[[], bool]) -> None:
        """Until somebody has opened the other end and closed it again."""
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        poller = select.poll()
        poller.register(descriptor)
        while wanted() and not poller.poll(10):
            pass
        os.close(descriptor)

    def _fetch_later(self, unit: Unit, app: str) -> None:
        self.gate.wait(20)
        if self.units.get(f"rustploy-fetch@{app}.service") is unit:
            self._fetch(app)
            unit.active, unit.sub = "inactive", "dead"

    def _fetch(self, app: str) -> None:
        home, job = self.state / "apps" / app, self._job(app, "fetch")
        answer = {
            "version": 1,
            "deployment_id": job["deployment_id"],
            "slug_id": job["slug_id"],
            "ok": True,
            "commit": job["fetch"]["commit"] or COMMIT,
            "detection": DETECTION,
            "buildpack": "static",
            "manifest": None,
        } | self.fetched
        answer["known"] = answer["commit"] in job["fetch"]["known_commits"]
        if answer["ok"] and not answer["known"]:
            (home / "slugs" / job["slug_id"] / "app").mkdir(exist_ok=True)
        leave(home / "results" / "fetch.json", answer)

    def rustploy_build(self, unit: Unit, app: str) -> None:
        if not self._stands_by(unit, app, "build", self._build):
            self._build(unit, app)

    def _build(self, unit: Unit, app: str) -> None:
        job = self._job(app, "build")
        answer = {
            "version": 1,
            "deployment_id": job["deployment_id"],
            "slug_id": job["slug_id"],
            "ok": True,
            "procfile": None,
            "release": "default_process_types:\n  web: answer 200\n",
            "bytes": 1000,
        } | self.built
        leave(self.state / "apps" / app / "results" / "build.json", answer)
        unit.active, unit.sub = ("active", "running") if self.build_goes_on else ("inactive", "dead")

    def rustploy_task(self, unit: Unit, app: str) -> None:
        command = self._command(app, "task")
        if self.killer in self.running():
            unit.active, unit.sub, unit.exit = "failed", "failed", ("signal", 2, 9)
        elif command not in ("true", "exec sleep 1"):
            unit.active, unit.sub, unit.exit = "failed", "failed", ("exit-code", 1, 1)

    def rustploy_app(self, unit: Unit, instance: str) -> None:
        """The command `answer STATUS` serves, everything else ends at once as a missing program does."""
        app, process, slot = instance.rsplit("-", 2)
        file = self.state / "apps" / app / "slots" / f"{process}-{slot}.env"
        if file.is_fifo():  # the launcher waits, and goes on when there is a file
            unit.active, unit.sub = "active", "running"
            threading.Thread(target=self._wait, args=(unit, instance, file), daemon=True).start()
            return
        command = self.instead.get(f"{process}-{slot}") or self._command(app, f"{process}-{slot}")
        verb, _, argument = command.partition(" ")
        if self.killer in self.running() or verb == "killed":
            unit.active, unit.sub, unit.exit = "activating", "auto-restart", ("signal", 2, 9)
            return
        if verb != "answer":
            unit.active, unit.sub, unit.exit = "activating", "auto-restart", ("exit-code", 1, 127)
            return
        port = re.search(r"^export PORT=(\d+)$", file.read_text(), re.MULTILINE)
        if port is not None:
            unit.server = serve(int(port[1]), int(argument))
        unit.active, unit.sub = "active", "running"

    def _wait(self, unit: Unit, instance: str, file: Path) -> None:
        while file.is_fifo():
            time.sleep(0.005)
        if file.exists() and self.units.get(f"rustploy-app@{instance}.service") is unit:
            self.rustploy_app(unit, instance)

    def _command(self, app: str, name: str) -> str:
        text = (self.state / "apps" / app / "slots" / f"{name}.env").read_text()
        return shlex.split(text.rpartition("rustploy_command=")[2])[0]

    def _job(self, app: str, kind: str) -> dict[str, Any]:
        job: dict[str, Any] = json.loads((self.state / "apps" / app / "jobs" / f"{kind}.json").read_bytes())
        self.jobs.append(job)
        return job


def leave(result: Path, answer: dict[str, Any]) -> None:
    """As the programs do it: whole, or not there."""
    beside = result.with_name(f".{result.name}")
    beside.write_text(json.dumps(answer))
    beside.rename(result)


def serve(port: int, status: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class Door(Systemd):
    """The real door, with the manager's proxy and the properties of a unit taken from `Manager`."""

    def __init__(self, manager: Manager) -> None:
        super().__init__()
        self.manager = manager

    def _connect(self) -> Any:
        return self.manager

    def _property(self, path: str, name: str, interface: str = SERVICE) -> Any:
        assert name == "NeedDaemonReload", name
        return path.removeprefix("/unit/") in self.manager.outdated

    def _properties(self, path: str, interface: str) -> dict[str, Any]:
        unit = self.manager.units.get(path.removeprefix("/unit/"), Unit())
        found: dict[str, Any] = dict(zip(("Result", "ExecMainCode", "ExecMainStatus"), unit.exit, strict=True))
        return found | {"NRestarts": unit.restarts, "ExecMainStartTimestampMonotonic": int(unit.started * 1e6)}
