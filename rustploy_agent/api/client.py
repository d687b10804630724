"""Who the client of a request is, as far as it shows before any credential: an address, or a user of this host."""

from __future__ import annotations

import ipaddress

from flask import request

from rustploy_agent import peers

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")
#: For connections of this host whose owner is not known (any more); never two clients that are the same.
UNKNOWN = "unknown"


def client() -> str:
    """What failed logins are counted by and a session is bound to: an address, of IPv6 its /64, or `uid N`."""
    try:
        return peers.named(request.remote_addr or "", _user())
    except (peers.Unknown, ValueError):
        return UNKNOWN


def bound_client() -> str | None:
    """What a session is bound to that did not come over TLS; None for a client that nobody is bound to."""
    found = client()
    return None if found == UNKNOWN else found


def from_this_host() -> bool:
    """A connection from loopback that no proxy made for somebody else, and no app.

    An agent that lost all its data has neither users nor tokens, but the apps still run.
    """
    try:
        if not ipaddress.ip_address(request.remote_addr or "").is_loopback:
            return False
        user = _user()
    except (peers.Unknown, ValueError):
        return False
    passed_on = any(name in request.headers for name in FORWARDED)
    return not passed_on and not (user is not None and peers.is_app(user))


def _user() -> int | None:
    """The user at the other end of the connection; None when it is elsewhere, or when there is no connection."""
    port = request.environ.get("REMOTE_PORT", "")
    if not str(port).isdigit():
        return None
    user = peers.owner(request.remote_addr or "", int(port), int(request.environ["SERVER_PORT"]))
    if user is None and ipaddress.ip_address(request.remote_addr or "").is_loopback:
        raise peers.Unknown
    return user
