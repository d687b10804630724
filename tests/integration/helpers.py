"""The deployment API as these tests use it, and the small apps they deploy."""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.machine import Machine, Response
from tests.machine.machine import BASE_DOMAIN

#: For builds that a test steers: runs the repository's build.sh. build_mode "script" names it.
SCRIPT_BUILDPACK = {
    "detect": '#!/bin/sh\ntest -f "$1/build.sh"\n',
    "compile": '#!/bin/sh\nset -eu\ncd "$1"\nexec /bin/sh build.sh "$1" "$2"\n',
    "release": "#!/bin/sh\necho 'default_process_types: {}'\n",
}
BUILDPACKS = "/usr/lib/rustploy-agent/buildpacks"

#: Answers / with version.txt and the status in status.txt, /slow after its seconds, /env with its environment.
SERVER = """
import http.server, json, os, pathlib, sys, time

STARTED = time.monotonic()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = 200, pathlib.Path("version.txt").read_bytes()
        if pathlib.Path("status.txt").exists():
            status = int(pathlib.Path("status.txt").read_text())
        if self.path.startswith("/slow/"):
            time.sleep(float(self.path.removeprefix("/slow/")))
        if self.path == "/env":
            body = json.dumps(dict(os.environ)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

port = int((sys.argv[1:] or [os.environ["PORT"]])[0])
print("version", pathlib.Path("version.txt").read_text(), "listens on", port, flush=True)
Server(("127.0.0.1", port), Handler).serve_forever()
"""


def server(version: str, web: str = "exec python3 app.py", **files: str) -> dict[str, str]:
    """An app that needs no package index: a Procfile over the static buildpack."""
    about = {"index.html": "", "app.py": SERVER, "version.txt": version, "Procfile": f"web: {web}\n"}
    return about | {name.replace("_", "."): text for name, text in files.items()}


def scripted(version: str, build: str = "true") -> dict[str, str]:
    """The same app with a build step of its own, for build_mode "script"."""
    return server(version) | {"build.sh": build + "\n"}


def echoes(websocket: socket.socket) -> bool:
    websocket.sendall(b"still there?")
    return websocket.recv(4096) == b"still there?"


