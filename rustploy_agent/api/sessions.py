"""/auth: log in with e-mail and password, log out, who am I."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

from flask import Response, g, jsonify, request

from rustploy_agent import passwords, sessions
from rustploy_agent.api.client import client
from rustploy_agent.api.resource import ANYBODY, COOKIE, SESSION, Resource, body, complete, refuse_foreign_site
from rustploy_agent.errors import TooManyRequests, Unauthorized
from rustploy_agent.fields import text
from rustploy_agent.models import Session, User
from rustploy_agent.throttle import Throttle

resource = Resource("sessions", __name__)
throttle = Throttle()
#: Logins under way: one password is looked at at a time, and who waits for his turn holds one of the API's threads.
PLACES = 3
places = threading.BoundedSemaphore(PLACES)
#: The cookie goes with requests to the API only, so an app on another port sees it only where it asks to.
PATH = "/api/v1"


def view(session: Session) -> dict[str, Any]:
    user = session.user
    expires = session.expires_at_unix_ms
    return {"user_id": user.id, "email": user.email, "role": user.role, "session_expires_at_unix_ms": expires}


@resource.route("/auth/login", methods=["POST"], scope=ANYBODY)
def login() -> Response:
    refuse_foreign_site()
    fields = body()
    email, password = fields.required("email", text, "").lower(), fields.required("password", passwords.given, "")
    complete(fields)
    address = client()
    with _place():
        user = _who(email, password, address)
    return _logged_in(user, address)


@contextlib.contextmanager
def _place() -> Iterator[None]:
    """Taken before the try is counted: whom strangers crowd out has not failed."""
    if not places.acquire(blocking=False):
        raise TooManyRequests("too many logins are under way; try again in 1 s", retry_after=1)
    try:
        yield
    finally:
        places.release()


def _who(email: str, password: str, address: str) -> User:
    pause = math.ceil(throttle.attempt(email, address))
    if pause:
        raise TooManyRequests(f"too many failed logins; try again in {pause} s", retry_after=pause)
    user: User | None = User.get_or_none(User.email == email)
    right = passwords.verify(user.password_hash if user else None, password)
    if user is None or not right:
        raise Unauthorized("e-mail or password is wrong", code="invalid_credentials")
    throttle.succeeded(email, address)
    if passwords.outdated(user.password_hash):
        renewed = passwords.hash_password(password)
        User.update(password_hash=renewed).where(User.password_hash == user.password_hash).execute()
    return user


def _logged_in(user: User, address: str) -> Response:
    secret, session = sessions.begin(user, None if request.is_secure else address)
    g.caller = sessions.caller(session)
    response = jsonify(view(session))
    life = sessions.LIFE_MS // 1000
    response.set_cookie(
        COOKIE, secret, max_age=life, path=PATH, httponly=True, samesite="Lax", secure=request.is_secure
    )
    return response


@resource.route("/auth/logout", methods=["POST"], scope=SESSION)
def logout() -> Response:
    sessions.end(g.session)
    response = Response(status=204)
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="Lax", secure=request.is_secure)
    return response


@resource.route("/auth/me", scope=SESSION)
def me() -> dict[str, Any]:
    return view(g.session)
