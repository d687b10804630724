"""/integrations/deliveries and /apps/{app}/deliveries: what came from git hosts, and what became of it."""

from __future__ import annotations

from typing import Any

from flask import request

from rustploy_agent import apps
from rustploy_agent.api.paging import page
from rustploy_agent.api.resource import Resource
from rustploy_agent.errors import InvalidRequest, NotFound
from rustploy_agent.models import App
from rustploy_agent.records import Delivery, DeliveryTarget
from rustploy_agent.webhooks import PROVIDERS

resource = Resource("deliveries", __name__)


def view(delivery: Delivery, targets: list[DeliveryTarget]) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "provider": delivery.provider,
        "valid": delivery.valid,
        "event": delivery.event,
        "delivery_id": delivery.delivery_id,
        "repository": delivery.repository,
        "branch": delivery.branch,
        "commit_sha": delivery.commit_sha,
        "reason": delivery.reason,
        "apps": [{"app_id": one.app_id, "deployment_id": one.deployment_id, "reason": one.reason} for one in targets],
        "times": delivery.times,
        "received_at_unix_ms": delivery.created_at_unix_ms,
        "last_received_at_unix_ms": delivery.last_at_unix_ms,
    }


@resource.route("/integrations/deliveries", scope="admin")
def list_deliveries() -> dict[str, Any]:
    rows = Delivery.select()
    provider, app = request.args.get("provider"), request.args.get("app")
    if provider is not None and provider not in PROVIDERS:
        raise InvalidRequest.field("provider", f"must be one of: {', '.join(PROVIDERS)}")
    if provider is not None:
        rows = rows.where(Delivery.provider == provider)
    return _newest(rows if app is None else _of(_named(app), rows))


@resource.route("/apps/<app_id>/deliveries", scope="read")
def list_app_deliveries(app_id: str) -> dict[str, Any]:
    app = apps.find(app_id)
    return _newest(_of(app, Delivery.select()), app)


def _named(app: str) -> App:
    try:
        return apps.find(app)
    except NotFound as error:
        raise InvalidRequest.field("app", error.message) from None


def _of(app: App, rows: Any) -> Any:
    return rows.where(
        Delivery.id.in_(DeliveryTarget.select(DeliveryTarget.delivery).where(DeliveryTarget.app_id == app.id))
    )


def _newest(rows: Any, app: App | None = None) -> dict[str, Any]:
    """With what they meant for every app, or only for the one that is asked about."""
    by = (Delivery.created_at_unix_ms, Delivery.id)
    return page(rows, by, lambda one: view(one, _targets(one, app)), newest_first=True, default=100)


def _targets(delivery: Delivery, app: App | None) -> list[DeliveryTarget]:
    targets = DeliveryTarget.select().where(DeliveryTarget.delivery == delivery).order_by(DeliveryTarget.id)
    return list(targets if app is None else targets.where(DeliveryTarget.app_id == app.id))
