"""A small SMTP server that keeps what it gets, speaks TLS both ways, asks for a password, or behaves badly."""

import base64
import contextlib
import email
import email.message
import email.policy
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class Mailbox:
    """`mode`: `ok`, `hang` (never says a word), `drip` (a word now and then, for ever), `refuse` (no mail taken)."""

    def __init__(self, mode: str = "ok", *, certificate: Path | None = None, tls: bool = False) -> None:
        self.mode, self.tls = mode, tls
        self.mails: list[email.message.EmailMessage] = []
        self.over_tls: list[bool] = []
        self.logins: list[str] = []
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.ended = threading.Event()

    @contextlib.contextmanager
    def open(self, address: str = "127.0.0.1") -> Iterator[int]:
        """Its port."""
        mailbox = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _Conversation(mailbox, self.request).run()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, block_on_close = True, False

        with Server((address, 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield server.server_address[1]
            finally:
                self.ended.set()
                server.shutdown()

    def wait(self, count: int = 1, seconds: float = 30) -> email.message.EmailMessage:
        """The newest mail, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.mails) < count:
            assert time.monotonic() < deadline, f"{len(self.mails)} mails of {count} came"
            time.sleep(0.02)
        return self.mails[-1]


class _Conversation:
    def __init__(self, mailbox: Mailbox, line: object) -> None:
        self.box, self.line, self.secure = mailbox, line, False

    def run(self) -> None:
        if self.box.mode == "hang":
            self.box.ended.wait()
            return
        if self.box.tls:
            self._encrypt()
        while self.box.mode == "drip" and not self.box.ended.wait(0.05):
            self._say("220-wait")
        self._say("220 mailbox")
        self.lines = self.line.makefile("rb")  # type: ignore[attr-defined]
        while command := self.lines.readline().decode().strip():
            verb, _, rest = command.partition(" ")
            if verb.upper() == "QUIT":
                return
            self._answer(verb.upper(), rest)

    def _answer(self, verb: str, rest: str) -> None:
        if verb == "EHLO":
            starttls = self.box.context is not None and not self.secure
            self._say("250-mailbox", *(["250-STARTTLS"] if starttls else []), "250 AUTH PLAIN")
        elif verb == "STARTTLS":
            self._say("220 go on")
            self._encrypt()
            self.lines = self.line.makefile("rb")  # type: ignore[attr-defined]
        elif verb == "AUTH":
            self.box.logins.append(base64.b64decode(rest.split()[1]).decode().replace("\0", " ").strip())
            self._say("235 welcome")
        elif verb == "DATA":
            self._say("354 go on")
            self._take(b"".join(iter(self.lines.readline, b".\r\n")))
        else:
            self._say("550 no" if self.box.mode == "refuse" and verb == "RCPT" else "250 ok")

    def _take(self, raw: bytes) -> None:
        self.box.over_tls.append(self.secure)
        self.box.mails.append(email.message_from_bytes(raw, policy=email.policy.default))  # type: ignore[arg-type]
        self._say("250 kept")

    def _encrypt(self) -> None:
        assert self.box.context is not None
        self.line = self.box.context.wrap_socket(self.line, server_side=True)  # type: ignore[arg-type]
        self.secure = True

    def _say(self, *lines: str) -> None:
        self.line.sendall("".join(f"{line}\r\n" for line in lines).encode())  # type: ignore[attr-defined]


def certificate(directory: Path, name: str = "localhost") -> Path:
    """One file with a key and its self-signed certificate, which is its own root."""
    key, made = directory / "key.pem", directory / "certificate.pem"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run([*argv, "-out", str(made)], check=True, capture_output=True, timeout=60)
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made
