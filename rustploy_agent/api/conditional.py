"""ETag and If-None-Match: a client that has a JSON answer already is spared its body."""

from __future__ import annotations

from flask import Response, request

#: What a 304 says again, for caches that keep the answer it stands for.
KEPT = ("ETag", "Cache-Control", "Vary")


def tag(response: Response) -> Response:
    """For app.after_request. The tag is strong: a digest of the very bytes."""
    readable = request.method in ("GET", "HEAD") and response.status_code == 200 and not response.is_streamed
    if not readable or response.mimetype != "application/json":
        return response
    if "ETag" not in response.headers:
        response.add_etag()
        # Never answered from a cache without asking: what is true now is asked from systemd, and rights may have ended.
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Authorization, Cookie"
    known, _ = response.get_etag()
    if not request.if_none_match.contains_weak(known or ""):
        return response
    unchanged = Response(status=304)
    for name in KEPT:
        if name in response.headers:
            unchanged.headers[name] = response.headers[name]
    del unchanged.headers["Content-Type"]
    return unchanged
