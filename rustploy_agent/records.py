"""The tables of what is remembered of requests: audit trail, answers kept for Idempotency-Key, webhooks' deliveries."""

from __future__ import annotations

import peewee

from rustploy_agent.clock import new_id, now_ms
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


class Delivery(Model):
    """What came from a git host, never its body. `reason` says why nothing was deployed; None if something was."""

    id = peewee.TextField(primary_key=True, default=new_id)
    provider = peewee.TextField()
    valid = peewee.BooleanField()
    event = peewee.TextField(null=True)
    delivery_id = peewee.TextField(null=True)
    proof_sha256 = peewee.TextField(null=True)
    repository = peewee.TextField(null=True)
    branch = peewee.TextField(null=True)
    commit_sha = peewee.TextField(null=True)
    reason = peewee.TextField(null=True)
    times = peewee.IntegerField(default=1)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    last_at_unix_ms = peewee.IntegerField(default=now_ms)


class DeliveryTarget(Model):
    """What a delivery meant for one app, which may be gone by now."""

    delivery = peewee.ForeignKeyField(Delivery, on_delete="CASCADE")
    app_id = peewee.TextField()
    deployment_id = peewee.TextField(null=True)
    reason = peewee.TextField(null=True)
