"""Runs inside a machine as some user: makes the D-Bus calls on its standard input, prints a JSON line for each.

A call is [label, destination or "", path, interface, method, the arguments as GVariant text]; its answer is
[label, "ok" or the error's name].
"""

import json
import sys

from gi.repository import Gio, GLib

BUS_NAME = "org.freedesktop.systemd1"
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)


def answer(destination: str, path: str, interface: str, method: str, arguments: str) -> str:
    try:
        bus.call_sync(destination, path, interface, method, GLib.Variant.parse(None, arguments), None, 0, 20000, None)
    except GLib.Error as error:
        return Gio.DBusError.get_remote_error(error) or str(error)
    return "ok"


for label, destination, path, interface, method, arguments in json.load(sys.stdin):
    sys.stdout.write(json.dumps([label, answer(destination or BUS_NAME, path, interface, method, arguments)]) + "\n")
    sys.stdout.flush()
