"""Machine: boot a Debian, run commands in it, install the package, talk to the agent."""

import contextlib
import ctypes
import http.client
import json as jsonlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from tests.machine import places
from tests.machine.base import REPOSITORY, base_root
from tests.machine.repositories import Repositories
from tests.machine.secrets import Secrets
from tests.unit import contract

LAUNCH = Path(__file__).with_name("launch")
PR_SET_PDEATHSIG, CLONE_NEWNET = 1, 0x40000000
CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
#: Apps answer at <app>.BASE_DOMAIN.
BASE_DOMAIN = "apps.example.org"
API_DOMAIN = "api.example.org"
AS_USER = 'exec setpriv --reuid="$0" --regid="$(id -g "$0")" --init-groups --reset-env -- "$@"'
T = TypeVar("T")


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any  # parsed when it is JSON, else text


class Machine:
    """One booted Debian. `token` is an admin's, once `install` has run."""

    def __init__(self, place: places.Place, release: str) -> None:
        self.place = place
        self.release = release
        self.token: str | None = None
        self.secrets = Secrets()
        self.repositories = Repositories(self)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, release: str, *, outlive: bool = False, private_network: bool = False) -> "Machine":
        """A booted machine. It ends with the process that made it, unless it shall `outlive` it.

        With a private network it has a loopback interface of its own and nothing else; netfilter rules need that. Such
        a machine may load BPF programs too, by which systemd enforces IPAddressDeny= and, on 13, SocketBindDeny=.
        """
        base = base_root(release)
        machine = cls(places.take(), release)
        for part in ("upper", "work", "root"):
            (machine.place.data / part).mkdir(parents=True)
        about = {"release": release, "base": str(base), "private_network": private_network}
        (machine.place.state / "machine.json").write_text(jsonlib.dumps(about))
        try:
            machine.boot(outlive=outlive)
        except BaseException:
            machine.end()
            raise
        return machine

    @classmethod
    def attach(cls, name: str) -> "Machine":
        """The running machine of that name, which another process may have made."""
        place = places.find(name)
        return cls(place, jsonlib.loads((place.state / "machine.json").read_text())["release"])

    # --- its life

    def boot(self, *, outlive: bool = False) -> None:
        base = self._about()["base"]
        # systemd-nspawn alone would leave the machine behind when it is killed; a process namespace around it does not.
        alone = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        argv = [*alone, LAUNCH, base, self.place.data, self.place.name]
        argv += ["--private-network", "--system-call-filter=bpf"] if self._about()["private_network"] else []
        with (self.place.data / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=None if outlive else _die_with_parent,
            )
        self.place.claim(owner=os.getpid(), machine=self._process.pid)
        self.wait_until_up()

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = jsonlib.loads((self.place.state / "machine.json").read_text())
        return about

    def wait_until_up(self) -> None:
        self.wait_for(self._is_up, 60, "systemd to have finished booting")

    def _is_up(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"the machine ended while booting: {self.console()}")
        if self._leader() is None:
            return False
        state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return state in ("running", "degraded")

    def console(self) -> str:
        return (self.place.data / "console.log").read_text(errors="replace")[-4000:]

    def reboot(self) -> None:
        """A clean reboot, back when systemd is up again."""
        before = self.leader
        self.run(["systemctl", "--no-block", "reboot"])
        self.wait_for(lambda: self._leader() not in (before, None), 120, "the machine to come back")
        self.wait_until_up()

    def power_cut(self) -> None:
        """Every process dies at once; `boot()` starts it again from what was written."""
        leader = self._leader()
        process = self.place.processes().get("machine")
        if process is not None:
            os.kill(process, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)
        gone = [pid for pid in (process, leader) if pid is not None]
        self.wait_for(lambda: all(places.started(pid) is None for pid in gone), 30, "the machine to be gone")

    def end(self) -> None:
        self.power_cut()
        self.place.free()

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def leader(self) -> int:
        """The host's process id of the machine's PID 1."""
        leader = self._leader()
        if leader is None:
            raise RuntimeError(f"{self.name} is not running: {self.console()}")
        return leader

    def _leader(self) -> int | None:
        process = self.place.processes().get("machine")
        if process is None:
            return None
        return next((pid for pid in _descendants(process) if _is_init(pid)), None)

    # --- commands and files

    def argv(self, argv: Sequence[str | Path], user: str | None = None) -> list[str]:
        """The host's command line that runs `argv` inside, with a clean environment."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "env", "--chdir=/", "--ignore-environment"]
        enter += [f"{key}={value}" for key, value in CLEAN.items()]
        if user is not None:
            enter += ["sh", "-c", AS_USER, user]
        return [*enter, *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        input: str | None = None,
        user: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; with `check`, a failing one is an AssertionError with its output."""
        # Without an input, an empty one: never the terminal's or pytest's.
        done = subprocess.run(
            self.argv(argv, user), input=input or "", capture_output=True, text=True, errors="replace", timeout=timeout
        )
        if check and done.returncode != 0:
            command = " ".join(map(str, argv))
            raise AssertionError(
                f"`{command}` ended with {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            )
        return done

    def write(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        user, _, group = owner.partition(":")
        self.run(
            ["install", "-D", f"--mode={mode:o}", f"--owner={user}", f"--group={group}", "/dev/stdin", path], input=text
        )

    def read(self, path: str) -> str:
        return self.run(["cat", "--", path]).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).returncode == 0

    def send(self, source: Path, path: str) -> None:
        """Copy a file of the host into the machine."""
        with source.open("rb") as file:
            subprocess.run(self.argv(["install", "-D", "--mode=644", "/dev/stdin", path]), stdin=file, check=True)

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """The entries that `journalctl ARGUMENTS` (matches, -u UNIT, …) selects, oldest first."""
        self.run(["journalctl", "--sync"])
        done = self.run(["journalctl", "--output=json", "--all", "--quiet", *arguments], check=False)
        assert done.returncode == 0 or not done.stderr, done.stderr  # it is 1 too where --grep finds nothing
        return [jsonlib.loads(line) for line in done.stdout.splitlines()]

    def property(self, unit: str, name: str) -> str:
        """Of a unit, as systemd shows it."""
        return self.run(["systemctl", "show", "--value", f"--property={name}", unit]).stdout.strip()

    def app_process(self, unit: str) -> str:
        """Process id of what the launcher, the main process of an app's unit, has started."""
        pid = self.property(unit, "MainPID")
        return self.read(f"/proc/{pid}/task/{pid}/children").split()[0]

    def failed_units(self) -> list[str]:
        listed = self.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"]).stdout
        return [line.split()[0] for line in listed.splitlines()]

    def wait_for(self, predicate: Callable[[], T], seconds: float, what: str) -> T:
        """What `predicate` returns once it is true; AssertionError naming `what` after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (result := predicate()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s for {what}; last seen: {result!r}")
            time.sleep(0.05)
        return result

    def wait_for_restart(self, unit: str, before: str, seconds: float = 30) -> None:
        """Of a unit whose main process was `before`."""
        self.wait_for(lambda: self.property(unit, "MainPID") not in (before, "0"), seconds, f"{unit} to run again")

    # --- the package and the agent

    def settings(self) -> dict[str, Any]:
        """What agent.yaml says on this machine: its own ports, and local repositories allowed."""
        return {
            "listen": {"port": self.place.port},
            "apps": {"ports": {"first": self.place.port + 10, "last": self.place.last_port}},
            "ingress": {"http_port": self.place.http_port, "https_port": self.place.port + 2, "tls": "off"}
            | {"base_domain": BASE_DOMAIN},
            "api": {"domain": API_DOMAIN},
            "source": {"schemes": ["https", "ssh", "file"], "file_root": self.repositories.root},
        }

    def install(self, deb: Path, *, start: bool = True) -> None:
        """Install or upgrade the package and, with `start`, wait for the agent and get an admin's token."""
        if not self.exists("/etc/rustploy/agent.yaml"):
            self.write("/etc/rustploy/agent.yaml", yaml.safe_dump(self.settings()), 0o640)
        self.run(["install", "-d", self.repositories.root])
        self.send(deb, f"/var/tmp/{deb.name}")
        self.apt("install", "--allow-downgrades", "--reinstall", f"/var/tmp/{deb.name}")
        if start:
            self.wait_for_agent()
            created = self.run(["rustploy-agent", "token", "create", "--name", "tests", "--scope", "admin"])
            self.token = created.stdout.splitlines()[-1]
            self.secrets.add(self.token)

    def apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ["--yes", "--quiet", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
        return self.run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *arguments], timeout=300)

    def wait_for_agent(self, seconds: float = 30) -> None:
        try:
            self.wait_for(self._agent_answers, seconds, "the agent to answer")
        except AssertionError:
            status = self.run(
                ["systemctl", "status", "--no-pager", "--lines=50", "rustploy-agent.service"], check=False
            )
            raise AssertionError(f"the agent does not answer\n{status.stdout}{status.stderr}") from None

    def _agent_answers(self) -> bool:
        try:
            return self.http("GET", "/api/v1/health").status == 200
        except OSError:
            return False

    def http(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        port: int | None = None,
        timeout: float = 30,
        checked: bool = True,
    ) -> Response:
        """One request to the agent, or to another of the machine's ports. `token=""` sends none.

        Whatever the agent answers is held against openapi.yaml; not `checked` where it is the time that counts.
        """
        sent = dict(headers or {})
        token = self.token if token is None and port is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        self.secrets.sent(path, json)
        body = None if json is None else jsonlib.dumps(json)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.place.port, timeout=timeout)
        try:
            if self._about()["private_network"]:
                with _network_of(self.leader):
                    connection.connect()
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json" and content
        value = jsonlib.loads(content) if is_json else content.decode(errors="replace")
        if checked and port in (None, self.place.port):
            contract.check(method, path, answer.status, answer.headers, content, value)
            self.secrets.answered(method, path, value, content)
        return Response(answer.status, dict(answer.headers), value)


def build_deb(directory: Path) -> Path:
    """The package, built from the work tree into `directory`."""
    subprocess.run([REPOSITORY / "packaging" / "build-deb", directory], check=True, stdin=subprocess.DEVNULL)
    return next(directory.glob("rustploy-agent_*.deb"))


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _is_init(pid: int) -> bool:
    """Number 1 of the machine's process namespace, which lies in the one that `boot` made."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[3:] == ["1"]
    return False


@contextlib.contextmanager
def _network_of(pid: int) -> Iterator[None]:
    """For this thread; a socket made meanwhile stays in that network."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    own, other = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in ("thread-self", pid))
    try:
        if setns(other, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"the network of {pid} cannot be entered")
        try:
            yield
        finally:
            if setns(own, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "the way back into the own network is shut")
    finally:
        os.close(own)
        os.close(other)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