class Deployments:
    """One machine's API, with the waiting that tests need. Every wait has a deadline."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._made: set[str] = set()

    def create(self, name: str, files: Mapping[str, str], **request: Any) -> str:
        """A repository of that name and an app imported from it; the app's name."""
        self.machine.run(["rm", "-rf", self.machine.repositories.path(name)])
        return self.import_app(name, self.machine.repositories.create(name, files), **request)

    def import_app(self, name: str, url: str, **request: Any) -> str:
        repository = {"provider": "git", "owner": "tests", "name": name, "clone_url": url}
        answer = self._patiently("POST", "/api/v1/apps/import", {"repository": repository, "name": name} | request)
        assert answer.status == 201, answer.body
        self._made.add(name)
        return name

    def adopt(self, app: str) -> None:
        """An app that somebody else has made goes with the others at the end."""
        self._made.add(app)

    def _patiently(self, method: str, path: str, body: Any = None) -> Response:
        """Imports and removals that come when too many are under way are to be tried again."""

        def answered() -> Response | None:
            answer = self.machine.http(method, path, body, timeout=120)
            busy = answer.status in (429, 503) and answer.body["error"]["code"] in ("busy", "too_many_requests")
            assert not busy or int(answer.headers["Retry-After"]) > 0
            return None if busy else answer

        answer = self.machine.wait_for(answered, 120, f"{method} {path} to be taken")
        assert answer is not None
        return answer

    def commit(self, app: str, files: Mapping[str, str | None]) -> str:
        return self.machine.repositories.commit(app, files)

    def post(self, app: str, what: str = "deployments", **body: Any) -> Response:
        return self.machine.http("POST", f"/api/v1/apps/{app}/{what}", body)

    def start(self, app: str, what: str = "deployments", **body: Any) -> str:
        """The id of a deployment (or, with `what` "rollback", a rollback) that was accepted."""
        answer = self.post(app, what, **body)
        assert answer.status == 202, answer.body
        return str(answer.body["deployment_id"])

    def show(self, app: str, deployment: str) -> dict[str, Any]:
        return dict(self.machine.http("GET", f"/api/v1/apps/{app}/deployments/{deployment}").body)

    def history(self, app: str) -> list[dict[str, Any]]:
        return list(self.machine.http("GET", f"/api/v1/apps/{app}/deployments").body["items"])

    def app(self, app: str) -> dict[str, Any]:
        return dict(self.machine.http("GET", f"/api/v1/apps/{app}").body)

    def wait(self, app: str, deployment: str, seconds: float = 60) -> dict[str, Any]:
        """The deployment once it ended; AssertionError with its state and log otherwise."""

        def ended() -> dict[str, Any]:
            about = self.show(app, deployment)
            return about if about["status"] in ("healthy", "failed") else {}

        try:
            return self.machine.wait_for(ended, seconds, f"deployment {deployment} of {app} to end")
        except AssertionError as late:
            raise AssertionError(f"{late}; {self.show(app, deployment)}\n{self.logs(app, deployment)}") from None

    def wait_for_step(self, app: str, deployment: str, step: str, seconds: float = 30) -> None:
        self.machine.wait_for(lambda: self.show(app, deployment)["step"] == step, seconds, f"{app} to be at {step}")

    def healthy(self, app: str, what: str = "deployments", **body: Any) -> dict[str, Any]:
        """A deployment that went well, with its old slot gone."""
        about = self.wait(app, self.start(app, what, **body))
        assert about["status"] == "healthy", (about, self.logs(app, about["id"]))
        self.wait_until_settled(app)
        return about

    def failed(self, app: str, what: str = "deployments", **body: Any) -> dict[str, Any]:
        """A deployment that failed, as the API shows it."""
        about = self.wait(app, self.start(app, what, **body))
        assert about["status"] == "failed", about
        return about

    def wait_until_settled(self, app: str) -> None:
        """Drained and pruned: no unit of the app runs but those of the active slot."""
        self.machine.wait_for(
            lambda: self.running(app) == sorted(process["unit"] for process in self.app(app)["processes"]),
            20,
            f"{app} to have only its active slot running",
        )

    def running(self, app: str) -> list[str]:
        """Units of the app that are at work or on their way to it, asked from systemd; not what waits for a job."""
        states = "--state=active,activating,deactivating,reloading"
        patterns = [f"rustploy-{kind}@{app}{end}.service" for kind, end in _UNITS]
        listed = self.machine.run(["systemctl", "list-units", "--plain", "--no-legend", "--full", states, *patterns])
        found = {line.split()[0] for line in listed.stdout.splitlines()}
        return sorted(found - self.standing_by(app))

    def waiting(self, app: str, number: int) -> dict[str, str]:
        """Units that wait for the app's next deployment, each with its process, once there are so many."""

        def found() -> dict[str, str]:
            units = [unit for unit in self.standing_by(app) if self.machine.property(unit, "ActiveState") == "active"]
            return {unit: self.machine.property(unit, "MainPID") for unit in units} if len(units) == number else {}

        return self.machine.wait_for(found, 20, f"{number} units to wait for {app}")

    def standing_by(self, app: str) -> set[str]:
        """Units that wait for the app's next deployment, if they run."""
        home = f"/var/lib/rustploy/apps/{app}"
        argv = ["find", f"{home}/jobs", f"{home}/slots", "-type", "p", "-printf", "%f "]
        pipes = self.machine.run(argv, check=False).stdout.split()
        jobs = {f"rustploy-{pipe.removesuffix('.json')}@{app}.service" for pipe in pipes if pipe.endswith(".json")}
        slots = {f"rustploy-app@{app}-{pipe.removesuffix('.env')}.service" for pipe in pipes if pipe.endswith(".env")}
        return jobs | slots

    def slugs(self, app: str) -> list[str]:
        return sorted(self.machine.run(["ls", f"/var/lib/rustploy/apps/{app}/slugs"]).stdout.split())

    def slot_files(self, app: str) -> list[str]:
        """Without the release phase's, from which nothing starts, and what the next deployment waits at."""
        argv = ["find", f"/var/lib/rustploy/apps/{app}/slots", "-mindepth", "1", "-not", "-type", "p", "-printf", "%f "]
        return sorted(name for name in self.machine.run(argv).stdout.split() if name != "task.env")

    def port(self, app: str) -> int:
        return int(self.app(app)["address"].rpartition(":")[2])

    def get(self, app: str, path: str = "/") -> Response:
        """The app's answer at the address that the API shows."""
        return self.machine.http("GET", path, port=self.port(app))

    def visit(self, app: str, path: str = "/") -> Response:
        """The app's answer at its name, from the ingress."""
        return self.machine.http("GET", path, port=self.machine.place.http_port, headers={"Host": self.host(app)})

    def websocket(self, app: str) -> socket.socket:
        """An open one to the app, by its name at the ingress."""
        found = socket.create_connection(("127.0.0.1", self.machine.place.http_port), timeout=15)
        lines = [
            "GET /socket HTTP/1.1",
            f"Host: {self.host(app)}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: x",
        ]
        found.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += found.recv(4096)
        assert head.startswith(b"HTTP/1.1 101"), head
        return found

    def host(self, app: str) -> str:
        return f"{app}.{BASE_DOMAIN}"

    def environment(self, app: str) -> dict[str, str]:
        """Of the web process, from the kernel."""
        return dict(
            item.partition("=")[::2]
            for item in self.environ(app).decode("utf-8", "surrogateescape").split("\0")
            if item
        )

    def environ(self, app: str) -> bytes:
        active = self.app(app)["active_slot"]
        pid = self.machine.app_process(f"rustploy-app@{app}-web-{active}.service")
        return base64.b64decode(self.machine.run(["base64", f"/proc/{pid}/environ"]).stdout)

    def ports(self, app: str) -> tuple[int, int]:
        """The loopback ports of both slots."""
        desired = json.loads(self.machine.read("/var/lib/rustploy/agent/desired.json"))
        about = next(one for one in desired["apps"] if one["name"] == app)
        slots = next(process for process in about["processes"] if process["type"] == "web")["slots"]
        return slots["a"]["port"], slots["b"]["port"]

    def builds(self, app: str) -> int:
        """How often the app's build unit was started."""
        entries = self.machine.journal("_PID=1", f"UNIT=rustploy-build@{app}.service")
        return len({entry["INVOCATION_ID"] for entry in entries if "INVOCATION_ID" in entry})

    def logs(self, app: str, deployment: str) -> str:
        return str(self.machine.http("GET", f"/api/v1/apps/{app}/deployments/{deployment}/logs").body.get("logs"))

    def set_env(self, app: str, key: str, value: str) -> None:
        answer = self.machine.http("PUT", f"/api/v1/apps/{app}/env", {"key": key, "value": value})
        assert answer.status == 200, answer.body

    def delete(self, app: str) -> None:
        answer = self._patiently("DELETE", f"/api/v1/apps/{app}")
        assert answer.status == 204, answer.body
        self._made.discard(app)

    def delete_all(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.delete, sorted(self._made)))


