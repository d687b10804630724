"""The agent leaves out what it never uses of its libraries, without depending on how they are made inside."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rustploy_agent import lean

pytestmark = pytest.mark.processes
#: In a process of its own, for here everything was imported before. Arguments are stand-ins beside the usual ones.
SCRIPT = """
import json, logging, sys
logging.basicConfig()
from rustploy_agent import bus, small_flask, systemd
small_flask.WITHOUT += tuple(one for one in sys.argv[1:] if not one.startswith("gi"))
bus.UNUSED += tuple(one for one in sys.argv[1:] if one.startswith("gi"))
small_flask.load()
import rustploy_agent.serve
try:
    systemd.Systemd().state("any.service")
except systemd.SystemdError:  # there may be no bus here
    pass
print(json.dumps(sorted(sys.modules)))
# What agents import later, or not, is whole.
import ssl, smtplib, prometheus_client, flask.cli, jinja2.environment
assert smtplib._have_ssl and ssl.SSLContext and prometheus_client.generate_latest() and flask.cli.FlaskGroup
"""


def imported(*more: str) -> tuple[set[str], str]:
    """The modules of an agent, and what was said."""
    argv = [sys.executable, "-c", SCRIPT, *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout)), done.stderr


def test_an_agent_has_neither_templates_nor_command_lines_in_its_memory_and_says_nothing_of_it() -> None:
    modules, said = imported()
    unused = {
        "jinja2.environment",
        "click.core",
        "flask.cli",
        "http.server",
        "werkzeug.test",
        "ssl",
        "_hashlib",
        "optparse",
        "asyncio",
    }
    assert not unused & modules
    assert {"flask.app", "pydbus.proxy"} <= modules and not said


def test_a_flask_that_does_not_work_without_its_parts_is_imported_whole() -> None:
    """Else an upgrade of Flask ends in an agent that does not start."""
    modules, said = imported("werkzeug.routing")
    assert {"jinja2.environment", "click.core", "flask.cli", "werkzeug.routing", "werkzeug.test", "ssl"} <= modules
    assert "Flask does not work" in said and "imported whole" in said


def test_a_pydbus_that_does_not_work_without_parts_of_glib_is_imported_whole() -> None:
    """Else an upgrade ends in an agent that deploys nothing."""
    modules, said = imported("gi.overrides")
    assert {"gi._option", "gi.overrides.GLib", "optparse"} <= modules
    assert "pydbus does not work" in said and "imported whole" in said


def test_what_a_stand_in_is_asked_for_is_a_class_and_always_the_same() -> None:
    one = lean.StandIn("flask.cli")
    assert one.AppGroup is one.AppGroup and not one.AppGroup().commands
    with pytest.raises(AttributeError):
        _ = one.__wrapped__
