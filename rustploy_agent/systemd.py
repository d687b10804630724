"""The only door to systemd: D-Bus through pydbus. Every call has a deadline; polkit decides what the agent may do.

pydbus introspects an object each time it is fetched and waits for ever by default. So the manager's proxy is made once
for each connection, of the methods that are called (all its members take half a megabyte); properties are read over the
connection alone.

A restart of D-Bus closes the connection, and a `daemon-reexec` of systemd swallows answers. So a question is asked
again for a while. An action whose answer was lost is repeated only where doing it twice is the same as doing it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from rustploy_agent import descriptors
from rustploy_agent.bus import Bus, is_glib, translated
from rustploy_agent.errors import SystemdError, SystemdUnavailable
from rustploy_agent.unit_state import ExitState, UnitState

T = TypeVar("T")
CALL_SECONDS = 25
#: How long a question is asked again after systemd was first missed, and the pause before each time.
AGAIN_SECONDS, AGAIN_PAUSE_SECONDS = 10, 0.1
#: A health check waits less than a caller who needs the answer.
CHECK_SECONDS = 2
BUS_NAME = "org.freedesktop.systemd1"
UNIT, SERVICE = f"{BUS_NAME}.Unit", f"{BUS_NAME}.Service"
#: What is called of the manager, as it would say itself (org.freedesktop.systemd1(5)).
METHODS = {
    "StartUnit": ("s", "s", ">o"),
    "StopUnit": ("s", "s", ">o"),
    "RestartUnit": ("s", "s", ">o"),
    "ResetFailedUnit": ("s",),
    "ListUnitsByNames": ("as", ">a(ssssssouso)"),
    "ListUnitsByPatterns": ("as", "as", ">a(ssssssouso)"),
}


def introspection() -> str:
    methods = ""
    for name, arguments in METHODS.items():
        parts = (("out" if one[0] == ">" else "in", one.lstrip(">")) for one in arguments)
        arguments_xml = "".join(f'<arg type="{type_}" direction="{direction}"/>' for direction, type_ in parts)
        methods += f'<method name="{name}">{arguments_xml}</method>'
    return f'<node><interface name="{BUS_NAME}.Manager">{methods}</interface></node>'


def pause_in_proportion(waited: float) -> None:
    """Looking late never costs more than a few percent of what was waited for."""
    time.sleep(min(max(0.004, waited / 32), 0.2))


class Systemd:
    def __init__(self) -> None:
        self._bus = Bus(BUS_NAME, "/org/freedesktop/systemd1", introspection())
        self._missed_since: float | None = None
        self._health, self._looked_at = "ok", 0.0

    def start(self, unit: str) -> None:
        """Start what may be started twice: it stays up, or does the same again."""
        self._patiently(lambda: self._call("StartUnit", unit, "replace"))

    def start_once(self, unit: str) -> None:
        """Start what may not run twice; SystemdUnavailable when it cannot be told whether it has."""
        self._do_once("StartUnit", unit)

    def stop(self, unit: str) -> None:
        self._patiently(lambda: self._call("StopUnit", unit, "replace"))

    def restart(self, unit: str) -> None:
        self._patiently(lambda: self._call("RestartUnit", unit, "replace"))

    def restart_once(self, unit: str) -> None:
        """As `start_once`, but what runs of it ends first."""
        self._do_once("RestartUnit", unit)

    def reset_failed(self, unit: str) -> None:
        self._patiently(lambda: self._call("ResetFailedUnit", unit))

    def health(self, within_seconds: float) -> str:
        """`ok` or `down`: whether systemd answers, or did so within these seconds.

        A lost connection is dialled anew. One that nobody has needed yet is not made for this.
        """
        if self._bus.used and time.monotonic() - self._looked_at >= within_seconds:
            try:
                self._look()
                self._health = "ok"
            except SystemdError:
                self._health = "down"
            self._looked_at = time.monotonic()
        return self._health

    def _look(self) -> None:
        try:
            self._call("ListUnitsByNames", ["rustploy-agent.service"], seconds=CHECK_SECONDS)
        except SystemdUnavailable:
            self._call("ListUnitsByNames", ["rustploy-agent.service"], seconds=CHECK_SECONDS)

    def state(self, unit: str) -> UnitState:
        return self.states([unit])[unit]

    def states(self, names: list[str]) -> dict[str, UnitState]:
        rows = zip(names, self._patiently(lambda: self._call("ListUnitsByNames", names)), strict=True)
        return {name: UnitState(active=row[3], sub=row[4], path=row[6], job=row[7]) for name, row in rows}

    def up(self, pattern: str) -> set[str]:
        """Return the units of that pattern that have not ended, or that failed, with one question for all of them."""
        rows = self._call("ListUnitsByPatterns", [], [pattern])
        states = {row[0]: UnitState(active=row[3], sub=row[4], path=row[6], job=row[7]) for row in rows}
        return {name for name, state in states.items() if not state.ended or state.active == "failed"}

    def needs_reload(self, unit: str) -> bool:
        """Whether its files were changed after systemd has read them."""
        return bool(self._property(self.state(unit).path, "NeedDaemonReload", UNIT))

    def exit_state(self, unit: str) -> ExitState:
        """Read in one go: between two answers systemd may have started the next process."""
        values = self._properties(self.state(unit).path, SERVICE)
        return ExitState(values["Result"], values["ExecMainCode"], values["ExecMainStatus"])

    def crashed_within(self, unit: str, seconds: float) -> bool:
        """Whether systemd had to start the unit again, and its process has run no longer than this since."""
        values = self._properties(self.state(unit).path, SERVICE)
        ran: float = time.monotonic() - values["ExecMainStartTimestampMonotonic"] / 1e6
        return ran < seconds if values["NRestarts"] else False

    def control_group_properties(self, unit: str) -> dict[str, int]:
        """Memory in bytes and tasks as systemd counts them; absent where the kernel does not account."""
        path = self.state(unit).path
        values = {name: self._property(path, name) for name in ("MemoryCurrent", "TasksCurrent")}
        return {name: value for name, value in values.items() if value < 2**63}

    def settle(
        self,
        unit: str,
        seconds: float,
        stop_waiting: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] = pause_in_proportion,
        *,
        ended: bool = False,
    ) -> UnitState | None:
        """The unit's state once nothing is under way; None when the time is over or `stop_waiting` says so.

        With `ended`, also what runs is waited for. `pause` is called between two looks with the seconds waited so far.
        """
        started = time.monotonic()
        while True:
            state = self.state(unit)
            if state.ended if ended else state.settled or state.restarting:
                return state
            waited = time.monotonic() - started
            if waited >= seconds or stop_waiting():
                return None
            pause(waited)

    def stop_and_wait(self, unit: str, seconds: float) -> None:
        state: UnitState | None = self.state(unit)
        if state is not None and not state.ended:
            self.stop(unit)
            state = self.settle(unit, seconds)
        if state is None:
            raise SystemdError(f"{unit} did not stop within {seconds:g} s")
        if state.active == "failed":
            self.reset_failed(unit)

    def stop_all(self, units: list[str], seconds: float) -> None:
        """At once, for each may take its time to let requests end."""
        states = self.states(units) if units else {}
        up = [unit for unit, state in states.items() if not state.ended or state.active == "failed"]
        for unit in up:
            if not states[unit].ended:
                self.stop(unit)
        for unit in up:
            self.stop_and_wait(unit, seconds)

    def _do_once(self, method: str, unit: str) -> None:
        """Repeat only what systemd has not heard of. What it has may be over already, and then it looks undone."""
        try:
            self._patiently(lambda: self._call(method, unit, "replace"), unsent_only=True)
        except SystemdUnavailable as error:
            state = None if error.unsent else self.state(unit)
            if state is None or not (state.job or state.up):
                raise

    def _patiently(self, call: Callable[[], T], *, unsent_only: bool = False) -> T:
        """Call again while systemd cannot be asked, for a while after it was first missed, whoever missed it."""
        while True:
            try:
                result = call()
            except SystemdUnavailable as error:
                now = time.monotonic()
                self._missed_since = since = self._missed_since or now
                if now - since >= AGAIN_SECONDS or (unsent_only and not error.unsent):
                    raise
                time.sleep(AGAIN_PAUSE_SECONDS)
            else:
                self._missed_since = None
                return result

    def _connect(self) -> Any:
        return self._bus.manager()

    def _call(self, method: str, *arguments: object, seconds: float = CALL_SECONDS) -> Any:
        return self._translated(
            lambda: getattr(self._connect(), method)(*arguments, timeout=seconds), f"{method} {arguments[0]}"
        )

    def _property(self, path: str, name: str, interface: str = SERVICE) -> Any:
        return self._patiently(lambda: self._read(path, "Get", (interface, name)))

    def _properties(self, path: str, interface: str) -> dict[str, Any]:
        values: dict[str, Any] = self._patiently(lambda: self._read(path, "GetAll", (interface,)))
        return values

    def _read(self, path: str, method: str, arguments: tuple[str, ...]) -> Any:
        def read() -> Any:
            connection = self._bus.connection()
            from gi.repository import GLib

            return connection.call_sync(
                BUS_NAME,
                path,
                "org.freedesktop.DBus.Properties",
                method,
                GLib.Variant(f"({'s' * len(arguments)})", arguments),
                GLib.VariantType.new("(v)" if method == "Get" else "(a{sv})"),
                0,
                CALL_SECONDS * 1000,
                None,
            ).unpack()[0]

        return self._translated(read, f"{path} {arguments[-1]}")

    @staticmethod
    def _translated(call: Callable[[], T], what: str) -> T:
        if descriptors.exhausted():  # GLib would end the process
            few = "the agent has nearly no file descriptors left; rustploy-agent doctor says more"
            raise SystemdUnavailable(f"systemd was not asked {what}: {few}", unsent=True)
        try:
            return call()
        except Exception as error:
            if not is_glib(error):
                raise
            raise translated(error, what) from error
