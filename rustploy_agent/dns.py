"""What DNS says of a host name, and which addresses are this host's. The only resolver."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

#: For all names together; glibc alone would try for half a minute.
SECONDS = 3.0
MOST_AT_ONCE = 8
LOCAL_ROUTE = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
#: A label that nobody names a host by: what a wildcard answers for.
ANY_LABEL = "rustploy-dns-check"


def look_up(names: Iterable[str]) -> dict[str, list[str] | str]:
    """Each name's addresses, sorted, or why there are none."""
    wanted = list(dict.fromkeys(names))
    pool = ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="dns")
    asked = {name: pool.submit(_addresses, name) for name in wanted}
    done, _ = wait(asked.values(), timeout=SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    late = f"DNS did not answer within {SECONDS:g} s"
    return {name: future.result() if future in done else late for name, future in asked.items()}


def _addresses(name: str) -> list[str] | str:
    host = name.replace("*", ANY_LABEL, 1) if name.startswith("*.") else name
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return "DNS has no address for it" if error.errno in _NO_ADDRESS else f"DNS failed: {error.strerror}"
    except (OSError, UnicodeError) as error:
        return f"DNS failed: {error}"
    return sorted({str(entry[4][0]) for entry in found})


_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def own_addresses() -> set[str]:
    """This host's addresses that others may reach, from the kernel (the agent may open no netlink socket)."""
    found = set(LOCAL_ROUTE.findall(_proc("fib_trie")))
    found |= {_ipv6(line.split()[0]) for line in _proc("if_inet6").splitlines()}
    return {address for address in found if not ipaddress.ip_address(address).is_loopback}


def _proc(name: str) -> str:
    try:
        return Path("/proc/net", name).read_text(encoding="ascii")
    except OSError:  # no IPv6 on this host, for one
        return ""


def _ipv6(digits: str) -> str:
    return str(ipaddress.IPv6Address(int(digits, 16)))
