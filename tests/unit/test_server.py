"""The end of an agent: who has asked gets the answer, who asks meanwhile finds the next agent."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from rustploy_agent.listening import own
from rustploy_agent.server import DRAIN_SECONDS, Server, Threads
from tests.unit.waiting import until

pytestmark = pytest.mark.processes
SLOW_SECONDS = 0.5
TREE = Path(__file__).parents[2]


@pytest.fixture
def slow() -> Flask:
    app = Flask("slow")

    @app.get("/<float:seconds>")
    def wait(seconds: float) -> str:
        time.sleep(seconds)
        return "done"

    return app


def started(app: Flask, listener: socket.socket) -> tuple[Server, threading.Thread]:
    server = Server(app, [listener], threads=4)
    loop = threading.Thread(target=server.run, daemon=True)
    loop.start()
    return server, loop


def asked(port: int, seconds: float) -> Callable[[], bytes]:
    """Sends a request; what is returned reads the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/{seconds:.1f}")

    def answer() -> bytes:
        try:
            return connection.getresponse().read()
        finally:
            connection.close()

    return answer


def test_an_upgrade_costs_nobody_an_answer(slow: Flask) -> None:
    """The second request comes between two agents; both hold the same listening socket, as systemd gives it to them."""
    listener = own(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    before, loop = started(slow, listener.dup())
    under_way = asked(port, SLOW_SECONDS)
    time.sleep(SLOW_SECONDS / 5)
    before.drain()
    loop.join(DRAIN_SECONDS)
    assert not loop.is_alive()
    between = asked(port, 0.0)
    after, _ = started(slow, listener.dup())
    assert under_way() == b"done"
    assert between() == b"done"
    after.close()
    listener.close()


def test_an_end_while_the_loop_turns_anyway_is_one(slow: Flask) -> None:
    """Else an agent whose last answer has just gone out ends with a traceback, or writes into a foreign file."""
    server, loop = started(slow, own(("127.0.0.1", 0)))
    trigger = server._doors[0].trigger
    late = trigger._physical_pull

    def woken_by_another() -> None:
        os.write(trigger.trigger, b"x")
        time.sleep(0.2)
        late()

    trigger._physical_pull = woken_by_another
    server.close()
    loop.join(DRAIN_SECONDS)
    assert not loop.is_alive()
    server.close()
    assert not server.turns(0.01)


def test_a_stream_without_end_does_not_keep_the_agent(slow: Flask) -> None:
    """Else systemd waits, then kills: an upgrade would hang for as long as somebody follows a log."""
    listener = own(("127.0.0.1", 0))
    server, loop = started(slow, listener)
    asked(listener.getsockname()[1], DRAIN_SECONDS * 3)
    began = time.monotonic()
    server.drain()
    loop.join(DRAIN_SECONDS)
    assert not loop.is_alive()
    assert time.monotonic() - began < DRAIN_SECONDS * 2


def test_the_loop_is_seen_to_turn(slow: Flask) -> None:
    """systemd's watchdog asks this; a loop that hangs must not be taken for one that turns."""
    listener = own(("127.0.0.1", 0))
    standing = Server(slow, [listener], threads=4)
    assert not standing.turns(0.1)
    loop = threading.Thread(target=standing.run, daemon=True)
    loop.start()
    assert standing.turns(10)
    standing.close()
    loop.join(10)


#: Its main thread sits in the loop; the signal is given to another one, as the kernel may do with any.
STOPPED_BY_ANOTHER_THREAD = """
import os, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from flask import Flask
from rustploy_agent.listening import own
from rustploy_agent.server import Server
server = Server(Flask("idle"), [own(("127.0.0.1", 0))], threads=4)
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
server.wake_on_signals()
def stop():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60)
threading.Thread(target=stop, daemon=True).start()
server.run()
"""


def test_a_signal_that_another_thread_got_ends_the_agent_too() -> None:
    """Else a host that shuts down, where the agent's unit was masked, waits a minute and a half for it."""
    argv = [sys.executable, "-c", STOPPED_BY_ANOTHER_THREAD, str(TREE)]
    assert subprocess.run(argv, timeout=20, check=False).returncode == 7


class Together:
    """A task that ends when as many as the barrier is for are under way."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier

    def service(self) -> None:
        self.barrier.wait(20)


def test_there_are_as_many_threads_as_are_busy_and_no_more_than_are_allowed() -> None:
    """Else a log stream that holds the last thread keeps everybody else waiting, or idle threads take the memory."""
    threads = Threads(7)
    for together in (2, 7, 7, 3):
        barrier = threading.Barrier(together + 1)
        for _ in range(together):
            threads.add_task(Together(barrier))
        barrier.wait(20)
        until(lambda: threads.active_count == 0)
    assert len(threads.threads) == 7
    few = Threads(7)
    until(lambda: few.active_count == 0)
    for _ in range(20):
        barrier = threading.Barrier(2)
        few.add_task(Together(barrier))
        barrier.wait(20)
        until(lambda: few.active_count == 0)
    assert len(few.threads) == 4
