"""ETag and If-None-Match: a client that has a JSON answer already is spared its body."""

from __future__ import annotations

from flask import Response, request

#: What a 304 says again, for caches that keep the answer it stands for.
KEPT = ("ETag", "Cache-Control", "Vary")


def tag(response: Response) -> Response:
    """After each request, unless its view has said how long it holds. The tag is strong: a digest of the very bytes."""
    headers = response.headers
    readable = response.status_code == 200 and not response.is_streamed and response.mimetype == "application/json"
    if not readable or "Cache-Control" in headers or request.method not in ("GET", "HEAD"):
        return response
    response.add_etag()
    # Never answered from a cache without asking: what is true now is asked from systemd, and rights may have ended.
    headers.add("Cache-Control", "private, no-cache")
    headers.add("Vary", "Authorization, Cookie")
    if "HTTP_IF_NONE_MATCH" in request.environ:
        known, _ = response.get_etag()
        if request.if_none_match.contains_weak(known or ""):
            return _unchanged(response)
    return response


def _unchanged(response: Response) -> Response:
    unchanged = Response(status=304)
    for name in KEPT:
        if name in response.headers:
            unchanged.headers[name] = response.headers[name]
    del unchanged.headers["Content-Type"]
    return unchanged
