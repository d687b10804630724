"""What the ingress shall serve, by the database, and the care that it does: also after a crash, or changes of others.

The configuration is kept as a file too, from which Caddy starts without the agent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from rustploy_agent import (
    caddy,
    certificates,
    domains,
    events,
    files,
    instances,
    listeners,
    orphans,
    pairs,
    reserved,
    routes,
    sockets,
)
from rustploy_agent.caddy import Host, Json, Served, Site
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError
from rustploy_agent.ingress import CertificateRefused, Ingress, IngressDown, IngressRefused
from rustploy_agent.models import App, Domain, Process
from rustploy_agent.pairs import Pair
from rustploy_agent.ports import WEB

log = logging.getLogger(__name__)
CONFIGURATION = "caddy.json"
#: How often the running configuration is looked at, and how soon again after a failure.
CHECK_SECONDS, AGAIN_SECONDS = 300, 10


#: Which of these certificates Caddy does not take.
Judge = Callable[[list[Pair]], CertificateRefused | None]


class Routing:
    def __init__(self, settings: Settings, ingress: Ingress, first_refused: Judge = pairs.first_refused) -> None:
        self._settings, self._ingress, self._first_refused = settings, ingress, first_refused
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._looked = 0.0
        #: Certificates from which Caddy would start, as a digest.
        self._startable = b""
        self.problem: str | None = None
        events.processes_changed.connect(self._on_change)

    def _on_change(self, _: App) -> None:
        self.update()

    @property
    def state(self) -> str:
        if not self._settings.ingress.enabled:
            return "off"
        return "ok" if self.problem is None else "down"

    def look(self) -> None:
        """Has somebody look soon, for who asks how it is; the answer is there when it is asked for again."""
        if self._settings.ingress.enabled and time.monotonic() - self._looked > AGAIN_SECONDS:
            self._wake.set()

    def update_soon(self) -> None:
        """Have the watching thread do it: a new configuration takes the longer the more apps there are."""
        self._wake.set()

    def update(self) -> None:
        """Brings the ingress to what the database says. A failure is told and healed later; it stops nothing."""
        self._looked = time.monotonic()
        try:
            self.reconcile()
            self._tell(None)
        except (AgentError, OSError) as error:
            if self._settings.ingress.enabled:
                self._tell(getattr(error, "message", None) or str(error))
                self._wake.set()

    def reconcile(self) -> None:
        """Loads the configuration unless Caddy runs it already; kept as a file only when Caddy has taken it."""
        with self._one_at_a_time:
            wished = served(self._settings)
            document = caddy.render(wished)
            try:
                running = self._ingress.running()
            except IngressDown:
                self._keep_if_elsewhere(self._without_refused(document))
                raise
            if running != document:
                document = self._load_usable(running, document)
            self._keep(document)
            orphans.keep(self._settings.paths, wished.sites)

    def _load_usable(self, running: Json, document: Json) -> Json:
        """What Caddy has taken: all of it but the certificates that it refuses, which cost only their own domains."""
        while True:
            try:
                self._load(running, document)
                return document
            except CertificateRefused as refused:
                given = pairs.of(document)
                if refused.place >= len(given):
                    raise
                certificates.refuse(**given[refused.place], problem=refused.problem)
            document = caddy.render(served(self._settings))
            if len(pairs.of(document)) >= len(given):
                raise IngressRefused("the certificates of domains change while they are loaded; they are loaded soon")
            if document == running:
                return document

    def _without_refused(self, document: Json) -> Json:
        """For an ingress that does not run: a newer Caddy may refuse to start from what an older one has taken."""
        given = pairs.of(document)
        if not given or _digest(given) == self._startable:
            return document
        while given and (refused := self._first_refused(given)) is not None and refused.place < len(given):
            certificates.refuse(**given.pop(refused.place), problem=refused.problem)
        self._startable = _digest(given)
        return caddy.render(served(self._settings))

    def _load(self, running: Json, document: Json) -> None:
        """Addresses are looked at first: what Caddy has opened when it refuses one of them it leaves open, unserved."""
        foreign = [one for one in self._settings.ingress.addresses if one and not sockets.is_own(one)]
        if foreign:
            raise IngressRefused(f"ingress.addresses: {', '.join(foreign)} is not of this host")
        if not listeners.collide(running, document):
            self._ingress.load(document)
            return
        self._ingress.load({key: value for key, value in document.items() if key != "apps"})
        try:
            self._ingress.load(document)
        except IngressRefused:
            self._ingress.load(running)
            raise

    def _keep_if_elsewhere(self, document: Json) -> None:
        """What is not running may have found its ports taken, or a certificate refused; settings that name others, and
        a configuration without that certificate, must reach it by the file."""
        path = self._settings.paths.routes / CONFIGURATION
        try:
            kept = json.loads(path.read_bytes())
            listening, before = listeners.of(kept), pairs.of(kept)
        except (FileNotFoundError, ValueError):  # from that it cannot start either
            self._keep(document)
            return
        left_out = [pair for pair in before if pair not in pairs.of(document)]
        if left_out or (listening and listening != listeners.of(document)):
            self._keep(document)

    def _keep(self, document: Json) -> None:
        path, content = self._settings.paths.routes / CONFIGURATION, json.dumps(document, sort_keys=True).encode()
        if not path.exists() or path.read_bytes() != content:
            files.replace(path, content)

    def _tell(self, problem: str | None) -> None:
        if problem and problem != self.problem:
            log.error("%s; it is tried again", problem)
        elif problem is None and self.problem:
            log.info("the ingress serves again what it should")
        self.problem = problem

    def watch(self) -> None:
        """From now on looks from time to time, and soon again after a failure."""
        threading.Thread(target=self._watch, name="routing", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._wake.wait(CHECK_SECONDS)
            self._wake.clear()
            if self.problem:
                threading.Event().wait(AGAIN_SECONDS)
            self.update()


def _digest(given: list[Pair]) -> bytes:
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest()


def served(settings: Settings) -> Served:
    """Three queries, however many apps there are."""
    paths = settings.paths
    domains_of, processes_of = defaultdict(list), defaultdict(list)
    for row in Domain.select().order_by(Domain.name):
        domains_of[row.app_id].append(row)
    for process in Process.select().order_by(Process.type, Process.number):
        processes_of[process.app_id].append(process)
    claimed = {row.name for rows in domains_of.values() for row in rows}
    apps = list(App.select().order_by(App.name))
    wanted = [
        _site(app, domains_of[app.id], processes_of[app.id], claimed, settings) for app in apps if not app.deleting
    ]
    sites = [site for site in wanted if site is not None]
    taken = {host.name for site in sites for host in site.hosts}
    sites += orphans.sites(paths, {app.name for app in apps}, taken)
    return Served(
        settings=settings.ingress,
        admin_socket=paths.ingress_socket,
        routes=paths.routes,
        api_socket=paths.api_socket,
        api_domain=settings.api_domain,
        sites=tuple(sites),
    )


def _site(app: App, rows: list[Domain], processes: list[Process], taken: set[str], settings: Settings) -> Site | None:
    """None for an app that serves no HTTP or has no name to be asked for; names of domains are `taken`."""
    webs = [process for process in processes if process.type == WEB and instances.is_wanted(app, process)]
    hosts = [_host(row, settings) for row in rows]
    own = reserved.address(app.name, settings)
    if own and own not in taken:
        hosts.insert(0, Host(own))
    if not webs or not hosts:
        return None
    return Site(
        app=app.name,
        hosts=tuple(hosts),
        ports={slot: instances.ports(webs, slot) for slot in instances.SLOTS},
        limits=limits_of(app, settings),
    )


def _own_name(app: App, settings: Settings) -> str | None:
    """Its name below the base domain, unless that is a domain already, of this app or of one that was first."""
    name = reserved.address(app.name, settings)
    return None if Domain.select().where(Domain.name == name).exists() else name


def urls(app: App, settings: Settings) -> list[str]:
    """Where visitors reach it through the ingress; redirecting names are none of them."""
    if not settings.ingress.enabled or WEB not in instances.process_types(app):
        return []
    rows = list(Domain.select().where(Domain.app == app).order_by(Domain.name))
    own = _own_name(app, settings)
    names = [*([own] if own else []), *(row.name for row in rows if row.redirect_to is None)]
    return [caddy.origin(settings.ingress, name) for name in names]


def _host(domain: Domain, settings: Settings) -> Host:
    """A certificate that cannot be had now costs its own domain TLS, and no other one anything."""
    if domain.tls_mode != domains.CUSTOM:
        return Host(domain.name, domain.redirect_to)
    try:
        pair = domains.material(domain, settings)
    except AgentError as error:
        log.error("the certificate of %s: %s", domain.name, error.message)
        return Host(domain.name, domain.redirect_to, custom=True)
    return Host(domain.name, domain.redirect_to, *pair, custom=True)


def limits_of(app: App, settings: Settings) -> caddy.Limits:
    own = {"max_body_bytes": settings.ingress.max_body_bytes, "timeout_seconds": settings.ingress.timeout_seconds}
    return caddy.Limits(**(own | app.ingress))


def mark(settings: Settings, app: App) -> None:
    """The app's marks, as the database has it."""
    if app.active_slot is None or app.stopped:
        routes.close(settings.paths.routes, app.name)
    else:
        routes.point(settings.paths.routes, app.name, app.active_slot)
    routes.maintain(settings.paths.routes, app.name, app.maintenance)


def mark_all(settings: Settings) -> None:
    """At the start, before anything is stopped: a switch that a crash cut through goes back or is completed."""
    apps = list(App.select())
    for app in apps:
        mark(settings, app)
    known = {app.name for app in apps}
    for gone in routes.marked(settings.paths.routes) - known:
        if not orphans.is_orphan(settings.paths, gone, known):
            routes.forget(settings.paths.routes, gone)
