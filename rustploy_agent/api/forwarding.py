"""Requests that the ingress passes on: their client's address and scheme are what it says they are.

They come over a socket that only the ingress can open. Over TCP anybody may write the same headers, so there they mean
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

#: What Waitress calls the peer of a unix socket; over TCP it is always an address.
UNIX_PEER = "localhost"


class ByIngress:
    def __init__(self, app: Any) -> None:
        self._direct, self._passed_on = app, ProxyFix(app, x_for=1, x_proto=1, x_host=0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = self._passed_on if environ.get("REMOTE_ADDR") == UNIX_PEER else self._direct
        return app(environ, start_response)
