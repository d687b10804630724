"""The tables of what is remembered of requests: the audit trail and answers kept for Idempotency-Key."""

from __future__ import annotations

import peewee

from rustploy_agent.clock import now_ms
from rustploy_agent.models import Model


class Audit(Model):
    """One thing that somebody did, or was refused `count` times; nothing here refers to rows that may go."""

    id = peewee.AutoField()
    at_unix_ms = peewee.IntegerField()
    last_at_unix_ms = peewee.IntegerField()
    count = peewee.IntegerField(default=1)
    action = peewee.TextField()
    actor_kind = peewee.TextField()
    actor_id = peewee.TextField(null=True)
    actor_name = peewee.TextField(null=True)
    app_id = peewee.TextField(null=True)
    app_name = peewee.TextField(null=True)
    deployment_id = peewee.TextField(null=True)
    subject = peewee.TextField(null=True)
    address = peewee.TextField(null=True)
    outcome = peewee.TextField()
    status = peewee.IntegerField(null=True)
    error_code = peewee.TextField(null=True)
    request_id = peewee.TextField(null=True)
    shelf = peewee.IntegerField()


class Answer(Model):
    """What a request with an Idempotency-Key was answered; without `status`, what it is about to make."""

    id = peewee.AutoField()
    caller = peewee.TextField()
    operation = peewee.TextField()
    key = peewee.TextField()
    request_sha256 = peewee.TextField()
    intended_id = peewee.TextField()
    run = peewee.TextField()
    status = peewee.IntegerField(null=True)
    body = peewee.TextField(null=True)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
