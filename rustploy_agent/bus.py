"""The connection to D-Bus that `systemd.py` speaks over: dialled when it is first needed, and anew once it was lost.

It is our own, not GLib's shared one: of that a program gets the same closed connection as long as anybody holds it.
"""

from __future__ import annotations

import importlib
import re
import threading
from typing import Any

from rustploy_agent import lean
from rustploy_agent.errors import SystemdError, SystemdUnavailable

#: GLib's command line options, its main loop's signals, and on Debian 13 its way to asyncio. Nobody else imports these.
UNUSED = ("gi._option", "gi._ossighelper", "asyncio")
DIAL_SECONDS = 5
#: GLib's errors of a connection that is gone or silent (GIOErrorEnum): closed, timed out, broken, not connected.
UNAVAILABLE = {18, 24, 44, 45}
#: What the bus says while systemd is not on it, as during a `daemon-reexec`, or when it leaves during a call.
ABSENT = re.compile(r"org\.freedesktop\.DBus\.Error\.(NameHasNoOwner|ServiceUnknown|Spawn\.\w+)\b")
UNANSWERED = re.compile(r"org\.freedesktop\.DBus\.Error\.(NoReply|Disconnected|TimedOut|Timeout)\b")


class Bus:
    """`xml` says what the manager's proxy can be asked, as the manager itself would say it (pydbus)."""

    def __init__(self, name: str, path: str, xml: str) -> None:
        self._name, self._path, self._xml = name, path, xml
        self._lock = threading.Lock()
        self._bus: Any = None
        self._manager: Any = None

    @property
    def used(self) -> bool:
        """Whether anybody has asked for a connection yet. GLib takes two megabytes, so nobody does without a need."""
        return self._bus is not None

    def manager(self) -> Any:
        with self._lock:
            self._dial_unless_open()
            return self._manager

    def connection(self) -> Any:
        with self._lock:
            self._dial_unless_open()
            return self._bus.con

    def _dial_unless_open(self) -> None:
        if self._bus is not None and not self._bus.con.is_closed():
            return
        lean.use("pydbus", lambda: importlib.import_module("pydbus.proxy"), UNUSED)
        from xml.etree import ElementTree

        from gi.repository import Gio
        from pydbus.proxy import CompositeInterface

        # A bus that accepts connections and says nothing would be waited for without an end.
        given_up = Gio.Cancellable()
        timer = threading.Timer(DIAL_SECONDS, given_up.cancel)
        timer.daemon = True
        timer.start()
        try:
            bus = Gio.DBusConnection.new_for_address_sync(
                Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None),
                Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
                None,
                given_up,
            ).pydbus
        except Exception as error:
            if not is_glib(error):
                raise
            raise SystemdUnavailable(f"the system's D-Bus cannot be reached: {said(error)}", unsent=True) from error
        finally:
            timer.cancel()
        proxy = CompositeInterface(ElementTree.fromstring(self._xml))
        self._manager, self._bus = proxy(bus, self._name, self._path), bus


def is_glib(error: Exception) -> bool:
    """GLib.Error cannot be named here without importing gi, which costs 8 MB that an idle agent does not need."""
    return type(error).__module__.split(".")[0] in ("gi", "pydbus")


def said(error: Exception) -> str:
    return str(error).partition("GDBus.Error:")[2] or str(error)


def translated(error: Exception, what: str) -> SystemdError:
    """Of an error for which `is_glib` holds."""
    text = said(error)
    if "GDBus.Error:" in str(error):
        absent = ABSENT.search(text) is not None
        if absent or UNANSWERED.search(text):
            return SystemdUnavailable(f"systemd did not answer {what}: {text}", unsent=absent)
    elif getattr(error, "domain", "") == "g-io-error-quark" and getattr(error, "code", 0) in UNAVAILABLE:
        return SystemdUnavailable(f"systemd did not answer {what}: {text}")
    return SystemdError(f"systemd refused {what}: {text}")
