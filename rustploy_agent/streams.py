"""Log streams that are open: which deployment each shows, and one thread that wakes those that have something to tell.

A stream keeps nothing but its place in the journal: a slow reader costs no memory, and none can lose or repeat a line.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rustploy_agent import events, history, instances, journal, units
from rustploy_agent.errors import TooManyRequests, Unavailable
from rustploy_agent.models import App, Deployment, Slot, database
from rustploy_agent.shares import Holder, Lack, Places

log = logging.getLogger(__name__)
#: Lines and characters that one event holds at most.
EVENT_LINES, EVENT_CHARACTERS = 1_000, 256 * 1024
#: While there are streams, one thread looks so often for clients that are gone and for changes of the database.
LOOK_SECONDS = 2
#: Lines that come in a burst are sent together.
GATHER_SECONDS = 0.05
UNDER_WAY = ("deploying", "retrying")
#: One caller may have this part of the places.
PART = 4
RETRY_SECONDS = 30


@dataclass(frozen=True)
class Event:
    deployment_id: str | None
    lines: list[str]
    reset: bool
    cursor: str | None


def active_deployment(app: App) -> str | None:
    """The newest that is being worked on, else the one that serves, else the newest that was ever tried."""
    under_way = history.in_status(app, *UNDER_WAY)
    if under_way:
        return str(under_way[0].id)
    if app.active_slot is not None:
        serving = Slot.get_or_none(Slot.app == app, Slot.letter == app.active_slot)
        return serving.deployment_id if serving else None
    rows = Deployment.select().where(Deployment.app == app).order_by(Deployment.created_at_unix_ms.desc())
    found: Deployment | None = rows.where(Deployment.status.in_(("healthy", "failed"))).first()
    return found.id if found else None


class Stream:
    """One reader's place. `look`: something other than lines may have changed, so rights are to be checked again."""

    def __init__(self, streams: Streams, app: App, tail: int, gone: Callable[[], bool], holder: Holder) -> None:
        self.app, self._tail, self.gone, self.holder = app, tail, gone, holder
        self._streams, self._woken = streams, threading.Event()
        self.look, self.ended = True, False
        self._selection: journal.Selection | None = None
        self._cursor: str | None = None
        self._fresh = True

    def resume(self, deployment_id: str, cursor: str | None) -> None:
        """After this line, provided its deployment is still the active one when the stream is first read."""
        if active_deployment(self.app) == deployment_id:
            self._select(deployment_id)
            self._cursor, self._fresh = cursor, False

    def wake(self, *, look: bool) -> None:
        self.look = self.look or look
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return woken

    def read(self, app: App) -> Iterator[Event]:
        """What there is to tell now, of `app` as it is now. A deployment's last lines come before the next one's."""
        self.app = app
        if self._selection is not None and not self._fresh:
            yield from self._appended()
        current = active_deployment(app)
        if self._fresh or current != self._deployment:
            self._select(current)
            yield self._start()
        elif current is not None:
            self._select(current)  # there may be a new process type or instance

    def lines(self) -> Iterator[Event]:
        if self._selection is not None:
            yield from self._appended()

    @property
    def _deployment(self) -> str | None:
        return self._selection.deployment_id if self._selection else None

    @property
    def units(self) -> tuple[str, ...]:
        return self._selection.units if self._selection else (units.AGENT,)

    def _select(self, deployment_id: str | None) -> None:
        before, self._selection = self.units, None
        if deployment_id is not None:
            watched = units.of_deployment(self.app.name, instances.logged(self.app))
            self._selection = journal.Selection(deployment_id, tuple(watched))
        if self.units != before:
            self._streams.rearm()

    def _start(self) -> Event:
        """The newest lines, in place of whatever the reader shows."""
        piece = journal.Piece([], None)
        if self._selection is not None:
            with self._streams.log() as opened:
                piece = opened.newest(self._selection, self._tail, EVENT_CHARACTERS * 4)
        self._fresh, self._cursor = False, piece.cursor
        return Event(self._deployment, piece.lines, True, self._cursor)

    def _appended(self) -> Iterator[Event]:
        assert self._selection is not None
        more = True
        while more:
            try:
                with self._streams.log() as opened:
                    piece = opened.after(self._selection, self._cursor, EVENT_LINES, EVENT_CHARACTERS)
            except journal.CursorGone:
                # Rotated away while nobody read. Beginning anew says so: what is shown is replaced by what is left.
                yield self._start()
                return
            self._cursor, more = piece.cursor, piece.more
            if piece.lines:
                yield Event(self._deployment, piece.lines, False, self._cursor)


