"""Requests of two meanings, and what the ingress is to do with each; and whether what reached an app has only one.

In the bytes, HOST is the site's name, MARK names the attempt, HIDDEN is a request that hides in another one's body.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: It is no HTTP: an error, the end of the connection, and no line, since Go's server answers before Caddy sees it.
BROKEN = "broken"
#: An error of the ingress, with a line in the journal.
TURNED_AWAY = "turned away"
#: It has one meaning, and only that reaches the app.
TAKEN = "taken"
#: An app gets the beginning of a request that is broken off, as from a visitor who goes away.
CUT_SHORT = "cut short"
FORGED = "198.51.100.1"
TOKEN = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+")


class Attempt(NamedTuple):
    request: bytes
    end: str


def head(*lines: str, method: str = "POST", target: str = "/MARK", host: str = "Host: HOST") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", *([host] if host else []), *lines, "", ""]).encode("latin-1")


def get(*lines: str, target: str = "/MARK", host: str = "Host: HOST") -> bytes:
    return head(*lines, method="GET", target=target, host=host)


CHUNKED, IN_CHUNK, LENGTH = "Transfer-Encoding: chunked", b"SIZE\r\nHIDDEN\r\n0\r\n\r\n", "Content-Length: "
ATTEMPTS = {
    "the length first, the request after the chunks": Attempt(
        head(f"{LENGTH}AFTER", "Transfer_Encoding: chunked") + b"0\r\n\r\nHIDDEN", TAKEN
    ),
    # What follows is the visitor's next request, also to the ingress.
    "chunks that end before the length does": Attempt(head(f"{LENGTH}AFTER", CHUNKED) + b"0\r\n\r\nHIDDEN", TAKEN),
    "chunks, and a length that ends before the request": Attempt(head(f"{LENGTH}4", CHUNKED) + IN_CHUNK, TAKEN),
    "chunks after a tab": Attempt(head(f"{LENGTH}4", "Transfer-Encoding:\tchunked") + IN_CHUNK, TAKEN),
    "chunks on a folded line": Attempt(head(f"{LENGTH}4", "Transfer-Encoding:\r\n chunked") + IN_CHUNK, TAKEN),
    "chunks after a vertical tab": Attempt(head(f"{LENGTH}4", "Transfer-Encoding:\x0bchunked") + IN_CHUNK, BROKEN),
    "chunks before the colon's space": Attempt(head(f"{LENGTH}4", "Transfer-Encoding : chunked") + IN_CHUNK, BROKEN),
    "an unknown encoding": Attempt(head(f"{LENGTH}4", "Transfer-Encoding: xchunked") + IN_CHUNK, BROKEN),
    "two encodings": Attempt(head(CHUNKED, "Transfer-Encoding: identity") + b"0\r\n\r\nHIDDEN", BROKEN),
    "two lengths": Attempt(head(f"{LENGTH}5", f"{LENGTH}6") + b"helloHIDDEN", BROKEN),
    "a list of lengths": Attempt(head(f"{LENGTH}5, 5") + b"helloHIDDEN", BROKEN),
    "a length with a sign": Attempt(head(f"{LENGTH}+5") + b"helloHIDDEN", BROKEN),
    "a negative length": Attempt(head(f"{LENGTH}-5") + b"helloHIDDEN", BROKEN),
    "a length that overflows": Attempt(head(f"{LENGTH}18446744073709551621") + b"helloHIDDEN", BROKEN),
    "a body on GET": Attempt(get(f"{LENGTH}WHOLE") + b"HIDDEN", TAKEN),
    "a chunk's extension": Attempt(head(CHUNKED) + b'5;a="\nb\r\nhello\r\n0\r\n\r\n', CUT_SHORT),
    "a chunk's size in another spelling": Attempt(head(CHUNKED) + b"0x5\r\nhello\r\n0\r\n\r\nHIDDEN", CUT_SHORT),
    "a chunk's size that overflows": Attempt(head(CHUNKED) + b"10000000000000005\r\nhello\r\n0\r\n\r\n", CUT_SHORT),
    "a chunk without its end": Attempt(head(CHUNKED) + b"5\r\nhelloXX0\r\n\r\nHIDDEN", CUT_SHORT),
    "a length in the trailer": Attempt(
        head(CHUNKED, "Trailer: Content-Length") + b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", BROKEN
    ),
    "a folded line": Attempt(get("X-A: b\r\n X-Smuggled: 1"), TAKEN),
    "lines that end with LF alone": Attempt(get("X-A: b", f"X-Forwarded-For: {FORGED}").replace(b"\r\n", b"\n"), TAKEN),
    "CR in a value": Attempt(get("X-A: b\rX-Smuggled: 1"), BROKEN),
    "NUL in a value": Attempt(get("X-A: b\0c"), BROKEN),
    "NUL in a name": Attempt(get("X\0A: b"), BROKEN),
    "line breaks in the path's escapes": Attempt(get(target="/MARK%0d%0aX-Smuggled:%201"), TAKEN),
    "a control character in the path": Attempt(get(target="/MARK\x01"), BROKEN),
    "a space in the path": Attempt(get(target="/MARK /x"), BROKEN),
    "two versions": Attempt(get(target="/MARK HTTP/1.1"), BROKEN),
    "headers beyond all measure": Attempt(get("X-A: " + "a" * 100_000), BROKEN),
    "a path beyond all measure": Attempt(get(target="/MARK" + "a" * 100_000), BROKEN),
    "another site in the request line": Attempt(get(target="http://evil.example/MARK"), TURNED_AWAY),
    "this site in the request line, another as host": Attempt(
        get(target="http://HOST/MARK", host="Host: evil.example"), TAKEN
    ),
    "two hosts": Attempt(get("Host: evil.example"), BROKEN),
    "no host": Attempt(get(host=""), BROKEN),
    "a user in the host": Attempt(get(host="Host: evil@HOST"), BROKEN),
    "another site as the port": Attempt(get(host="Host: HOST:evil.example"), TURNED_AWAY),
    "two ports": Attempt(get(host="Host: HOST:80:81"), TURNED_AWAY),
    "a final dot": Attempt(get(host="Host: HOST."), TURNED_AWAY),
    "an escape in the host": Attempt(get(host="Host: HOST%00.evil.example"), TURNED_AWAY),
    "a longer name": Attempt(get(host="Host: HOST.evil.example"), TURNED_AWAY),
    "capital letters": Attempt(get(host="Host: hOsT"), TAKEN),
    "a tunnel": Attempt(head(method="CONNECT"), TURNED_AWAY),
    "a tunnel to somewhere else": Attempt(head(method="CONNECT", target="MARK.example:22"), TURNED_AWAY),
    "an echo": Attempt(head("Cookie: secret=1", method="TRACE"), TURNED_AWAY),
    "another client": Attempt(
        get(
            *(f"{name}: {FORGED}" for name in ("X-Forwarded-For", "X-Forwarded-For", "X-Real-IP", "Forwarded-For")),
            *(f"{name}: {FORGED}" for name in ("True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "Client_IP")),
            *(f"{name}: {FORGED}" for name in ("X-Cluster-Client-IP", "X_Forwarded_For", "X-Forwarded_For")),
            *(f"Forwarded: for={FORGED};host=evil.example", f"X-Forwarded: for={FORGED}"),
            *("X-Forwarded-Host: evil.example", "X-Forwarded-Server: evil.example", "X_Forwarded_Host: evil.example"),
        ),
        TAKEN,
    ),
    "a header for the next hop alone": Attempt(
        get("Connection: X-Forwarded-For, X-Real-Ip", f"X-Forwarded-For: {FORGED}"), TAKEN
    ),
}


def filled(attempt: Attempt, mark: str, host: str, hidden: bytes) -> bytes:
    sizes = {b"SIZE": b"%x" % len(hidden), b"AFTER": b"%d" % (5 + len(hidden)), b"WHOLE": b"%d" % len(hidden)}
    words = sizes | {b"HIDDEN": hidden, b"MARK": mark.encode(), b"HOST": host.encode(), b"hOsT": host.upper().encode()}
    request = attempt.request
    for word, text in words.items():
        request = request.replace(word, text)
    return request


def one_request(received: bytes, *, whole: bool = True) -> dict[str, str]:
    """The headers of the only request in these bytes, by lower-case name; AssertionError if they can mean two."""
    top, end, body = received.partition(b"\r\n\r\n")
    first, *lines = top.split(b"\r\n")
    assert end and re.fullmatch(rb"[A-Z]+ [!-~]+ HTTP/1\.1", first), first[:200]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon and TOKEN.fullmatch(name) and not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value), line
        assert name.lower().decode() not in headers, f"{line!r} comes twice"
        headers[name.lower().decode()] = value.decode("latin-1")
    assert not ("content-length" in headers and "transfer-encoding" in headers)
    if "transfer-encoding" in headers:
        assert headers["transfer-encoding"] == "chunked"
        left = _after_chunks(body)
        assert left == b"" if whole else left in (None, b""), left
    else:
        length = int(headers.get("content-length", "0"))
        assert len(body) == length if whole else len(body) <= length, body
    return headers


def _after_chunks(body: bytes) -> bytes | None:
    """What follows the last chunk; None when it has not come."""
    while match := re.match(rb"([0-9a-f]+)\r\n", body):
        size, body = int(match[1], 16), body[match.end() :]
        if size == 0:
            return body.removeprefix(b"\r\n")
        if body[size : size + 2] != b"\r\n":
            return None
        body = body[size + 2 :]
    return None
