"""Bodies while they come in, before anybody is known: what Waitress keeps of them, and when it stops keeping.

Waitress hands a request over when its whole body is there, so what a stranger sends lies in memory and on disk until
then. A body keeps what every request may send; only one that could be a webhook keeps more, a few of them at a time
and not for long. What is not kept is counted: by Content-Length the view sees that it was too much or some is gone.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser

from rustploy_agent.refusals import Channel

#: In memory; the rest lies in a file without a name.
IN_MEMORY = 64 * 1024
#: Large bodies at a time; one that takes longer than PATIENCE gives its place up when another needs it.
MOST_LARGE, PATIENCE_SECONDS = 4, 60


class Places:
    """The large bodies there are. A connection that breaks off leaves no other trace than that its body is gone."""

    def __init__(self) -> None:
        self._taken: weakref.WeakSet[Body] = weakref.WeakSet()

    def take(self, body: Body) -> bool:
        for other in list(self._taken):
            if other.begun + PATIENCE_SECONDS < time.monotonic():
                other.give_up()
        if len(self._taken) >= MOST_LARGE:
            return False
        self._taken.add(body)
        return True

    def free(self, body: Body) -> None:
        self._taken.discard(body)


class Body:
    """Stands where Waitress has a buffer. Written by the server's loop, read and closed by the thread that answers."""

    def __init__(self, ordinary: int, places: Places | None) -> None:
        self._ordinary, self._places = ordinary, places
        self._buffer: Any = OverflowableBuffer(IN_MEMORY)
        self._lock = threading.Lock()
        self._received, self._kept, self._large, self._read = 0, 0, False, False
        self.begun = time.monotonic()

    def __len__(self) -> int:
        return self._received

    def append(self, data: bytes) -> None:
        with self._lock:
            self._received += len(data)
            if self._received - len(data) != self._kept or not self._may_grow(self._received):
                return
            try:
                self._buffer.append(data)
                self._kept = self._received
            except OSError:  # the disk is full; the view tells
                self._drop()

    def _may_grow(self, size: int) -> bool:
        if size <= self._ordinary or self._large:
            return True
        self._large = self._places is not None and self._places.take(self)
        return self._large

    def give_up(self) -> None:
        """Unless it is complete and being read already."""
        with self._lock:
            if not self._read:
                self._drop()

    def _drop(self) -> None:
        self._buffer.close()
        self._buffer, self._kept = OverflowableBuffer(IN_MEMORY), -1
        self._free()

    def _free(self) -> None:
        if self._places is not None:
            self._places.free(self)

    def getfile(self) -> BinaryIO:
        with self._lock:
            self._read = True
            file: BinaryIO = self._buffer.getfile()
            return file

    def close(self) -> None:
        with self._lock:
            self._buffer.close()
            self._free()


def channel_class(ordinary: int, may_be_large: Callable[[str, Mapping[str, str]], bool]) -> type[Channel]:
    """For a Waitress server: `ordinary` bytes for every request, more where path and headers say so."""
    places = Places()

    class Parser(HTTPRequestParser):  # type: ignore[misc]
        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            if self.body_rcv is not None:
                large = may_be_large(self.path, self.headers)
                self.body_rcv.buf = Body(ordinary, places if large else None)

    class Spooling(Channel):
        parser_class = Parser

        def handle_close(self) -> None:
            super().handle_close()
            if self.request is not None:  # broken off half way
                self.request.close()

    return Spooling
