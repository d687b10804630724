"""The TCP sockets of this host, from the kernel's tables (proc_net(5); needs the host's user namespace)."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTEN, ESTABLISHED = "0A", "01"
#: Addresses whose sockets are handed connections to 127.0.0.1: that, any, and both as IPv6 writes them.
SERVES_LOOPBACK = {ip.packed for ip in map(ipaddress.ip_address, ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::"))}
#: One row of the first table has 150 bytes. Who reads more at once has the kernel look for more rows: after the
#: listening sockets that means going through the table of all connections, which takes 5 ms however few there are.
ROW, MANY_ROWS = 150, 64 * 1024


class _Socket(NamedTuple):
    address: bytes
    port: int
    owner: int


def server(port: int) -> int | None:
    """Id of the user whose socket accepts connections to this port of 127.0.0.1."""
    for one in _sockets(LISTEN, ROW):
        if one.port == port and one.address in SERVES_LOOPBACK:
            return one.owner
    return None


def owners(port: int) -> set[int]:
    """Ids of the users whose sockets accept connections to this port, of whatever address."""
    return {one.owner for one in _sockets(LISTEN) if one.port == port}


def exposed(ports: Collection[int]) -> list[int]:
    """Those of these ports at which other hosts than this one are accepted."""
    return sorted({one.port for one in _sockets(LISTEN) if one.port in ports and _is_exposed(one.address)})


def connections(*ports: int) -> int:
    """How many TCP connections to these ports are open at the server's side."""
    return sum(one.port in ports for one in _sockets(ESTABLISHED))


def _is_exposed(address: bytes) -> bool:
    found = ipaddress.ip_address(address)
    return not (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _sockets(state: str, piece: int = MANY_ROWS) -> Iterator[_Socket]:
    for table in TABLES:
        with contextlib.suppress(FileNotFoundError):
            for row in _rows(table, piece):
                columns = row.split()
                if columns[3] == state:
                    address, _, port = columns[1].partition(":")
                    yield _Socket(_bytes(address), int(port, 16), int(columns[7]))


def _rows(table: str, size: int) -> Iterator[str]:
    """Without the heading, each as soon as it is there; so many bytes are read at once."""
    with open(table, "rb", buffering=0) as file:  # noqa: PTH123
        rest, first = b"", True
        while piece := file.read(size):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (row.decode("ascii") for row in whole[first:])
            first = first and not whole


def _bytes(written: str) -> bytes:
    """An address as the tables have it: words of four bytes in the machine's order."""
    raw = bytes.fromhex(written)
    if sys.byteorder == "little":
        raw = b"".join(raw[word : word + 4][::-1] for word in range(0, len(raw), 4))
    return raw
