"""Pages of a list by keyset: the next page begins after the last row's key, so it costs the same at any depth.

Rows that are added or removed meanwhile neither repeat nor hide others, as an offset would. A cursor is only a place in
the caller's own list, so it is not signed; one that was made up leads nowhere a first page does not.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, g, request

from rustploy_agent.api.resource import integer_argument
from rustploy_agent.errors import InvalidRequest
from rustploy_agent.remembered import Remembered

LARGEST_PAGE = 1000
INTEGERS = range(-(2**63), 2**63)
#: Pages that dashboards ask for again and again, with their tags, and the longest in bytes.
_WRITTEN: Remembered[tuple[bytes, str]] = Remembered(16)
LONGEST_REMEMBERED = 64 * 1024


def page(
    rows: Any,
    by: tuple[Any, ...],
    view: Callable[[Any], dict[str, Any]],
    *,
    newest_first: bool = False,
    default: int = LARGEST_PAGE,
) -> dict[str, Any]:
    """The answer of a list: a page of `rows`, a query, as `view` shows them.

    `by`: columns without NULL that together differ for every row, all ascending, or with `newest_first` all descending.
    An index over them, after those that `rows` asks to be equal, makes a page's cost independent of the list's length.
    """
    limit, after = integer_argument("limit", default, LARGEST_PAGE), _cursor(by)
    if after is not None:
        rows = rows.where(_beyond(by, after, newest_first))
    order = [column.desc() if newest_first else column.asc() for column in by]
    found = list(rows.order_by(*order).limit(limit + 1))
    more = len(found) > limit
    return {
        "items": [view(row) for row in found[:limit]],
        "next_cursor": _encoded([getattr(found[limit - 1], column.name) for column in by]) if more else None,
    }


def remembered(read: Callable[[], dict[str, Any]]) -> Response:
    """The answer for this address and caller. For lists that show the database and nothing else."""
    key = (request.path, request.query_string, g.caller.apps)
    body, tag = _WRITTEN.get(key, lambda: _written(read()), lambda kept: len(kept[0]) <= LONGEST_REMEMBERED)
    answer = Response(body, mimetype="application/json")
    answer.headers.add("ETag", tag)
    return answer


def _written(document: dict[str, Any]) -> tuple[bytes, str]:
    answer = current_app.json.response(document)
    answer.add_etag()
    return answer.data, answer.headers["ETag"]


def _beyond(by: tuple[Any, ...], after: list[Any], newest_first: bool) -> Any:
    """(a, b) > (x, y), written so that SQLite walks the index from x on."""
    column, value = by[0], after[0]
    beyond = column < value if newest_first else column > value
    if len(by) == 1:
        return beyond
    return (column <= value if newest_first else column >= value) & (beyond | _beyond(by[1:], after[1:], newest_first))


def _encoded(key: list[Any]) -> str:
    """With the list's name, so that the cursor of another list is refused instead of skipping rows."""
    text = json.dumps([request.endpoint, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _cursor(by: tuple[Any, ...]) -> list[Any] | None:
    raw = request.args.get("cursor")
    if raw is None:
        return None
    try:
        endpoint, *key = json.loads(base64.b64decode(raw + "=" * (-len(raw) % 4), b"-_", validate=True))
        if endpoint == request.endpoint and len(key) == len(by) and all(map(_fits, by, key)):
            return list(key)
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidRequest.field("cursor", "must be the next_cursor of an earlier answer of this very list")


def _fits(column: Any, value: object) -> bool:
    if column.field_type == "TEXT":
        return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
    return type(value) is int and value in INTEGERS
