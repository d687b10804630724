"""A Debian that really runs systemd, for tests and for trying things by hand.

    from tests.machine import Machine

    python3 -m tests.machine boot [bookworm|trixie]    boots one with the package built and installed, leaves it
                                                       running, says how to enter, look around and end it
    python3 -m tests.machine bare [bookworm|trixie]    the same without the package
    python3 -m tests.machine shell NAME                a root shell in a running one
    python3 -m tests.machine run NAME COMMAND…         one command in it
    python3 -m tests.machine update NAME               builds the package from the work tree and installs it in there
    python3 -m tests.machine list
    python3 -m tests.machine end NAME

All as root. The base file systems (one per release, 45 seconds to make) are kept under ~/.cache/rustploy-agent; a
machine is an overlay over one of them, starts in a second, and is gone with everything in it when it ends.
Machines share the host's network, so each has its own block of 500 ports: the first is the agent's.
One with a private network (`Machine.create(…, private_network=True)`) has nothing but a loopback of its own.
"""

from tests.machine.machine import Machine, Response, build_deb

__all__ = ["Machine", "Response", "build_deb"]
