"""Apps made with desired states and slot files written by hand, so that what no agent asks for reaches apply too."""

import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.machine import Machine

AGENT, APPS = "/var/lib/rustploy/agent", "/var/lib/rustploy/apps"
DESIRED, RESULT = f"{AGENT}/desired.json", "/var/lib/rustploy/apply/result.json"
MIB = 1024 * 1024


class Applied(NamedTuple):
    status: int  # of `systemctl start rustploy-apply.service`
    result: Any


def slot(port: int | None = None, deployment_id: str | None = None) -> dict[str, Any]:
    return {"port": port, "deployment_id": deployment_id}


def process(kind: str = "web", a: Any = None, b: Any = None, **limits: Any) -> dict[str, Any]:
    default = {"memory_max_bytes": 512 * MIB, "cpu_quota_percent": 200, "tasks_max": 256}
    return {"type": kind, **default, **limits, "slots": {"a": a or slot(), "b": b or slot()}}


def app(name: str, *processes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "processes": list(processes), "remove_slugs": [], **more}


def desired(*apps: Any, **more: Any) -> dict[str, Any]:
    return {"version": 1, "apps": list(apps), "remove_apps": [], **more}


class ByHand:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def apply(self, state: Any) -> Applied:
        """Write the desired state (bytes as they are, anything else as JSON) and run apply."""
        text = state if isinstance(state, str) else json.dumps(state)
        self.machine.write(DESIRED, text, 0o600, "rustploy:rustploy")
        return self.run_apply()

    def run_apply(self) -> Applied:
        self.machine.run(["rm", "-f", RESULT])
        done = self.machine.run(["systemctl", "start", "rustploy-apply.service"], check=False, timeout=300)
        if done.returncode != 0:
            self.machine.run(["systemctl", "reset-failed", "rustploy-apply.service"])
        return Applied(done.returncode, json.loads(self.machine.read(RESULT)))

    def make(self, *apps: dict[str, Any], **more: Any) -> None:
        applied = self.apply(desired(*apps, **more))
        assert applied.status == 0 and all(about["ok"] for about in applied.result["apps"].values()), applied

    def remove(self, *names: str) -> None:
        applied = self.apply(desired(remove_apps=list(names)))
        assert sorted(applied.result["removed_apps"]) == sorted(names), applied

    def slug(self, name: str, files: Mapping[str, str]) -> str:
        """A sealed slug with these files; returns its app directory."""
        directory = f"{APPS}/{name}/slugs/{uuid.uuid4()}"
        self.machine.run(["install", "-d", f"--owner=rpb-{name}", f"--group=rpb-{name}", f"{directory}/app"])
        for file, text in files.items():
            self.machine.write(f"{directory}/app/{file}", text, 0o644, f"rpb-{name}:rpb-{name}")
        self.machine.run(["chown", f"rustploy:rpb-{name}", directory])
        self.machine.run(["chmod", "0705", directory])
        return f"{directory}/app"

    def slot_file(
        self, name: str, slot_name: str, app_dir: str, command: str, env: Mapping[str, str] | None = None
    ) -> str:
        values = {"HOME": f"{APPS}/{name}/data", **(env or {})}
        lines = [f"export {key}={quoted(value)}\n" for key, value in values.items()]
        lines += [f"rustploy_app_dir={quoted(app_dir)}\n", f"rustploy_command={quoted(command)}\n"]
        path = f"{APPS}/{name}/slots/{slot_name}.env"
        self.machine.write(path, "".join(lines), 0o640, f"rustploy:rp-{name}")
        return path

    def main_pid(self, unit: str) -> int:
        return int(self.machine.property(unit, "MainPID"))


def quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
