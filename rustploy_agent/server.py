"""Waitress on the agent's sockets: its settings, its loop, and an end that answers what was asked."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from rustploy_agent import descriptors
from rustploy_agent.doors import ROOTS, IngressDoor, TcpDoor
from rustploy_agent.refusals import Channel

log = logging.getLogger(__name__)
#: Connections that each door takes, unless the settings say otherwise.
CONNECTIONS = 400
#: A connection may need this many descriptors: its own, and one each for a body and an answer that lie in a file.
DESCRIPTORS_EACH = 3
FIRST_THREADS = 4
#: How long an agent that ends waits for requests under way, and for those that were accepted but not read.
DRAIN_SECONDS, UNREAD_SECONDS = 3, 0.1
#: Who takes nothing from a log stream for so long, or is gone without a word, loses the connection. Waitress would wait
#: for ever, and the stream's thread with it.
UNREAD_MS = 120_000
SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS),
]


class Threads(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Waitress starts all its threads at once; 80 take 2 MiB. These are as many as were ever busy at the same time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.set_thread_count(min(FIRST_THREADS, most))

    def add_task(self, task: Any) -> None:
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            idle = len(self.threads) - self.active_count
            if len(self.queue) > idle and len(self.threads) < self._most:
                number = len(self.threads)
                self.threads.add(number)
                self.active_count += 1
                self.start_new_thread(self.handler_thread, number)


class Server:
    def __init__(
        self,
        app: Flask,
        sockets: list[socket.socket],
        threads: int,
        channel: type[Channel] = Channel,
        connections: int = CONNECTIONS,
    ) -> None:
        """`connections`: of each door. There are fewer where this process may have too few descriptors for so many.

        Forwarding headers stay: nothing trusts them, only they tell the bootstrap rule of a proxy.
        """
        self._map: dict[int, Any] = {}
        self._ending, self._pulling = False, threading.Lock()
        adjustments = Adjustments(
            threads=threads,
            listen="127.0.0.1:0",  # not used, for the sockets are here
            ident=None,
            clear_untrusted_proxy_headers=False,
            channel_request_lookahead=1,
            outbuf_high_watermark=1 << 20,
            max_request_body_size=32 << 20,
            max_request_header_size=64 << 10,
        )
        adjustments.socket_options = SOCKET_OPTIONS
        dispatcher = Threads(threads)
        possible = (descriptors.most() - descriptors.KEPT) // (DESCRIPTORS_EACH * len(sockets)) - ROOTS
        self._doors = []
        for one in sockets:
            door = (IngressDoor if one.family == socket.AF_UNIX else TcpDoor)(
                app,
                self._map,
                _sock=one,
                dispatcher=dispatcher,
                adj=adjustments,
                bind_socket=False,
                sockinfo=(one.family, one.type, one.proto, one.getsockname()),
            )
            door.channel_class, door.most = channel, max(1, min(connections, possible))
            self._doors.append(door)

    def run(self) -> None:
        """Until `close`. Waitress's own loop would wake for its maintenance without any connection to maintain.

        By poll(2), since select(2) takes no descriptor beyond 1023.
        """
        while not self._ending:
            pauses = [pause for door in self._doors if (pause := door.pause()) is not None]
            wasyncore.poll2(min(pauses, default=None), self._map)
            for door in self._doors:
                self._look(door)
        with self._pulling:
            wasyncore.close_all(self._map)

    @staticmethod
    def _look(door: TcpDoor | IngressDoor) -> None:
        """Let a door end what is too much. The loop outlives what goes wrong there, as it does with requests."""
        try:
            door.look()
        except Exception:
            log.exception("looking after the connections of a door")

    def wake_on_signals(self) -> None:
        """Has the loop turn when a signal came, to the main thread only, so that its handler in Python runs.

        The kernel may give a signal to any thread, as it does when a host shuts down and has stopped them all before.
        """
        descriptor: int = self._doors[0].trigger.trigger
        os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(descriptor)

    def turns(self, seconds: float) -> bool:
        """Whether the loop comes around. Not a request of our own: any app may take all connections there are."""
        turned = threading.Event()
        self._in_loop(turned.set)
        return turned.wait(seconds)

    def drain(self) -> None:
        """Answers what was asked, then ends `run`; who comes meanwhile waits in systemd's socket for the next agent."""
        for door in self._doors:
            door.accepting = False
        self._in_loop(lambda: None)
        deadline = time.monotonic() + DRAIN_SECONDS
        time.sleep(UNREAD_SECONDS)
        while any(one.requests or one.total_outbufs_len for one in self._channels()) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.close()

    def close(self) -> None:
        self._in_loop(lambda: None, ending=True)

    def connections(self) -> dict[str, tuple[int, int]]:
        """By door: how many are open, and how many were ended because they were too many or too slow."""
        found = {"tcp": (0, 0), "ingress": (0, 0)}
        for door in self._doors:
            now, ended = found[door.name]
            found[door.name] = (now + len(door.active_channels), ended + door.ended)
        return found

    def _in_loop(self, action: Callable[[], None], *, ending: bool = False) -> None:
        """At its next turn, which is now; never, once it has ended.

        A loop that turns anyway may see `ending` at once, but closes nothing that is still to be written to here.
        """
        with self._pulling:
            if self._map:
                self._ending |= ending
                self._doors[0].trigger.pull_trigger(action)

    def _channels(self) -> list[Any]:
        return [channel for door in self._doors for channel in list(door.active_channels.values())]
