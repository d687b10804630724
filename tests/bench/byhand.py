"""The other side: a person's shell on the machine, with a user of its own and no agent."""

from __future__ import annotations

import subprocess
import time

from tests.bench.subjects import Subject, sign
from tests.bench.watch import page, until
from tests.machine import Machine

USER = "byhand"
HOME = "/srv/byhand"

#: $1 is what to do; what the commands say goes to HOME/NAME.log. `stop` waits, as a person would before starting again.
COMMANDS = """
set -eu
cd {home}
exec 3>&1 >>{name}.log 2>&1
stop() {{
	if [ -n "${{server-}}" ]; then kill "$server" && wait "$server" || true; fi
	server=
}}
first() {{
	git clone --quiet --depth=1 {url} {name}
	cd {name}
	{first_install}
	{start} & server=$!
}}
again() {{
	git fetch --quiet --depth=1 origin main
	git reset --quiet --hard FETCH_HEAD
	{install}
	stop
	{start} & server=$!
}}
forget() {{
	stop
	cd {home}
	rm -rf {name} .cache
}}
export PORT={port}
while read -r order; do
	$order
	echo >&3
done
stop
"""


class Person:
    """A shell that waits for orders, so that entering the machine is not part of what is measured."""

    def __init__(self, machine: Machine, subject: Subject, url: str) -> None:
        _make_user(machine)
        # The last port of the machine's block: far from those that the agent gives to apps.
        self.machine, self.subject, self.port = machine, subject, machine.place.last_port
        script = COMMANDS.format(home=HOME, port=self.port, url=url, **vars(subject))
        argv = machine.argv(["env", f"HOME={HOME}", "bash", "-c", script], user=USER)
        self._shell = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, order: str, number: int) -> float:
        """From the order until the edition of that number answers."""
        started = time.monotonic()
        self._give(order)
        # Not before the new server was started: the old one shows the new files of a static page too.
        self._answered()
        until(lambda: self._shows(number), f"{self.subject.name} by hand to show {sign(number)!r}")
        return time.monotonic() - started

    def forget(self) -> None:
        """As before the first time: no checkout, no environment, no pip cache."""
        self._give("forget")
        self._answered()

    def leave(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(30)

    def _shows(self, number: int) -> bool:
        if self._shell.poll() is not None:
            raise SystemExit(self._broken())
        return sign(number) in (page(f"http://127.0.0.1:{self.port}") or "")

    def _give(self, order: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{order}\n")
        self._shell.stdin.flush()

    def _answered(self) -> None:
        assert self._shell.stdout is not None
        if not self._shell.stdout.readline():
            raise SystemExit(self._broken())

    def _broken(self) -> str:
        said = self.machine.read(f"{HOME}/{self.subject.name}.log")
        return f"a command by hand failed, the last it said: {said[-1000:]}"


def _make_user(machine: Machine) -> None:
    if machine.run(["getent", "passwd", USER], check=False).returncode != 0:
        machine.run(["useradd", "--create-home", f"--home-dir={HOME}", USER])
    # The repositories are root's; the agent's fetch tells git the same.
    machine.write(f"{HOME}/.gitconfig", "[safe]\n\tdirectory = *\n", owner=f"{USER}:{USER}")
