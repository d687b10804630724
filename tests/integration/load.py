"""Visitors of an app behind the ingress: many at once, each of its own habit; every request that fails is kept.

A deployment must cost none of them anything, so `failures` stays empty: with `with Load(...) as seen:` around it.
"""

import asyncio
import http.client
import threading
import time
from types import TracebackType

SECONDS = 20


class Load:
    """About `rate` requests a second, if the machine can, on kept connections and new ones; slow ones and posts too.

    With `reopens`, a visitor asks once more, on a new connection, when one was closed before the answer began, as
    browsers do. That is what a new configuration of the ingress costs; posts then come on new connections.
    """

    def __init__(self, port: int, host: str, rate: int = 240, *, reopens: bool = False) -> None:
        self._port, self._host, self._rate, self._reopens = port, host, rate, reopens
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self.failures: list[str] = []
        self.answers = 0
        self.versions: list[str] = []
        self.started = 0.0
        self.seconds = 0.0

    def __enter__(self) -> "Load":
        self.started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self.started
        self._over.set()
        self._thread.join(2 * SECONDS)

    @property
    def per_second(self) -> float:
        """Answers, once it is over."""
        return self.answers / self.seconds

    async def _run(self) -> None:
        visitors = 20
        pause = visitors / self._rate
        kept = [self._visitor(pause, keep=True) for _ in range(visitors // 2)]
        fresh = [self._visitor(pause, keep=False) for _ in range(visitors // 2)]
        slow = [self._visitor(0.05, keep=True, path="/slow/1") for _ in range(3)]
        posts = [self._visitor(0.1, keep=not self._reopens, body=b"x" * 50_000) for _ in range(2)]
        await asyncio.gather(*kept, *fresh, *slow, *posts)

    async def _visitor(self, pause: float, *, keep: bool, path: str = "/", body: bytes = b"") -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        begin, again = time.monotonic(), False
        while not self._over.is_set():
            try:
                async with asyncio.timeout(SECONDS):
                    connection = connection or await self._connect()
                    answer, open_still = await self._ask(*connection, path, body, keep)
                self._note(answer, str(len(body)) if body else None)
                again = False
            except Unanswered:
                if again or not self._reopens:
                    self.failures.append(f"{time.monotonic() - self.started:.2f} s {path}: closed without an answer")
                open_still, again = False, True
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failures.append(f"{time.monotonic() - self.started:.2f} s {path}: {type(error).__name__} {error}")
                open_still = False
            if connection and not (keep and open_still):
                connection[1].close()
                connection = None
            begin = max(begin + pause, time.monotonic() - 1)
            await asyncio.sleep(max(0, begin - time.monotonic()))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionResetError:
            raise Unanswered from None

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes, keep: bool
    ) -> tuple[str, bool]:
        """The body of a 200, and whether the connection may be used again; ValueError for any other answer."""
        method = "POST" if body else "GET"
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [] if keep else ["Connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if getattr(error, "partial", b""):
                raise
            raise Unanswered from None
        length = int(head.partition("content-length:")[2].split()[0]) if "content-length:" in head else None
        content = await (reader.readexactly(length) if length is not None else reader.read())
        if not head.startswith("http/1.1 200 "):
            raise ValueError(f"answered {head.splitlines()[0]} {content[:100]!r}")
        return content.decode(), length is not None and "connection: close" not in head

    def _note(self, answer: str, expected: str | None) -> None:
        if expected is not None and answer != expected:
            raise ValueError(f"answered {answer!r}, not {expected!r}")
        self.answers += 1
        if expected is None and self.versions[-1:] != [answer]:
            self.versions.append(answer)


class Unanswered(Exception):
    """The connection ended before the first byte of an answer."""


class Listener:
    """One open event stream; `last` is when its newest event came."""

    def __init__(self, port: int, host: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._connection.request("GET", "/events", headers={"Host": host})
        self._stream = self._connection.getresponse()
        self.last = 0.0
        threading.Thread(target=self._listen, name="listener", daemon=True).start()

    def _listen(self) -> None:
        try:
            while self._stream.readline().strip():
                self._stream.readline()
                self.last = time.monotonic()
        except (OSError, http.client.HTTPException):
            pass

    def hears(self, since: float) -> bool:
        """Whether an event comes that is newer, within two seconds."""
        deadline = time.monotonic() + 2
        while self.last <= since and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.last > since
