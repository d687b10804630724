"""Mail through a real SMTP server of the test's own: one that does not take it must not keep the agent waiting."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from rustploy_agent import config, mail
from tests.mailbox import Mailbox, certificate

pytestmark = pytest.mark.processes


def settings(port: int, **more: object) -> mail.Mail:
    base = config.parse({"mail": {"host": "127.0.0.1", "port": port, "tls": "none", "from": "agent@example.org"}}).mail
    assert base is not None
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


def send(to: mail.Mail, seconds: float = 30) -> None:
    mail.send(to, "anna@example.org", "Hello", "A line\n.\nand another ü\n", seconds=seconds)


def test_a_mail_arrives_as_it_was_written() -> None:
    box = Mailbox()
    with box.open() as port:
        send(settings(port))
    assert box.wait()["To"] == "anna@example.org" and box.mails[0]["From"] == "agent@example.org"
    assert box.mails[0].get_content().replace("\r\n", "\n").replace("\n..\n", "\n.\n") == "A line\n.\nand another ü\n"


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_the_password_goes_over_tls(pem: Path, tmp_path: Path, mode: str) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    box = Mailbox(certificate=pem, tls=mode == "tls")
    with box.open() as port:
        more = {"tls": mode, "ca_file": str(pem), "username": "agent", "password_file": str(tmp_path / "password")}
        send(settings(port, **more))
    assert (box.over_tls, box.logins) == ([True], ["agent s3cret"])


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_server_that_cannot_be_trusted_gets_nothing(pem: Path, mode: str) -> None:
    box = Mailbox(certificate=pem, tls=mode == "tls")
    with box.open() as port, pytest.raises(mail.MailFailed, match="CERTIFICATE_VERIFY_FAILED"):
        send(settings(port, tls=mode))
    assert box.mails == []


def test_a_server_without_starttls_gets_nothing() -> None:
    """Somebody between could have taken the word out."""
    box = Mailbox()
    with box.open() as port, pytest.raises(mail.MailFailed, match="STARTTLS"):
        send(settings(port, tls="starttls"))
    assert box.mails == []


@pytest.mark.parametrize("tls", ["none", "tls", "starttls"])
@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_server_that_never_ends_is_left(mode: str, tls: str) -> None:
    box = Mailbox(mode)
    started = time.monotonic()
    with box.open() as port, pytest.raises(mail.MailFailed):
        send(settings(port, tls=tls), seconds=0.5)
    assert time.monotonic() - started < 10


def test_a_refusal_and_a_server_that_is_not_there_are_told() -> None:
    box = Mailbox("refuse")
    with box.open() as port, pytest.raises(mail.MailFailed, match="550"):
        send(settings(port))
    with pytest.raises(mail.MailFailed, match="refused"):
        send(settings(port))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"host": "mail.example.org"}, "mail.from"),
        ({"host": "a b", "from": "a@b"}, "mail.host"),
        ({"host": "mail.example.org", "from": "a@b", "username": "x"}, "mail.password_file"),
        ({"host": "mail.example.org", "from": "a@b\nBcc: c@d"}, "mail.from"),
        ({"host": "mail.example.org", "from": "a@b", "tls": "maybe"}, "mail.tls"),
        (
            {"host": "mail.example.org", "from": "a@b", "tls": "none", "username": "x", "password_file": "/x"},
            "mail.tls",
        ),
        ({"host": "mail.example.org", "from": "a@b", "password_file": "x"}, "mail.password_file"),
        ({"reset_page": "javascript:alert(1)"}, "mail.reset_page"),
        ({"pasword": "x"}, "mail.pasword"),
    ],
)
def test_wrong_settings_are_named(section: dict[str, object], key: str) -> None:
    with pytest.raises(config.ConfigError, match=key):
        config.parse({"mail": section})