class Streams:
    def __init__(self, most: int) -> None:
        self._places = Places(most, PART)
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._open: set[Stream] = set()
        self._log: journal.Log | None = None
        self._thread: threading.Thread | None = None
        self._changed = False
        self._signal: int | None = None
        events.deployment_finished.connect(self._finished)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, app: App, tail: int, gone: Callable[[], bool], caller: str) -> Stream:
        holder = Holder(caller, app.id)
        self._take_place(holder)
        with self._lock:
            if self._signal is None:
                self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            stream = Stream(self, app, tail, gone, holder)
            self._open.add(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="streams", daemon=True)
                self._thread.start()
        self.rearm()
        return stream

    def _take_place(self, holder: Holder) -> None:
        lack = self._places.take(holder)
        if lack is Lack.ALL:
            raise Unavailable(
                f"{self._places.most} log streams are open, as many as listen.streams allows; try again in a while",
                code="too_many_streams",
            )
        if lack is not None:
            raise TooManyRequests(
                f"this {lack.value} has {self._places.of[lack]} log streams open, as many as one may have"
                f" of the {self._places.most} of listen.streams; close one first",
                retry_after=RETRY_SECONDS,
                code="too_many_streams",
            )

    def close(self, stream: Stream) -> None:
        with self._lock:
            if stream not in self._open:
                return
            self._open.remove(stream)
        self._places.free(stream.holder)
        self.rearm()

    def end(self) -> None:
        """All of them, soon: the agent stops."""
        for stream in list(self._open):
            stream.ended = True
            stream.wake(look=True)

    def log(self) -> _Borrowed:
        return _Borrowed(self)

    def rearm(self) -> None:
        """Other units are to be watched."""
        self._changed = True
        if self._signal is not None:
            os.eventfd_write(self._signal, 1)

    def _finished(self, deployment: Deployment) -> None:
        for stream in list(self._open):
            if stream.app.id == deployment.app_id:
                stream.wake(look=True)

    def _watch(self) -> None:
        """Until the last stream is closed. Without streams there are no thread, no reader and no wake-ups."""
        try:
            watch = journal.Watch()
            try:
                assert self._signal is not None
                self._follow(watch, self._signal)
            finally:
                watch.close()
        except Exception:
            log.exception("following the journal; all log streams end")
            self.end()
        with self._lock:
            self._thread = None
            database.close()
            if self._open and not all(stream.ended for stream in self._open):  # one came in the last moment
                self._thread = threading.Thread(target=self._watch, name="streams", daemon=True)
                self._thread.start()
        with self._reading:
            if self._log is not None and not self._open:
                self._log.close()
                self._log = None

    def _follow(self, watch: journal.Watch, signal: int) -> None:
        poll, version = select.poll(), database.version()
        for descriptor in (watch.fileno(), signal):
            poll.register(descriptor, select.POLLIN)
        looked = time.monotonic()
        while self._open:
            ready = {descriptor for descriptor, _ in poll.poll(LOOK_SECONDS * 1000)}
            if signal in ready:
                os.eventfd_read(signal)
            if self._changed:
                self._select(watch)
            if watch.fileno() in ready:
                self._tell(watch.news())
                time.sleep(GATHER_SECONDS)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked, before, version = time.monotonic(), version, database.version()
                self._look(changed=version != before)

    def _select(self, watch: journal.Watch) -> None:
        """Whoever is new reads once more afterwards, so that no line falls between its reading and our watching."""
        self._changed = False
        everybody = list(self._open)
        watch.select({unit for stream in everybody for unit in stream.units})
        for stream in everybody:
            stream.wake(look=False)

    def _tell(self, news: set[tuple[str, str]]) -> None:
        """The agent's own lines are about one app each, and often about a change of its deployments."""
        wrote = {unit for unit, _ in news}
        of_agent = {app for unit, app in news if unit == units.AGENT}
        for stream in list(self._open):
            if stream.app.name in of_agent:
                stream.wake(look=True)
            elif wrote.intersection(stream.units) - {units.AGENT}:
                stream.wake(look=False)

    def _look(self, *, changed: bool) -> None:
        for stream in list(self._open):
            if changed or stream.gone():
                stream.wake(look=True)


class _Borrowed:
    """The one reader of lines, to one thread at a time. Each open reader holds a descriptor for every journal file."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def __enter__(self) -> journal.Log:
        self._streams._reading.acquire()
        try:
            if self._streams._log is None:
                self._streams._log = journal.Log()
            return self._streams._log
        except BaseException:
            self._streams._reading.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._streams._reading.release()
