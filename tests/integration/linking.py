"""Runs in a machine: reads a line at the moment at which journald is linking its entry, and prints what was read.

journald writes an entry and then links each of its fields in two steps: where the first entry with this value is, and
how many there are. Between the two libsystemd finds the entry and takes the field for damaged. This plays that moment
by setting the number back to 0 in the journal's file for a while.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

from rustploy_agent.journal import Log, Selection

COMPACT = 1 << 4
UNIT = "linking.service"


def number_of_entries(file: mmap.mmap, payload: bytes) -> int:
    """Where the file counts the entries with this value (systemd's docs/JOURNAL_FILE_FORMAT.md, DataObject)."""
    (flags,) = struct.unpack_from("<I", file, 12)
    at = file.rfind(payload)
    assert at > 0, f"the file does not have {payload!r}"
    return at - (16 if flags & COMPACT else 8)


def read_while_linking(deployment: str, file: mmap.mmap) -> tuple[list[str], str, float]:
    line, chosen = f"linked late {uuid.uuid4()}", Selection(deployment, (UNIT,))
    run = [
        "systemd-run",
        "--quiet",
        "--wait",
        f"--unit={UNIT}",
        f"--property=LogExtraFields=RUSTPLOY_DEPLOYMENT={deployment}",
    ]
    with Log() as log:
        before = log.newest(chosen, 1, 1000)
        subprocess.run([*run, "echo", line], check=True, timeout=20)
        written = time.monotonic()
        at = number_of_entries(file, f"MESSAGE={line}".encode())
        assert struct.unpack_from("<Q", file, at) == (1,)
        struct.pack_into("<Q", file, at, 0)
        threading.Timer(0.1, struct.pack_into, ("<Q", file, at, 1)).start()
        return log.after(chosen, before.cursor, 10, 1000).lines, line, time.monotonic() - written


def main() -> None:
    machine_id = Path("/etc/machine-id").read_text().strip()
    with (
        Path(f"/var/log/journal/{machine_id}/system.journal").open("r+b") as journal,
        mmap.mmap(journal.fileno(), 0) as file,
    ):
        for _ in range(10):
            read, written, seconds = read_while_linking(sys.argv[1], file)
            if seconds < 0.5:  # else a busy machine was too slow: the line was no new one any more when it was read
                break
        sys.stdout.write("read\n" if read == [written] else f"wrote {written!r} and read {read!r}\n")


main()
