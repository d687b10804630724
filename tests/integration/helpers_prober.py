"""Asks an app for its page all the time, so that a test sees every moment in which nothing served."""

import http.client
import threading
from types import TracebackType

PAUSE = 0.02


class Prober:
    """`with Prober(port, other) as seen:` … then `seen.failures` is empty and `seen.bodies` says what answered.

    With two ports, those of both slots, a failure is a moment in which neither served; with one, that port did not.
    With `host`, the port is the ingress's.
    """

    def __init__(self, *ports: int, host: str | None = None) -> None:
        self._ports, self._host = list(ports), host
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self.answers = 0
        self.bodies: list[str] = []
        self.failures: list[str] = []

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        """Once more at the end, so that what was waited for inside has been seen."""
        while not self._over.wait(PAUSE):
            self._once()
        self._once()

    def _once(self) -> None:
        """The last good port first; it once more at the end, as it may have begun to serve after its first turn."""
        troubles = []
        for port in [*self._ports, self._ports[0]] if len(self._ports) > 1 else self._ports:
            try:
                body = ask(port, host=self._host)
            except (OSError, http.client.HTTPException, BadAnswer) as error:
                troubles.append(f"port {port}: {type(error).__name__} {error}")
                continue
            self.answers += 1
            if self.bodies[-1:] != [body]:
                self.bodies.append(body)
            self._ports.sort(key=lambda one: one != port)
            return
        self.failures.append("; ".join(troubles))


class BadAnswer(Exception):
    pass


def ask(port: int, path: str = "/", seconds: float = 10, host: str | None = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"} | ({"Host": host} if host else {}))
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        raise BadAnswer(f"status {answer.status}")
    return body