_UNITS = (("app", "-*"), ("fetch", ""), ("build", ""), ("task", ""))
#: Deadlines that a test can wait for.
QUICK = {
    "deployments": {"timeouts": {"fetch_seconds": 20, "build_seconds": 20, "release_seconds": 20, "health_seconds": 3}},
    "releases": {"keep": 3},
}


def quick_settings(machine: Machine, **changes: Any) -> str:
    """agent.yaml with QUICK, repositories over HTTP allowed, and these sections."""
    settings = machine.settings()
    settings["source"]["schemes"].append("http")
    return json.dumps(settings | QUICK | changes)


def deployments(machine: Machine) -> Iterator[Deployments]:
    """For a fixture: short deadlines, the script buildpack, and afterwards none of it nor of the apps."""
    before = replace_settings(machine, quick_settings(machine))
    install_script_buildpack(machine)
    found = Deployments(machine)
    try:
        yield found
    finally:
        found.delete_all()
        machine.run(["rm", "-rf", f"{BUILDPACKS}/script"])
        restore_settings(machine, before)


def patient_deployments(machine: Machine) -> Iterator[Deployments]:
    """As `deployments`, with the time that package indexes take."""
    for found in deployments(machine):
        patient = {"timeouts": {"build_seconds": 300, "health_seconds": 20}}
        replace_settings(machine, quick_settings(machine, deployments=patient))
        yield found


def troubles(machine: Machine) -> list[str]:
    """What doctor finds, without what is as it is on a machine in its host's network: limits, and rules for ports."""
    said = machine.run(["rustploy-agent", "doctor"], check=False).stdout.splitlines()
    wrong = [line.removeprefix("PROBLEM").strip() for line in said if line.startswith("PROBLEM")]
    return [line for line in wrong if not line.startswith(("limits of apps", "ports of apps"))]


def install_script_buildpack(machine: Machine) -> None:
    for part, text in SCRIPT_BUILDPACK.items():
        machine.write(f"{BUILDPACKS}/script/bin/{part}", text, 0o755)


def own_machine(release: str, deb: Path) -> Iterator[Machine]:
    """For a fixture: a machine that the module may ruin."""
    machine = Machine.create(release)
    try:
        machine.install(deb)
        yield machine
    finally:
        machine.end()


def replace_settings(machine: Machine, text: str) -> str:
    """Restart the agent with another agent.yaml; what stood there before, for `restore_settings`."""
    before = machine.read("/etc/rustploy/agent.yaml")
    restore_settings(machine, text)
    return before


def restore_settings(machine: Machine, text: str) -> None:
    machine.write("/etc/rustploy/agent.yaml", text, 0o640, "root:rustploy")
    machine.run(["systemctl", "restart", "rustploy-agent.service"])
    machine.wait_for_agent()
