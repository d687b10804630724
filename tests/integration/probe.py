"""Runs inside a sandbox: tries everything in the JSON file it is given and prints, as one JSON line, what came of it.

Each attempt that succeeds is reported with what it got; a refused one is None.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, PTRACE_ATTACH, PERSONA = 0x10000000, 16, 0x0040000


def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return f"returned {result}"


def read(path):
    if Path(path).is_dir():
        return sorted(os.listdir(path))
    return Path(path).read_bytes()[:200].decode(errors="replace")


def write(path):
    with Path(path).open("a") as file:
        file.write("written by the probe")
    return "written"


def writable(top):
    """All below it that can be written, or connected to; of the processes' own files in /proc nothing."""
    found, left = [], [top]
    while left:
        path = left.pop()
        if os.access(path, os.W_OK, effective_ids=True):
            found.append(path)
        elif Path(path).is_dir():
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                left += [entry.path for entry in entries if not entry.is_symlink() and not is_process(entry.path)]
    return sorted(found)


def is_process(path):
    return path.startswith("/proc/") and path.removeprefix("/proc/").isdigit()


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return "connected"


def send(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"MESSAGE=forged by the probe\nRUSTPLOY_APP=victim\n", path)
    return "sent"


def bind(port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # whom it served a moment ago is no obstacle
        server.bind(("127.0.0.1", int(port)))
    return "bound"


def kill(pid):
    os.kill(int(pid), signal.SIGKILL)
    return "killed"


def ptrace(pid):
    return checked(LIBC.ptrace(PTRACE_ATTACH, int(pid), None, None))


def memory(pid):
    with Path(f"/proc/{pid}/mem").open("rb") as file:
        return repr(file)


def make_setuid(path):
    Path(path).write_text("#!/bin/sh\n")
    Path(path).chmod(0o4755)
    return oct(Path(path).stat().st_mode)


def run(command):
    argv = ["/bin/sh", "-c", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(done.stderr)
    return done.stdout


def processes(_):
    """Processes of others that can be seen: pid and user id."""
    seen = [(int(name), Path(f"/proc/{name}").stat().st_uid) for name in os.listdir("/proc") if name.isdigit()]
    return [f"{pid} of {uid}" for pid, uid in seen if uid != os.getuid()] or None


def call(name):
    """Kernel functions that only a privileged process may use."""
    null = ctypes.c_void_p(0)
    calls = {
        "setuid": lambda: os.setuid(0),
        "setgid": lambda: os.setgid(0),
        "setgroups": lambda: os.setgroups([0]),
        "chroot": lambda: os.chroot("/tmp"),
        "mount": lambda: checked(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, null)),
        "umount": lambda: checked(LIBC.umount2(b"/var/lib/rustploy", 2)),
        "unshare user": lambda: checked(LIBC.unshare(CLONE_NEWUSER)),
        "mknod": lambda: os.mknod("/tmp/sda", 0o60600, os.makedev(8, 0)),
        "chown": lambda: os.chown(os.environ["HOME"], 0, 0),
        "nice -10": lambda: os.setpriority(os.PRIO_PROCESS, 0, -10),
        "realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)),
        "set clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "hostname": lambda: socket.sethostname("probe"),
        "raw socket": lambda: str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "packet socket": lambda: str(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "vsock": lambda: str(socket.socket(socket.AF_VSOCK)),
        "personality": lambda: checked(LIBC.personality(PERSONA)),
        "swapoff": lambda: checked(LIBC.swapoff(b"/dev/sda")),
        "reboot": lambda: checked(LIBC.reboot(0)),
        "bpf": lambda: checked(LIBC.syscall(321, 0, null, 0)),
        "keyctl": lambda: checked(LIBC.syscall(250, 0, -3, 0)),
    }
    calls[name]()
    return "done"


ATTEMPTS = {
    each.__name__: each
    for each in (read, write, writable, connect, send, bind, kill, ptrace, memory, make_setuid, run, processes, call)
}

outcome = {}
for name, argument in json.loads(Path(sys.argv[1]).read_text()):
    outcome[f"{name} {argument}"] = None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, ValueError):
        outcome[f"{name} {argument}"] = ATTEMPTS[name](argument)
sys.stdout.write(json.dumps(outcome) + "\n")
