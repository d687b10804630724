"""The desired state: rendered from the database, handed to rustploy-apply, its answer read back."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeVar

from rustploy_agent import files, instances, units
from rustploy_agent.config import Settings
from rustploy_agent.errors import ApplyFailed
from rustploy_agent.limits import Limits
from rustploy_agent.models import App, Process, Slot, Slug
from rustploy_agent.systemd import Systemd

RUN_SECONDS = 60
ROOT = 0
T = TypeVar("T", Slot, Process, Slug)


def limits_of(app: App, settings: Settings) -> Limits:
    """Its own or those of the settings, as far as the ceilings let it, which may be lower by now."""
    wanted, ceilings = vars(settings.limits) | app.limits, vars(settings.ceilings)
    return Limits(**{key: min(value, ceilings[key]) for key, value in wanted.items()})


def render(settings: Settings) -> bytes:
    """The whole desired state; equal databases give equal bytes. Four queries, however many apps there are."""
    apps = list(App.select().order_by(App.name))
    slots = _by_app(Slot.select())
    processes = _by_app(Process.select().order_by(Process.type, Process.number))
    removing = _by_app(Slug.select().where(Slug.state == "removing").order_by(Slug.id))
    denied = [
        {"first": settings.first_port, "last": settings.last_port},
        *({"first": port, "last": port} for port in (settings.listen_port, *_ingress_ports(settings))),
    ]
    wish = {
        "version": 1,
        "apps": [
            _app(app, slots[app.id], processes[app.id], removing[app.id], settings) for app in apps if not app.deleting
        ],
        "remove_apps": [app.name for app in apps if app.deleting],
        "deny_ports": denied,
        **settings.confinement.wish(settings.listen_port),
    }
    return json.dumps(wish, sort_keys=True).encode()


def render_app(name: str, settings: Settings) -> dict[str, Any] | None:
    """Return what `render` says of one app; None when it is not wished for."""
    app = App.get_or_none(App.name == name, ~App.deleting)
    if app is None:
        return None
    slots, removing = Slot.select().where(Slot.app == app), Slug.select().where(Slug.app == app)
    processes = Process.select().where(Process.app == app).order_by(Process.type, Process.number)
    removing = removing.where(Slug.state == "removing").order_by(Slug.id)
    return _app(app, list(slots), list(processes), list(removing), settings)


def _by_app(rows: Iterable[T]) -> defaultdict[str, list[T]]:
    found: defaultdict[str, list[T]] = defaultdict(list)
    for row in rows:
        found[row.app_id].append(row)
    return found


def _ingress_ports(settings: Settings) -> list[int]:
    return [settings.ingress.http_port, settings.ingress.https_port] if settings.ingress.enabled else []


def _app(
    app: App, slots: list[Slot], processes: list[Process], removing: list[Slug], settings: Settings
) -> dict[str, Any]:
    carried = {slot.letter: slot.deployment_id for slot in slots}
    return {
        "name": app.name,
        "deployment_id": carried.get(app.idle_slot),
        "processes": [
            _process(app, kind, rows, carried, settings)
            for kind, rows in itertools.groupby(processes, lambda process: str(process.type))
        ],
        "remove_slugs": [slug.id for slug in removing],
    }


def _process(
    app: App, kind: str, rows: Iterable[Process], carried: dict[str, str | None], settings: Settings
) -> dict[str, Any]:
    """An app that has one instance of each type is wished for as it was before there could be more."""
    first, *more = [
        {slot: {"port": row.port(slot), "deployment_id": carried.get(slot)} for slot in instances.SLOTS} for row in rows
    ]
    about = {"type": kind, **vars(limits_of(app, settings)), "slots": first}
    return about | {"more": more} if more else about


class Applier:
    """Brings the system to the database's wish. Calls that come while apply runs share the next run."""

    def __init__(self, settings: Settings, systemd: Systemd) -> None:
        self._settings, self._systemd = settings, systemd
        self._requests, self._running = threading.Lock(), threading.Lock()
        self._requested = self._done = 0
        self._removals = False
        self._result: dict[str, Any] = {}
        #: App -> what apply has made of it, as it was wished for; slugs to remove are left out.
        self._applied: dict[str, dict[str, Any]] = {}

    def ensure(self, app: str, *, removals: bool = True) -> None:
        """Returns once what the database says now is applied; ApplyFailed when `app` was refused.

        Without `removals`, slugs that only wait for their removal do not make apply run; a later run removes them.
        """
        if self._is_applied(app, removals):
            return
        with self._requests:
            self._requested += 1
            mine = self._requested
            self._removals |= removals
        with self._running:
            if self._done < mine:
                with self._requests:
                    covered, removals, self._removals = self._requested, self._removals, False
                self._result = self._run(removals)
                self._done = covered
            result = self._result
        about = result["apps"].get(app, {"ok": True})
        if about.get("ok") is not True:
            raise ApplyFailed(f"rustploy-apply refused app {app}: {about.get('error')}")

    def renew(self) -> None:
        """At a start: what the settings say may be another thing than what was applied last."""
        if self._settings.paths.desired.exists():
            self.ensure("", removals=False)

    def _is_applied(self, name: str, removals: bool) -> bool:
        """Whether apply has done this app's part, and it is still there. What others wait for does not concern it."""
        if not self._settings.paths.app(name).exists():
            return False
        before, wish = self._applied.get(name), render_app(name, self._settings)
        if before is None or wish is None or (removals and wish["remove_slugs"]):
            return False
        return before == _without_slugs(wish)

    def _run(self, removals: bool) -> dict[str, Any]:
        content = render(self._settings)
        wished = {app["name"]: _without_slugs(app) for app in json.loads(content)["apps"]}
        # Until apply has ended, nobody knows what is made of those that are about to change.
        self._applied = {name: wish for name, wish in self._applied.items() if wished.get(name) == wish}
        done = self._carry_out(content, removals)
        self._applied = {name: wish for name, wish in wished.items() if done["apps"].get(name, {}).get("ok") is True}
        return done

    def _carry_out(self, content: bytes, removals: bool) -> dict[str, Any]:
        done = self._read()
        if done is None or not _complete(done) or not self._is_done(done["desired_sha256"], content, removals):
            files.replace(self._settings.paths.desired, content, mode=0o600)
            done = self._apply(hashlib.sha256(content).hexdigest())
        _forget_removed(done)
        return done

    def _is_done(self, done_sha256: str, content: bytes, removals: bool) -> bool:
        """Whether apply has done this, or something that differs only in slugs that are gone (or may wait)."""
        before = self._settings.paths.desired.read_bytes() if self._settings.paths.desired.exists() else b""
        if done_sha256 != hashlib.sha256(before).hexdigest():
            return False
        wish = json.loads(content)
        waiting = any(app["remove_slugs"] for app in wish["apps"])
        return before == content or (
            not (waiting and removals) and _without_removals(json.loads(before)) == _without_removals(wish)
        )

    def _apply(self, wanted: str) -> dict[str, Any]:
        """Runs apply until its answer is about `wanted`: a start that joins a run under way sees the older file."""
        for _ in range(3):
            self._systemd.settle(units.APPLY, RUN_SECONDS)
            self._systemd.start(units.APPLY)
            if self._systemd.settle(units.APPLY, RUN_SECONDS) is None:
                raise ApplyFailed(f"{units.APPLY} did not end within {RUN_SECONDS} s; see journalctl -u {units.APPLY}")
            done = self._read()
            if done is not None and done["desired_sha256"] == wanted:
                if done.get("error"):
                    raise ApplyFailed(f"rustploy-apply refused the desired state: {done['error']}")
                return done
        raise ApplyFailed(f"{units.APPLY} left no result for the desired state; see journalctl -u {units.APPLY}")

    def _read(self) -> dict[str, Any] | None:
        try:
            done = files.read_untrusted_json(self._settings.paths.apply_result, owner=ROOT)
        except files.UntrustedFile:
            return None
        return done if isinstance(done.get("desired_sha256"), str) and isinstance(done.get("apps"), dict) else None


def _without_removals(wish: dict[str, Any]) -> dict[str, Any]:
    return wish | {"apps": [_without_slugs(app) for app in wish["apps"]]}


def _without_slugs(app: dict[str, Any]) -> dict[str, Any]:
    return app | {"remove_slugs": []}


def _complete(done: dict[str, Any]) -> bool:
    """What failed may work now, so only an answer without any refusal makes another run needless."""
    apps = done["apps"].values()
    return done.get("ok") is True and all(isinstance(app, dict) and app.get("ok") is True for app in apps)


def _forget_removed(done: dict[str, Any]) -> None:
    removed = done.get("removed_slugs") or []
    if removed:
        Slug.delete().where(Slug.state == "removing", Slug.id.in_(removed)).execute()
