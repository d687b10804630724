"""Command line and composition root of rustploy-agent."""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import sys
from collections.abc import Callable

from rustploy_agent import __version__
from rustploy_agent.config import ConfigError, Settings, load
from rustploy_agent.errors import AgentError

USER = "rustploy"


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        settings = load()
        if arguments.command not in ("doctor", "listen"):
            _become_agent()
        status: int = arguments.run(arguments, settings)
        return status
    except AgentError as error:
        print(f"rustploy-agent: {error.message}", file=sys.stderr)
        return os.EX_CONFIG if isinstance(error, ConfigError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rustploy-agent",
        description="Runs apps on this server. The API is the way to use it; "
        "these commands are for the service itself, for the first token and for emergencies.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the agent (what rustploy-agent.service does)").set_defaults(run=_serve)
    commands.add_parser(
        "listen", help="have systemd hold the API's address (what rustploy-listen.service does)"
    ).set_defaults(run=_listen)
    token = commands.add_parser("token", help="make, list and revoke API tokens").add_subparsers(
        dest="action", required=True
    )
    create = token.add_parser("create", help="make a token; it is printed alone on the last line and never again")
    create.add_argument("--name", required=True)
    create.add_argument("--scope", required=True, action="append", choices=("read", "deploy", "admin"))
    create.add_argument("--app", action="append", help="only for this app (name or id); may be repeated")
    create.add_argument("--expires-in-seconds", type=int)
    create.set_defaults(run=_command("token_create"))
    token.add_parser("list", help="list tokens").set_defaults(run=_command("token_list"))
    revoke = token.add_parser("revoke", help="revoke a token by id or name")
    revoke.add_argument("token")
    revoke.set_defaults(run=_command("token_revoke"))
    admin = commands.add_parser("admin", help="the admin's account").add_subparsers(dest="action", required=True)
    admin.add_parser("init", help="create the admin with an unknown password if there is none").set_defaults(
        run=_command("admin_init")
    )
    admin.add_parser("reset-password", help="print a new password").set_defaults(run=_command("admin_reset_password"))
    address = admin.add_parser("set-email", help="change the address the admin logs in with")
    address.add_argument("email")
    address.set_defaults(run=_command("admin_set_email"))
    key = commands.add_parser("key", help="the key that seals secrets in the database").add_subparsers(
        dest="action", required=True
    )
    key.add_parser("init", help="make it if there is none and nothing was sealed yet").set_defaults(run=_key_init)
    key.add_parser("check", help="say what it does not open").set_defaults(run=_command("key_check"))
    key.add_parser("replace", help="make a new one; what the old one sealed has to be set again").set_defaults(
        run=_command("key_replace")
    )
    database = commands.add_parser("database", help="the agent's database").add_subparsers(dest="action", required=True)
    database.add_parser("check", help="say whether it is damaged").set_defaults(run=_database_check)
    _add_rebuild(commands)
    commands.add_parser("doctor", help="check the host and say what to do").set_defaults(run=_doctor)
    return parser


def _add_rebuild(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rebuild = commands.add_parser(
        "rebuild",
        help="build what serves anew, for example after an upgrade of Debian (as deployments, one after the other)",
    )
    rebuild.add_argument("app", nargs="*", help="these apps (name or id)")
    rebuild.add_argument("--all", action="store_true", help="all apps")
    rebuild.add_argument("--list", action="store_true", help="only say which apps need it, and why")
    rebuild.set_defaults(run=_rebuild)


def _become_agent() -> None:
    """Root's command line works as the agent's user, so that it leaves no file the agent cannot write."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        raise AgentError(f"there is no user {USER}; install the package") from None
    os.initgroups(USER, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o027)


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    from rustploy_agent import small_flask

    small_flask.load()
    from rustploy_agent.serve import serve

    serve(settings)


def _command(name: str) -> Callable[[argparse.Namespace, Settings], int]:
    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        from rustploy_agent import console, damage
        from rustploy_agent.models import DatabaseError, open_database

        try:
            open_database(settings.paths.database)
        except DatabaseError as error:
            raise AgentError(f"the database cannot be read ({error}); see {damage.MANUAL}") from None
        status: int = getattr(console, name)(arguments, settings)
        return status

    return run


def _rebuild(arguments: argparse.Namespace, settings: Settings) -> int:
    from rustploy_agent import rebuilding
    from rustploy_agent.models import open_database

    open_database(settings.paths.database)
    return rebuilding.rebuild(arguments, settings)


def _key_init(_: argparse.Namespace, settings: Settings) -> int:
    """During an upgrade the agent before this one still works with the database, so it is not migrated here."""
    from rustploy_agent import console

    return console.key_init(settings)


def _database_check(_: argparse.Namespace, settings: Settings) -> int:
    from rustploy_agent import damage

    damage.check(settings.paths)
    return 0


def _listen(_: argparse.Namespace, settings: Settings) -> int:
    from rustploy_agent import ceilings
    from rustploy_agent.listening import hold

    try:
        ceilings.tell(settings)
    except OSError as error:  # a full disk keeps nobody from the API; those before hold until the next start
        sys.stderr.write(f"{settings.paths.ceilings}: {error.strerror}\n")
    return hold(settings)


def _doctor(_: argparse.Namespace, settings: Settings) -> int:
    from rustploy_agent.doctor import doctor

    return doctor(settings)


if __name__ == "__main__":
    sys.exit(main())
