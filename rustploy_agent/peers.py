"""Whose a connection is that comes from this very host: the user at its other end, as the kernel tells.

All apps of a host come from the same address, so an address does not tell them from the admin (proc_net(5); needs the
host's user namespace).
"""

from __future__ import annotations

import ipaddress
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
#: Accounts of apps: those that run them, and those that fetch and build them.
APP_ACCOUNTS = ("rp-", "rpb-")


class Unknown(Exception):
    """The other end is of this host but closed, so nobody owns it, or several users have one of that name."""


def owner(address: str, port: int, server_port: int) -> int | None:
    """User id of the socket `address`:`port` that is connected to `server_port`; None if there is none on this host."""
    local = _written(address, port)
    return _one([row for row in _rows(server_port) if row[1] in local])


class Owners:
    """The users of all sockets of this host that are connected to a port, found with one look at the tables."""

    def __init__(self, server_port: int) -> None:
        self._by_end: dict[str, list[list[str]]] = {}
        for row in _rows(server_port):
            self._by_end.setdefault(row[1], []).append(row)

    def of(self, address: str, port: int) -> int | None:
        """As `owner` tells it."""
        return _one([row for end in _written(address, port) for row in self._by_end.get(end, ())])


def named(address: str, user: int | None) -> str:
    """A client as failed logins and connections are counted: `uid N` of this host, an address, or the /64 of IPv6."""
    if user is not None:
        return f"uid {user}"
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and not ip.ipv4_mapped:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    return str(ip)


def _rows(server_port: int) -> Iterator[list[str]]:
    """The columns of each socket whose other end is this port."""
    wanted = f":{server_port:04X}"
    for table in TABLES:
        try:
            with table.open(encoding="ascii") as rows:
                yield from (columns for row in rows if wanted in row and (columns := row.split())[2].endswith(wanted))
        except FileNotFoundError:
            continue


def _one(ends: list[list[str]]) -> int | None:
    # A socket without inode was closed, and then shows root as its owner.
    users = {int(row[7]) for row in ends if row[9] != "0"}
    if len(users) == 1:
        return users.pop()
    if ends:
        raise Unknown
    return None


def is_app(user: int) -> bool:
    try:
        return pwd.getpwuid(user).pw_name.startswith(APP_ACCOUNTS)
    except KeyError:
        return False


def _written(address: str, port: int) -> set[str]:
    """As the tables write it; sockets of IPv6 write an address of IPv4 in theirs."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    forms = [ip.packed]
    if ip.version == 4:
        forms.append(b"\0" * 10 + b"\xff\xff" + ip.packed)
    return {f"{''.join(_word(form[i : i + 4]) for i in range(0, len(form), 4))}:{port:04X}" for form in forms}


def _word(four: bytes) -> str:
    return f"{int.from_bytes(four, sys.byteorder):08X}"
