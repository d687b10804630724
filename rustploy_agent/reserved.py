"""Host names that a caller for certain apps cannot give them: they are the platform's, or lead to other apps."""

from __future__ import annotations

from rustploy_agent.config import Settings
from rustploy_agent.models import App, Domain


def address(app: str, settings: Settings) -> str | None:
    """The name below the base domain that an app of this name answers at, unless that is the API's."""
    base = settings.ingress.base_domain
    name = f"{app}.{base}"
    return name if base and name != settings.api_domain else None


def problem(app: App, name: str, settings: Settings) -> str | None:
    """Why such a caller cannot have the name for this app; the same words whether other apps have it or may once."""
    plain, own = name.removeprefix("*."), address(app.name, settings)
    base, api = settings.ingress.base_domain, settings.api_domain
    if api and _akin(plain, api):
        return f"is reserved: it is the API's name ({api}), or lies below or above it"
    if base and _akin(plain, base) and not (own and _within(plain, own)):
        below = f"; {app.name} may have names below {own}" if own else ""
        return f"is reserved: it is the domain of all apps ({base}), or lies below or above it{below}"
    return "is reserved: it leads to another app, or would" if _leads_to_others(app, name) else None


def _within(name: str, other: str) -> bool:
    return name == other or name.endswith(f".{other}")


def _akin(name: str, other: str) -> bool:
    return _within(name, other) or _within(other, name)


def _leads_to_others(app: App, name: str) -> bool:
    """Whether another app's wildcard covers it, or it is a wildcard that covers a name of another app."""
    label, _, rest = name.partition(".")
    others = Domain.select().where(Domain.app != app)
    if label != "*":
        return bool(others.where(Domain.name == f"*.{rest}").exists())
    covered = others.where(Domain.name.endswith(f".{rest}"))
    return any(one.name.partition(".")[2] == rest for one in covered)
