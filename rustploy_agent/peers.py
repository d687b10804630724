"""Whose a connection is that comes from this very host: the user at its other end, as the kernel tells.

All apps of a host come from the same address, so an address does not tell them from the admin (proc_net(5); needs the
host's user namespace).
"""

from __future__ import annotations

import ipaddress
import pwd
import sys
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
#: Accounts of apps: those that run them, and those that fetch and build them.
APP_ACCOUNTS = ("rp-", "rpb-")


class Unknown(Exception):
    """The other end is of this host but closed, so nobody owns it, or several users have one of that name."""


def owner(address: str, port: int, server_port: int) -> int | None:
    """User id of the socket `address`:`port` that is connected to `server_port`; None if there is none on this host."""
    local, found = _written(address, port), []
    for table in TABLES:
        try:
            with table.open(encoding="ascii") as rows:
                found += [row.split() for row in rows if row.split()[1] in local]
        except FileNotFoundError:
            continue
    ends = [row for row in found if int(row[2].rpartition(":")[2], 16) == server_port]
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
