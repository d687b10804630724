"""/auth/password-reset: ask for a new password, and set it with what came by mail."""

from __future__ import annotations

import math

from flask import g

from rustploy_agent import passwords, resets
from rustploy_agent.api.client import client
from rustploy_agent.api.resource import ANYBODY, Resource, body, complete, core, refuse_foreign_site
from rustploy_agent.auth import Caller
from rustploy_agent.errors import TooManyRequests, Unauthorized
from rustploy_agent.fields import text
from rustploy_agent.throttle import Buckets

resource = Resource("resets", __name__)
#: Of one client, whatever accounts it names: so many at once, then one each so many seconds.
asked = Buckets(10, 360.0)
ACCEPTED = {"accepted": True}


@resource.route("/auth/password-reset/request", methods=["POST"], scope=ANYBODY)
def request_password_reset() -> tuple[dict[str, bool], int]:
    refuse_foreign_site()
    fields = body()
    email = fields.required("email", text, "").lower()
    complete(fields)
    pause = math.ceil(asked.take(client()))
    if pause:
        raise TooManyRequests(f"too many requests for new passwords; try again in {pause} s", retry_after=pause)
    core().resets.ask(email)
    return ACCEPTED, 202


@resource.route("/auth/password-reset/confirm", methods=["POST"], scope=ANYBODY)
def confirm_password_reset() -> dict[str, bool]:
    refuse_foreign_site()
    fields = body()
    secret, password = fields.required("reset_token", text, ""), fields.required("new_password", passwords.new, "")
    complete(fields)
    user = resets.confirm(secret, password)
    if user is None:
        raise Unauthorized("the reset token is unknown, used or too old; ask for another", code="invalid_reset_token")
    g.caller = Caller("reset", user.id, user.email, ())
    return ACCEPTED
