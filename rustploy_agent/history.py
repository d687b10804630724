"""An app's deployments: those in some status, and how many of those that ended are kept."""

from __future__ import annotations

from rustploy_agent.clock import now_ms
from rustploy_agent.config import Settings
from rustploy_agent.models import App, Deployment, Release

ENDED = ("healthy", "failed")
DAY_MS = 24 * 3600 * 1000
#: How many are deleted in one go, so that the first run after an upgrade does not keep other writers waiting.
MOST_AT_ONCE = 500


def in_status(app: App, *statuses: str) -> list[Deployment]:
    """Return the app's deployments in one of these statuses, the newest first.

    Python sorts the few there are: with ORDER BY, SQLite would walk through all deployments of the app instead.
    """
    found = list(Deployment.select().where(Deployment.app == app, Deployment.status.in_(statuses)))
    return sorted(found, key=lambda one: (one.created_at_unix_ms, one.id), reverse=True)


def forget_oldest(app: App, settings: Settings) -> None:
    """Delete deployments of the app beyond `deployments.history`.

    Those of kept releases stay, because a rollback may name them. Audit trail and deliveries have limits of their own.
    """
    newest_first = (Deployment.created_at_unix_ms.desc(), Deployment.id.desc())
    of_app = Deployment.select(Deployment.created_at_unix_ms).where(Deployment.app == app).order_by(*newest_first)
    last_kept = of_app.offset(settings.history.keep - 1).limit(1).scalar()
    if last_kept is None:
        return
    before = min(last_kept, now_ms() - settings.history.days * DAY_MS)
    releases = [release.id for release in Release.select(Release.id).where(Release.app == app)]
    beyond = Deployment.select(Deployment.id).where(
        Deployment.app == app,
        Deployment.created_at_unix_ms < before,
        Deployment.status.in_(ENDED),
        Deployment.release_id.is_null() | Deployment.release_id.not_in(releases),
    )
    ids = [deployment.id for deployment in beyond.limit(MOST_AT_ONCE)]
    if ids:
        Deployment.delete().where(Deployment.id.in_(ids)).execute()
