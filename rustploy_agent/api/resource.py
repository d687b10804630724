"""Routes that name their scope, and reading of requests. A route without a scope does not register."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, current_app, g, request

from rustploy_agent import apps, auth, sessions
from rustploy_agent.api import trail
from rustploy_agent.api.calls import PLAIN, Manner, carry_out
from rustploy_agent.api.client import bound_client, from_this_host
from rustploy_agent.api.envelope import parse_json
from rustploy_agent.core import Core
from rustploy_agent.errors import Forbidden, InvalidRequest, Unauthorized
from rustploy_agent.fields import Fields, integer
from rustploy_agent.models import Session
from rustploy_agent.shares import Holder

View = TypeVar("View", bound=Callable[..., Any])
#: For routes that anybody may call, for those that need a session, whoever's it is, and for those whose view looks for
#: the proof of a shared secret itself. LOCAL is `read`, or a connection from this host that is not an app's.
ANYBODY, SESSION, SIGNATURE, LOCAL = "anybody", "session", "signature", "local"
LARGEST_BODY = 1024 * 1024
COOKIE = "rustploy_session"
MOST_COOKIES = 4
#: What a browser says of a request that this very site, or the person at the address bar, has caused.
OWN_SITE = ("same-origin", "none")


class Resource(Blueprint):
    """A blueprint whose routes must say who may call them: `read`, `deploy`, `admin`, or one of the words above.

    A token that is restricted to apps gets to routes below `<app_id>` of these apps. Others refuse it, unless they are
    `filtered`: their view shows and touches only what `g.caller.apps` has. `manner` says how a view changes things.
    """

    def route(
        self,
        rule: str,
        *,
        scope: str | None = None,
        filtered: bool = False,
        largest_body: int = LARGEST_BODY,
        manner: Manner = PLAIN,
        **options: Any,
    ) -> Callable[[View], View]:
        if scope not in (*auth.SCOPES, ANYBODY, SESSION, SIGNATURE, LOCAL):
            raise TypeError(f"route {rule} must declare its scope")

        def register(view: View) -> View:
            @functools.wraps(view)
            def checked(*args: Any, **kwargs: Any) -> Any:
                authorise(scope)
                trail.begin(kwargs.get("app_id"))
                if scope in (*auth.SCOPES, LOCAL) and not filtered:
                    keep_to_own_apps(kwargs)
                if manner is PLAIN:
                    return view(*args, **kwargs)
                return carry_out(functools.partial(view, *args, **kwargs), manner, core().settings.paths)

            checked.scope = scope  # type: ignore[attr-defined]
            checked.filtered = filtered  # type: ignore[attr-defined]
            checked.largest_body = largest_body  # type: ignore[attr-defined]
            checked.manner = manner  # type: ignore[attr-defined]
            self.add_url_rule(rule, view.__name__, checked, **options)
            return view

        return register


def core() -> Core:
    found: Core = current_app.extensions["rustploy"]
    return found


def slow_request(app_id: str | None = None) -> AbstractContextManager[None]:
    """Around what waits for other programs, at the cost of a place of the caller's and, if there is one, the app's."""
    return core().slow_request(Holder(g.caller.holder, app_id))


def authorise(scope: str) -> None:
    if scope in (ANYBODY, SIGNATURE):
        return
    if scope == SESSION:
        g.session = _session()
        if g.session is None:
            raise Unauthorized("there is no session; log in with POST /api/v1/auth/login")
        g.caller = sessions.caller(g.session)
        return
    if (
        scope == LOCAL
        and not request.headers.get("Authorization")
        and COOKIE not in request.cookies
        and from_this_host()
    ):
        g.caller = auth.Caller("local", None, "local", ("read",))
        return
    scope = "read" if scope == LOCAL else scope
    g.caller = _caller()
    if not g.caller.may(scope):
        raise Forbidden(
            f"this needs the scope {scope}; the token has: {', '.join(g.caller.scopes)}", code="insufficient_scope"
        )


def keep_to_own_apps(arguments: dict[str, Any]) -> None:
    """Another app does not exist for a restricted caller; the view gets the id, so that it cannot find another one."""
    own: frozenset[str] | None = g.caller.apps
    if own is None:
        return
    if "app_id" not in arguments:
        raise Forbidden("the token is for some apps only, and this concerns the whole host", code="insufficient_scope")
    app = apps.find(arguments["app_id"], leaving=True)
    if app.id not in own:
        trail.kept_out()
        raise apps.unknown(arguments["app_id"])
    arguments["app_id"] = app.id


def _caller() -> auth.Caller:
    header = request.headers.get("Authorization", "")
    if not header:
        session = _session()
        if session is not None:
            return sessions.caller(session)
        if auth.bootstrap_open() and from_this_host():
            refuse_foreign_site()
            return auth.Caller("bootstrap", None, "bootstrap", ("admin",))
        raise Unauthorized("credentials are missing; send Authorization: Bearer <token>")
    kind, _, secret = header.partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise Unauthorized("the header has no token; send Authorization: Bearer <token>")
    caller = auth.caller_of(secret.strip())
    if caller is None:
        raise Unauthorized("the token is unknown, expired or revoked")
    return caller


def _session() -> Session | None:
    """The session of the request's cookie, provided the request comes from this site.

    An app on a sibling subdomain can set another cookie of this name, and the browser sends both.
    """
    given = request.cookies.getlist(COOKIE)[:MOST_COOKIES]
    if any(given):
        refuse_foreign_site()
    found = (sessions.find(secret, bound_client) for secret in given if secret)
    return next((session for session in found if session is not None), None)


def refuse_foreign_site() -> None:
    """SameSite cookies do not stop apps on sibling subdomains, but browsers say where a request comes from.

    A request that changes something and has neither header comes from no browser of today. One that reads can: without
    TLS a page on another port may load an address of ours as an image. It does not get to see what it is.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = site in OWN_SITE if site is not None else origin is None or _is_own(origin)
    if not own:
        raise Forbidden("a session may only be used from the agent's own origin", code="cross_site_request")


def _is_own(origin: str) -> bool:
    try:
        return urlsplit(origin).netloc == request.host
    except ValueError:  # such as http://[
        return False


def integer_argument(name: str, default: int, largest: int) -> int:
    """A number from the query string, from 1 on."""
    raw = request.args.get(name)
    if raw is None:
        return default
    try:
        return integer(1, largest)(int(raw) if re.fullmatch("[0-9]{1,18}", raw) else raw)
    except ValueError as error:
        raise InvalidRequest.field(name, str(error)) from None


def body(*, optional: bool = False) -> Fields:
    """The request's JSON object; an absent body is an empty one where that is allowed."""
    if optional and not request.get_data(cache=True):
        return Fields({})
    if request.mimetype != "application/json":
        raise InvalidRequest("the body must be JSON with Content-Type: application/json", code="unsupported_media_type")
    fields = Fields(parse_json(request.get_data()))
    if fields.problems:
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return fields


def complete(fields: Fields) -> None:
    """Refuses the request when a key was wrong or unknown."""
    problems = fields.finish()
    if problems:
        raise InvalidRequest("; ".join(f"{one.field or 'body'} {one.message}" for one in problems), problems)
