"""What is around every request and answer: an id of our own, limits on the address, JSON with one meaning."""

from __future__ import annotations

import json
import random
from typing import Any

from flask import Response, g, request

from rustploy_agent.errors import InvalidRequest, NotFound, UriTooLong

#: Longer addresses than any that leads somewhere; messages and the journal may quote them.
LONGEST_PATH, LONGEST_QUERY = 1024, 8192


def begin() -> None:
    """Before each request. A client's own X-Request-Id is not trusted: it could be another's."""
    g.request_id = new_id()
    if not request.method:  # Waitress hands over what it could make nothing of
        raise InvalidRequest("the first line is none of an HTTP request", code="malformed_request")
    if "//" in request.path:  # werkzeug would answer with a page of HTML that leads elsewhere
        raise NotFound("there is no path with an empty part")
    if len(request.path) > LONGEST_PATH or len(request.query_string) > LONGEST_QUERY:
        raise UriTooLong(f"a path has at most {LONGEST_PATH} characters and a query string {LONGEST_QUERY}")


def finish(response: Response) -> Response:
    """After each request."""
    response.headers.add("X-Request-Id", g.request_id)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.method == "OPTIONS" and response.status_code == 200:
        response.status_code = 204  # Flask's own answer: Allow, and an empty page
        del response.headers["Content-Type"]
    return response


def new_id() -> str:
    """Unlike any other, but no secret: asking the kernel for a random number lets other threads go first."""
    return f"{random.getrandbits(64):016x}"


def parse_json(data: bytes) -> Any:
    """Strictly RFC 8259 in UTF-8. A key that occurs twice has no meaning that two readers agree on."""
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float
        )
    except RecursionError:
        raise _invalid("the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not valid UTF-8 at byte {error.start}") from None
    except ValueError:
        raise _invalid("the body is not valid JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _invalid("the body names a key twice in one object")
    return found


def _float(text: str) -> float:
    """1e999 is valid JSON, but what comes of it could not be written as JSON again."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _invalid(f"the number {text[:20]} is too large")
    return value


def _no_number(text: str) -> float:
    raise _invalid(f"the body is not valid JSON: {text} is no number there")


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")
