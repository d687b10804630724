"""Where machines live on the host: a directory each, with the block of ports that goes with it."""

import contextlib
import json
import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/rustploy-machines")
DATA = Path("/var/tmp")
FIRST_PORT = 12000
BLOCK = 500
BLOCKS = 40


@dataclass(frozen=True)
class Place:
    number: int

    @property
    def name(self) -> str:
        return f"rustploy-{self.number}"

    @property
    def port(self) -> int:
        """The agent's port; the rest of the block is for apps."""
        return FIRST_PORT + self.number * BLOCK

    @property
    def http_port(self) -> int:
        """The ingress's."""
        return self.port + 1

    @property
    def last_port(self) -> int:
        return self.port + BLOCK - 1

    @property
    def data(self) -> Path:
        return DATA / f"rustploy-machine-{self.number}"

    @property
    def state(self) -> Path:
        return RUN / str(self.number)

    def claim(self, **processes: int) -> None:
        """Note whose place this is, so that a killed run's leftovers can be told from a living machine."""
        known = {role: [pid, started(pid)] for role, pid in processes.items()}
        temporary = self.state / "processes.new"
        temporary.write_text(json.dumps(known))
        temporary.rename(self.state / "processes.json")

    def processes(self) -> dict[str, int]:
        """Those of the noted processes that still live."""
        try:
            return self.living()
        except FileNotFoundError:
            return {}

    def living(self) -> dict[str, int]:
        """The same; FileNotFoundError for a place that nobody has claimed."""
        known = json.loads((self.state / "processes.json").read_text())
        return {role: pid for role, (pid, since) in known.items() if started(pid) == since}

    def free(self) -> None:
        """Clear away what an ended machine left."""
        for hierarchy in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]:
            if (hierarchy / self.name).is_dir():
                _remove_cgroup(hierarchy / self.name)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)


def take() -> Place:
    """A free place, its state directory made. Leftovers of killed runs are cleared away first."""
    RUN.mkdir(exist_ok=True)
    clear_left_over()
    for number in range(BLOCKS):
        place = Place(number)
        try:
            place.state.mkdir()
        except FileExistsError:
            continue
        place.claim(owner=os.getpid())
        if _is_free(place.port):
            return place
        place.free()
    raise RuntimeError(f"no free block of ports between {FIRST_PORT} and {FIRST_PORT + BLOCK * BLOCKS}")


def clear_left_over() -> None:
    """What killed runs left; a place whose owner is still making the machine is not one of them."""
    for place in taken():
        try:
            living = place.living()
        except FileNotFoundError:  # not claimed yet, or just given up
            continue
        if not living:
            place.free()


def taken() -> list[Place]:
    return [Place(int(entry.name)) for entry in RUN.glob("[0-9]*")] if RUN.is_dir() else []


def find(name: str) -> Place:
    for place in taken():
        if place.name == name and "machine" in place.processes():
            return place
    raise LookupError(f"no machine named {name} is running; `python3 -m tests.machine list` shows them")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def started(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; with the number it names one process for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def _remove_cgroup(group: Path) -> None:
    """The kernel needs a moment to let the last process go; a directory that stays does no harm."""
    deadline = time.monotonic() + 2
    while group.exists() and time.monotonic() < deadline:
        for directory, _, _ in sorted(os.walk(group), reverse=True):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
        time.sleep(0.01)
