"""Sends a mail through the SMTP server of the settings (`mail:` in agent.yaml), within a deadline."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustploy_agent.fields import Fields, integer, one_of, text
from rustploy_agent.names import email

#: For one answer of the server, and for all of it, however slowly it drips.
STEP_SECONDS, SECONDS = 15.0, 60.0
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?|::1")
THIS_HOST = ("localhost", "127.0.0.1", "::1")


class MailFailed(Exception):
    """Why the server did not take the mail."""


@dataclass(frozen=True)
class Mail:
    host: str
    port: int
    tls: str
    ca_file: str | None
    sender: str
    username: str | None
    password_file: str | None
    reset_page: str | None


def parse(fields: Fields) -> Mail | None:
    """The section `mail`; None without a host."""
    host, sender = fields.maybe("host", _host), fields.maybe("from", email)
    found = Mail(
        host=host or "",
        port=fields.optional("port", integer(1, 65535), 587),
        tls=fields.optional("tls", one_of("none", "starttls", "tls"), "starttls"),
        ca_file=fields.maybe("ca_file", _file),
        sender=sender or "",
        username=fields.maybe("username", text),
        password_file=fields.maybe("password_file", _file),
        reset_page=fields.maybe("reset_page", _page),
    )
    if host is None:
        return None
    if sender is None:
        fields.problem("from", "is required: the address that mails come from")
    if (found.username is None) != (found.password_file is None):
        fields.problem("password_file", "and mail.username need each other")
    if found.username is not None and found.tls == "none" and host not in THIS_HOST:
        fields.problem("tls", "must be starttls or tls, or the password would cross the network in the clear")
    return found


def send(mail: Mail, to: str, subject: str, body: str, *, seconds: float = SECONDS) -> None:
    from email.message import EmailMessage
    from email.utils import formatdate, make_msgid

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = mail.sender, to, subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=mail.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    try:
        with socket.create_connection((mail.host, mail.port), timeout=STEP_SECONDS) as line:
            # Timeouts of sockets are for one read each; this one ends what a server draws out.
            end = threading.Timer(seconds, line.shutdown, (socket.SHUT_RDWR,))
            end.daemon = True
            end.start()
            try:
                _talk(mail, line, message)
            finally:
                end.cancel()
    except (OSError, ValueError) as error:  # of smtplib and ssl too
        raise MailFailed(f"{type(error).__name__}: {error}"[:500]) from None


def _talk(mail: Mail, line: socket.socket, message: Any) -> None:
    import smtplib
    import ssl

    context = None if mail.tls == "none" else ssl.create_default_context(cafile=mail.ca_file)

    class Client(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            own = line.dup()
            return context.wrap_socket(own, server_hostname=host) if context and mail.tls == "tls" else own

    with Client(mail.host, mail.port, local_hostname=socket.gethostname(), timeout=STEP_SECONDS) as client:
        if context and mail.tls == "starttls":
            client.starttls(context=context)
        if mail.username is not None and mail.password_file is not None:
            client.login(mail.username, Path(mail.password_file).read_text(encoding="utf-8").strip("\n"))
        client.send_message(message)


def _host(value: object) -> str:
    if not isinstance(value, str) or not HOST.fullmatch(value):
        raise ValueError("must be the name or the IP address of a mail server")
    return value


def _file(value: object) -> str:
    path = text(value)
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


def _page(value: object) -> str:
    url = text(value)
    if not url.startswith(("https://", "http://")) or "#" in url or not url.isascii() or " " in url:
        raise ValueError("must be the http or https address of a page, without #")
    return url
