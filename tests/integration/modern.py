"""A visitor over HTTP/3, or over an HTTP/2 that says what no honest client would; prints JSON.

    modern.py h3 HOST PORT PATH          {"status", "body", "protocol"}
    modern.py h2 HOST PORT <attempts     for each [headers, body] of the JSON list: a status, "reset", "closed", or
                                         "refused" by a server that does not speak HTTP/2

Run by a Python of its own, which has aioquic and h2 (requirements.txt); certificates are not checked.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

ADDRESS, SECONDS = "127.0.0.1", 10


async def h3(host: str, port: int, path: str) -> dict[str, Any]:
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived, HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import ProtocolNegotiated, QuicEvent

    class Visitor(QuicConnectionProtocol):  # type: ignore[misc]
        protocol: str | None = None
        status, body = 0, b""

        async def get(self) -> None:
            self.over = asyncio.get_running_loop().create_future()
            self.http = H3Connection(self._quic)
            names = {":method": "GET", ":scheme": "https", ":authority": f"{host}:{port}", ":path": path}
            headers = [(name.encode(), value.encode()) for name, value in names.items()]
            self.http.send_headers(self._quic.get_next_available_stream_id(), headers, end_stream=True)
            self.transmit()
            await asyncio.wait_for(self.over, SECONDS)

        def quic_event_received(self, event: QuicEvent) -> None:
            if isinstance(event, ProtocolNegotiated):
                self.protocol = event.alpn_protocol
                return
            for one in self.http.handle_event(event) if hasattr(self, "http") else []:
                if isinstance(one, HeadersReceived):
                    self.status = int(dict(one.headers)[b":status"])
                if isinstance(one, DataReceived):
                    self.body += one.data
                if getattr(one, "stream_ended", False) and not self.over.done():
                    self.over.set_result(None)

    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    configuration.server_name = host
    async with connect(ADDRESS, port, configuration=configuration, create_protocol=Visitor) as visitor:
        await visitor.get()
        return {"status": visitor.status, "body": visitor.body.decode(), "protocol": visitor.protocol}


def h2(host: str, port: int, headers: list[list[str]], body: str) -> int | str:
    """Nothing is checked or put right on its way out."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection((ADDRESS, port), timeout=SECONDS)
    with raw, _secured(context, raw, host) as connection:
        if connection is None:
            return "refused"
        http = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
        http.initiate_connection()
        http.send_headers(1, list(map(tuple, headers)), end_stream=not body)
        if body:
            http.send_data(1, body.encode(), end_stream=True)
        connection.sendall(http.data_to_send())
        while received := connection.recv(65536):
            for event in http.receive_data(received):
                if isinstance(event, ResponseReceived):
                    names = {_text(name): _text(value) for name, value in event.headers}
                    return int(names[":status"])
                if isinstance(event, StreamReset | ConnectionTerminated):
                    return "reset"
            connection.sendall(http.data_to_send())
    return "closed"


@contextlib.contextmanager
def _secured(context: ssl.SSLContext, raw: socket.socket, host: str) -> Iterator[ssl.SSLSocket | None]:
    """None when the server does not agree on the protocol."""
    try:
        connection = context.wrap_socket(raw, server_hostname=host)
    except ssl.SSLError as error:
        if "no application protocol" not in str(error).lower().replace("_", " "):
            raise
        yield None
        return
    with connection:
        yield connection if connection.selected_alpn_protocol() == "h2" else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def main(version: str, host: str, port: str, *path: str) -> None:
    if version == "h3":
        found: Any = asyncio.run(h3(host, int(port), *path))
    else:
        found = [h2(host, int(port), headers, body) for headers, body in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
