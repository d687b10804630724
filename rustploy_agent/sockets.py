"""The TCP sockets of this host, from the kernel's tables (proc_net(5); needs the host's user namespace)."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

IPV4, IPV6 = TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTEN, ESTABLISHED = "0A", "01"
#: Addresses whose sockets are handed connections to 127.0.0.1: that, any, and both as IPv6 writes them.
SERVES_LOOPBACK = {
    ipaddress.ip_address(one).packed for one in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::")
}
#: One row of the first table has 150 bytes. Who reads more at once has the kernel look for more rows: after the
#: listening sockets that means going through the table of all connections, which takes 5 ms however few there are.
ROW, MANY_ROWS = 150, 64 * 1024


class _Socket(NamedTuple):
    address: bytes
    port: int
    state: str
    owner: int


def server(port: int) -> int | None:
    """Id of the user whose socket accepts connections to this port of 127.0.0.1; None if that is not certain."""
    for one in _listening(IPV4):
        if one.port == port and one.address in SERVES_LOOPBACK:
            return one.owner  # there is no second: sockets of IPv4 for these addresses exclude each other
    # One that takes IPv6 only, which may stand beside another user's, looks here like one that takes both.
    found = {one.owner for one in _listening(IPV6) if one.port == port and one.address in SERVES_LOOPBACK}
    return found.pop() if len(found) == 1 else None


def owners(port: int) -> set[int]:
    """Ids of the users whose sockets accept connections to this port, of whatever address."""
    return {one.owner for one in _all(LISTEN) if one.port == port}


def listeners(owner: int) -> list[tuple[str, int]]:
    """Return the addresses and ports on which this user's sockets accept connections, sorted."""
    return sorted({(str(ipaddress.ip_address(one.address)), one.port) for one in _all(LISTEN) if one.owner == owner})


def written(address: str, port: int) -> str:
    """Return an address and a port as URLs have them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def exposed(ports: Collection[int]) -> list[int]:
    """Those of these ports at which other hosts than this one are accepted."""
    return sorted({one.port for one in _all(LISTEN) if one.port in ports and _is_exposed(one.address)})


def connections(*ports: int) -> int:
    """How many TCP connections to these ports are open at the server's side."""
    return sum(one.port in ports for one in _all(ESTABLISHED))


def is_own(address: str) -> bool:
    """Whether it is an address of this host, for programs to listen on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        try:
            one.bind((address, 0))
        except OSError:
            return False
    return True


def _is_exposed(address: bytes) -> bool:
    found = ipaddress.ip_address(address)
    return not (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _all(state: str) -> Iterator[_Socket]:
    for table in TABLES:
        yield from (one for one in _sockets(table, MANY_ROWS) if one.state == state)


def _listening(table: str) -> Iterator[_Socket]:
    """These come first, and no row after them is looked at: a busy host has thousands."""
    return itertools.takewhile(lambda one: one.state == LISTEN, _sockets(table, ROW))


def _sockets(table: str, size: int) -> Iterator[_Socket]:
    """Each as soon as it is there; so many bytes are read at once."""
    rest, heading = b"", 1
    with contextlib.suppress(FileNotFoundError), Path(table).open("rb", buffering=0) as file:
        while piece := file.read(size):
            *rows, rest = (rest + piece).split(b"\n")
            for columns in map(str.split, map(bytes.decode, rows[heading:])):
                address, _, port = columns[1].partition(":")
                yield _Socket(_bytes(address), int(port, 16), columns[3], int(columns[7]))
            heading = heading and not rows


def _bytes(written: str) -> bytes:
    """An address as the tables have it: words of four bytes in the machine's order."""
    raw = bytes.fromhex(written)
    if sys.byteorder == "little":
        raw = b"".join(raw[word : word + 4][::-1] for word in range(0, len(raw), 4))
    return raw
