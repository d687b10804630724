"""The rule for requests to addresses that somebody else chose: public ones, and those that the settings allow.

Imports nothing of ours, so that the agent and the programs of the fetch and build units can both use it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowed(Exception):
    """The request must not be made; the message says why, and what would allow it."""


class Target(NamedTuple):
    """Where a request goes. Connect to one of `addresses`: the name may mean another one a moment later."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]


def host_or_range(value: str) -> str:
    """Return an entry of `source.hosts`: a name, an address, or a range of addresses; else ValueError."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        if not HOST_NAME.fullmatch(value) or "/" in value or re.fullmatch(r"[0-9.]+", value):
            raise ValueError(
                "must be host names in lower case, addresses, or ranges such as 10.0.0.0/8 whose last bits are zero"
            ) from None
        return value


def allowed_hosts(value: object) -> tuple[str, ...]:
    """Return the hosts and ranges of addresses that requests may go to although they are not public."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError("must be a list of host names, addresses, or ranges such as 10.0.0.0/8")
    return tuple(map(host_or_range, value))


def target(url: str, schemes: Collection[str], hosts: Collection[str]) -> Target:
    """Return where `url` leads; NotAllowed unless its scheme, and its host or all of its addresses, are allowed."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise NotAllowed("the address has no valid port") from None
    if parts.scheme not in schemes or parts.scheme not in PORTS:
        raise NotAllowed(f"scheme {parts.scheme[:20]!r} is not allowed there")
    if not host or parts.username is not None:
        raise NotAllowed("the address names no host, or a user name")
    found = tuple(_resolved(host, port))
    if host not in hosts:
        for address in found:
            if not is_allowed(ipaddress.ip_address(address), hosts):
                raise NotAllowed(
                    f"{host} is {address}, which is not a public address; source.hosts in agent.yaml can allow it"
                )
    return Target(url, parts.scheme, host, port, found)


def is_allowed(address: Address, hosts: Collection[str]) -> bool:
    """Say whether an address is public, or in one of the ranges."""
    plain = _without_wrapping(address)
    if plain.is_global and not plain.is_multicast:
        return True
    return any(plain in network for network in _networks(hosts))


def _without_wrapping(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _networks(hosts: Collection[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for entry in hosts:
        try:
            yield ipaddress.ip_network(entry)
        except ValueError:
            continue  # a name


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotAllowed(f"{host} cannot be resolved: {error}") from None
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
