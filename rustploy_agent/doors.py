"""The API's doors: how many connections each takes, whose end when there are too many, and when a slow request ends.

Nobody is asked who he is while a door has few connections. When it has more than one client may have, the clients of
all its connections are found with one look at the kernel's tables, and who has too many loses those on which nothing
is being answered, the oldest first.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

from waitress.server import TcpWSGIServer, UnixWSGIServer

from rustploy_agent import descriptors, peers
from rustploy_agent.refusals import Channel, Farewell

log = logging.getLogger(__name__)
#: Connections accepted at one turn of the loop.
BATCH = 64
#: One client may have so large a part of a door.
PART = 4
#: Connections of root that count for nothing and are never ended.
ROOTS = 16
ROOT = "uid 0"
#: A client that is not known: a closed end, or a connection of the ingress that has sent no headers. Those that are so
#: new may still become known, and are left alone.
UNKNOWN, NEW_SECONDS = "unknown", 2
#: The kernel's tables are looked at for at most one part in so many of the time; a flood makes them long.
LOOKING_PART = 5
#: How often slow requests are looked for.
LOOK_SECONDS = 5
#: How often a door that had to end connections says so in the journal.
TELL_SECONDS = 60
#: Pause of a door that got no descriptor for a connection.
PAUSE_SECONDS = 1
#: How soon it is looked again for clients that were not known.
AGAIN_SECONDS = 0.1
FULL = Farewell(
    "503 Service Unavailable",
    "too_many_connections",
    "the API has as many connections as it takes; try again in a while",
)
TOO_MANY = Farewell(
    "429 Too Many Requests",
    "too_many_connections",
    "this client has more connections than one may have; use fewer at a time, or wait for their answers",
)


class _Door:
    """Beside Waitress's server of a socket. `most`: connections it takes, root's first ones not counted."""

    most = 0
    ended = 0
    _unsettled = False
    _looked = _told = _paused_until = 0.0

    def readable(self: Any) -> bool:
        crowded = len(self.active_channels) >= 2 * self.most + ROOTS  # more than are known wait for their turn
        return bool(self.accepting and not crowded and time.monotonic() >= self._paused_until)

    def handle_accept(self: Any) -> None:
        for _ in range(BATCH):
            try:
                accepted = self.accept()
            except OSError as error:
                log.error("a connection could not be accepted: %s", error)
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                break
            if accepted is None:
                break
            self._let_in(*accepted)
        self._unsettled = True

    def _let_in(self: Any, connection: socket.socket, address: Any) -> None:
        try:
            self.set_socket_options(connection)
        except OSError:  # gone already
            connection.close()
            return
        channel = self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)
        if descriptors.few_left(connection.fileno()):
            self._end(channel, FULL, "the agent has nearly no file descriptors left")

    def look(self: Any) -> None:
        """Once in each turn of the loop. Ends what is too much, and now and then what takes too long or is not used."""
        if self._unsettled:
            self._unsettled = False  # also when it fails, until the next connection
            self._unsettled = self._make_room()
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self.maintenance(time.time())
        for channel in list(self.active_channels.values()):
            farewell = channel.overdue()
            if farewell is not None:
                self._end(channel, farewell, None)

    def pause(self: Any) -> float | None:
        """How long the loop may wait; None: until something happens."""
        if self._unsettled:
            return AGAIN_SECONDS
        if self._paused_until > time.monotonic():
            return float(PAUSE_SECONDS)
        channels = list(self.active_channels.values())
        if any(channel.arriving for channel in channels):
            return float(LOOK_SECONDS)
        return 30.0 if channels else None

    def _make_room(self: Any) -> bool:
        """Whether some clients are not known yet, so that it is to be done again."""
        of_one = max(1, self.most // PART)
        if len(self.active_channels) <= of_one:
            return False
        crowds = self._crowds()
        new = crowds.pop(None, [])
        crowds[ROOT] = crowds.get(ROOT, [])[:-ROOTS]
        for client, crowd in crowds.items():
            if client != UNKNOWN:
                self._shrink(client, crowd, of_one, TOO_MANY)
        while sum(map(len, crowds.values())) > self.most:
            largest = max(crowds, key=lambda client: len(crowds[client]))
            if not self._shrink(largest, crowds[largest], len(crowds[largest]) - 1, FULL):
                break
        return bool(new)

    def _shrink(self: Any, client: str, crowd: list[Any], most: int, farewell: Farewell) -> bool:
        """Whether any was ended: those that nothing is being answered on, the oldest first."""
        ended = False
        for channel in [one for one in crowd if not one.requests][: max(0, len(crowd) - most)]:
            crowd.remove(channel)
            self._end(channel, farewell, f"{client} had too many")
            ended = True
        return ended

    def _end(self: Any, channel: Any, farewell: Farewell, why: str | None) -> None:
        self.ended += 1
        channel.turn_away(farewell, traceless=why is not None)
        if why is not None and time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            log.warning("connections to the API are ended: %s (%s so far)", why, self.ended)

    def _crowds(self: Any) -> dict[str | None, list[Any]]:
        """The connections by client, None for new ones; the oldest first, as Waitress keeps them."""
        found: dict[str | None, list[Any]] = {}
        channels = list(self.active_channels.values())
        self.find_clients(channels)
        for channel in channels:
            is_new = channel.creation_time > time.time() - NEW_SECONDS
            found.setdefault(channel.client or (None if is_new else UNKNOWN), []).append(channel)
        return found


class TcpDoor(_Door, TcpWSGIServer):  # type: ignore[misc]
    """For everybody on this host, and for others if agent.yaml says so."""

    name = "tcp"
    _next_look = 0.0

    def find_clients(self: Any, channels: list[Channel]) -> None:
        strangers = [channel for channel in channels if channel.client is None]
        begun = time.monotonic()
        if not strangers or begun < self._next_look:
            return
        owners = peers.Owners(self.socket.getsockname()[1])
        self._next_look = begun + LOOKING_PART * (time.monotonic() - begun)
        for channel in strangers:
            address, port = channel.addr[:2]
            with contextlib.suppress(peers.Unknown):
                user = owners.of(address, port)
                if user is not None or not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
                    channel.client = peers.named(address, user)


class IngressDoor(_Door, UnixWSGIServer):  # type: ignore[misc]
    """For the ingress only, which says for whom it asks. It says so with the request, not with the connection."""

    name = "ingress"

    def find_clients(self: Any, channels: list[Channel]) -> None:
        for channel in channels:
            channel.client = None
            for request in _asked(channel):
                forwarded = request.headers.get("X_FORWARDED_FOR", "").rpartition(",")[2].strip()
                with contextlib.suppress(ValueError):
                    channel.client = peers.named(forwarded, None)


def _asked(channel: Channel) -> Iterator[Any]:
    """The request that is being answered or arrives; one whose headers are not complete has none."""
    yield from channel.requests[:1]
    if channel.request is not None:
        yield channel.request
