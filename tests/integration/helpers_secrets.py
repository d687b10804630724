"""Where secrets must not lie open: searches for them over what a machine keeps."""

from collections.abc import Callable

from tests.machine import Machine

Search = Callable[[Machine, str], str]

PLATFORM = ("rustploy-agent", "rustploy-apply", "rustploy-ingress", "rustploy-sweep", "rustploy-listen")


def patterns(machine: Machine, secrets: set[str]) -> str:
    """A file with all of these, out of the way of the search."""
    path = "/root/secrets-of-the-tests"
    machine.write(path, "".join(f"{secret}\n" for secret in sorted(secrets)), 0o600)
    return path


def in_state(machine: Machine, path: str) -> str:
    """Files of the agent and of apply that hold one of the patterns: the database, its log, and all beside it."""
    argv = ["grep", "-rlaFf", path, "/var/lib/rustploy/agent", "/var/lib/rustploy/apply"]
    return machine.run(argv, check=False).stdout


def in_jobs(machine: Machine, path: str) -> str:
    """A job holds the address that is fetched from, with the token in it."""
    return machine.run(
        ["sh", "-c", f"grep -rlaFf {path} /var/lib/rustploy/apps/*/jobs /etc/systemd"], check=False
    ).stdout


def in_journal(machine: Machine, path: str) -> str:
    machine.run(["journalctl", "--sync"])
    units = [f"--unit={name}.service" for name in PLATFORM]
    units += [f"--unit=rustploy-{kind}@*.service" for kind in ("fetch", "build")]
    search = f"journalctl --all --output=export {' '.join(map(repr, units))} | grep -aFf {path} | head -c 300"
    return machine.run(["sh", "-c", search], check=False, timeout=120).stdout


SEARCHES = (in_state, in_jobs, in_journal)
