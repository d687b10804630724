"""Caddy's configuration (2.6, Debian 12 and 13), rendered from what the ingress shall serve. Pure functions.

A new configuration ends every websocket, so nothing that a deployment changes stands in it: which slot serves, and
whether the app is open, are files (routes.py) that Caddy looks for with each request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rustploy_agent import issuance, strangers, visits
from rustploy_agent.config import Ingress

#: The Host header that the admin API asks for.
ORIGIN = "rustploy-ingress"
LOOPBACK = "127.0.0.1"
SLOTS = ("a", "b")
#: How long a request waits for an app that just restarts.
TRY_SECONDS = 10
#: How long a request under way may take when the configuration changes, before Caddy breaks it off.
GRACE_SECONDS = 3600
#: Not HTTP/2 and HTTP/3: Debian 12 built Caddy with Go 1.19.8 and a QUIC library of 2022, in which one client can use
#: up processor and memory (rapid resets, endless CONTINUATION frames). Debian 13 has the same Caddy.
PROTOCOLS = ("h1",)
#: Go's server takes 4 KiB more. An access line has a request's target in it, six bytes for each that is no UTF-8, and
#: journald takes no datagram beyond 208 KiB: a visit that is too long for that would be in no log.
LARGEST_HEADERS = 24 * 1024
Json = dict[str, Any]

NO_SITE = "There is no such site here.\n"
TOO_LARGE = "The request is larger than this app takes.\n"
REFUSED = "This request is not taken here.\n"
CLOSED = "This app is not running.\n"
MAINTENANCE = "This app is being worked on and will be back soon.\n"
#: What is worth compressing. Event streams are not among it: each event has to go out at once.
COMPRESSED = (
    *("text/html*", "text/plain*", "text/css*", "text/csv*", "text/xml*", "text/javascript*", "text/markdown*"),
    *("application/json*", "application/javascript*", "application/xml*", "application/*+xml*", "application/*+json*"),
    *("application/wasm*", "image/svg+xml*", "font/ttf*", "font/otf*"),
)


@dataclass(frozen=True)
class Host:
    """A name that an app answers at, or that sends its visitors to another one.

    With `custom` it gets no certificate by ACME, but the given one (PEM), or none at all while that cannot be had.
    """

    name: str
    redirect_to: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    custom: bool = False


@dataclass(frozen=True)
class Limits:
    """Of one request to an app: its size, and how long the app may take until it begins to answer."""

    max_body_bytes: int
    timeout_seconds: int


@dataclass(frozen=True)
class Site:
    """An app as the ingress sees it: its names, the ports of its instances by slot, and its limits."""

    app: str
    hosts: tuple[Host, ...]
    ports: dict[str, tuple[int, ...]]
    limits: Limits


@dataclass(frozen=True)
class Served:
    """All that the ingress serves; `api_socket` is where the agent listens for it."""

    settings: Ingress
    admin_socket: Path
    routes: Path
    api_socket: Path
    api_domain: str | None = None
    sites: tuple[Site, ...] = field(default=())


def render(served: Served) -> Json:
    """The whole configuration; equal wishes give equal documents."""
    document: Json = {"admin": _admin(served), "logging": _logging(served)}
    if served.settings.enabled:
        document["apps"] = {"http": _http(served)}
        if served.settings.tls != "off":
            document["apps"]["tls"] = _tls(served)
    return document


def _admin(served: Served) -> Json:
    """In every configuration: without it Caddy would open its admin API on a TCP port, to every app."""
    return {"listen": f"unix/{served.admin_socket}", "origins": [ORIGIN], "config": {"persist": False}}


def _logging(served: Served) -> Json:
    logs: Json = {"default": {"level": "INFO", "exclude": ["http.log.access", "admin.api"]}}
    if served.settings.enabled:
        logs |= visits.loggers([site.app for site in served.sites if site.hosts])
    return {"logs": logs}


def _http(served: Served) -> Json:
    settings = served.settings
    if settings.tls == "off":
        servers = {"plain": _server(served, settings.http_port) | {"automatic_https": {"disable": True}}}
    else:
        custom = [host.name for site in served.sites for host in site.hosts if host.custom]
        # Which names have certificates of their own is said here; else a wildcard's would keep others from getting one.
        automatic: Json = {"disable_redirects": True, "ignore_loaded_certificates": True}
        automatic |= {"skip_certificates": custom} if custom else {}
        secure = {"automatic_https": automatic, "tls_connection_policies": [{}]}
        servers = {
            "secure": _server(served, settings.https_port) | secure,
            "plain": _listener(served, settings.http_port)
            | {"automatic_https": {"disable": True}, "routes": _to_https(served)},
        }
    return {
        "http_port": settings.http_port,
        "https_port": settings.https_port,
        "grace_period": f"{GRACE_SECONDS}s",
        "servers": servers,
    }


def _listener(served: Served, port: int) -> Json:
    addresses = [f"[{address}]" if ":" in address else address for address in served.settings.addresses]
    return {
        "listen": [f"{address}:{port}" for address in addresses],
        "protocols": list(PROTOCOLS),
        "logs": visits.names({host.name: site.app for site in served.sites for host in site.hosts}),
        "read_header_timeout": "10s",
        "idle_timeout": "2m",
        "max_header_bytes": LARGEST_HEADERS,
    }


def _server(served: Served, port: int) -> Json:
    """Of two routes that match the first is taken: a wildcard gets only what is no name of another app's."""
    sites = sorted((route for site in served.sites for route in _site(served, site)), key=_is_wild)
    return _listener(served, port) | {
        "routes": [_refused(), *_api(served), *sites, _no_site()],
        "errors": {"routes": [_too_large(), _failure()]},
    }


def _answer(status: int, body: str, **headers: str) -> Json:
    plain = {"Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"]}
    fields = plain | {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"handler": "static_response", "status_code": status, "headers": fields, "body": body}


def _refused() -> Json:
    return strangers.refused(_answer(400, REFUSED))


def _no_site() -> Json:
    return {"handle": [_answer(404, NO_SITE)]}


def _too_large() -> Json:
    """Caddy 2.6 calls it a bad gateway when a body turns out too large on its way to the app."""
    match = {"vars_regexp": {"{http.error.message}": {"pattern": "request body too large"}}}
    return {"match": [match], "handle": [_answer(413, TOO_LARGE)], "terminal": True}


def _failure() -> Json:
    """Whatever Caddy itself could not do, in words and without details."""
    words = "{http.error.status_code} {http.error.status_text}\n"
    answer = _answer(503, words, Retry_After="5")
    return {"handle": [answer | {"status_code": "{http.error.status_code}"}]}


def _to_https(served: Served) -> list[Json]:
    names = [host.name for site in served.sites for host in site.hosts]
    names += [served.api_domain] if served.api_domain else []
    location = f"{origin(served.settings, '{http.request.host}')}{{http.request.uri}}"
    redirect = {"handler": "static_response", "status_code": 308, "headers": {"Location": [location]}}
    known = [{"match": [{"host": names}], "handle": [redirect], "terminal": True}] if names else []
    return [_refused(), *known, _no_site()]


def origin(settings: Ingress, host: str) -> str:
    if settings.tls == "off":
        return f"http://{host}" + ("" if settings.http_port == 80 else f":{settings.http_port}")
    return f"https://{host}" + ("" if settings.https_port == 443 else f":{settings.https_port}")


def _api(served: Served) -> list[Json]:
    if served.api_domain is None:
        return []
    proxy = _proxy([f"unix/{served.api_socket}"], timeout_seconds=0)
    return [{"match": [{"host": [served.api_domain]}], "handle": [proxy], "terminal": True}]


def _site(served: Served, site: Site) -> list[Json]:
    routes = [_redirect(served.settings, host) for host in site.hosts if host.redirect_to is not None]
    own = [host.name for host in site.hosts if host.redirect_to is None]
    for names in ([name for name in own if name[0] != "*"], [name for name in own if name[0] == "*"]):
        if names:
            handle = {"handler": "subroute", "routes": _app(served.routes, site)}
            routes.append({"match": [{"host": names}], "handle": [handle], "terminal": True})
    return routes


def _is_wild(route: Json) -> bool:
    return str(route["match"][0]["host"][0]).startswith("*")


def _redirect(settings: Ingress, host: Host) -> Json:
    location = f"{origin(settings, str(host.redirect_to))}{{http.request.uri}}"
    answer = {"handler": "static_response", "status_code": 308, "headers": {"Location": [location]}}
    return {"match": [{"host": [host.name]}], "handle": [answer], "terminal": True}


def _app(routes: Path, site: Site) -> list[Json]:
    """Looked at from above for each request; each mark is one file, so no request sees a state between two."""
    seconds = site.limits.timeout_seconds
    proxies = {slot: _proxy([f"{LOOPBACK}:{port}" for port in site.ports[slot]], seconds) for slot in SLOTS}
    return [
        {
            "match": [_marked(routes, f"{site.app}.maintenance")],
            "handle": [_answer(503, MAINTENANCE, Retry_After="60")],
            "terminal": True,
        },
        {
            "match": [{"not": [_marked(routes, f"{site.app}.open")]}],
            "handle": [_answer(503, CLOSED, Retry_After="60")],
            "terminal": True,
        },
        {"handle": [{"handler": "request_body", "max_size": site.limits.max_body_bytes}, _compression()]},
        {"match": [_marked(routes, f"{site.app}.b")], "handle": [proxies["b"]], "terminal": True},
        {"handle": [proxies["a"]]},
    ]


def _marked(routes: Path, name: str) -> Json:
    return {"file": {"root": str(routes), "try_files": [f"/{name}"]}}


def _compression() -> Json:
    return {
        "handler": "encode",
        "encodings": {"gzip": {}, "zstd": {}},
        "prefer": ["zstd", "gzip"],
        "minimum_length": 512,
        "match": {"headers": {"Content-Type": list(COMPRESSED)}},
    }


def _proxy(upstreams: list[str], timeout_seconds: int) -> Json:
    """X-Forwarded-* are Caddy's own: what a visitor claims in them is not passed on.

    No connections are kept to apps: an open one would look like a request under way to the drain of a slot, and one
    that the app closes at the same moment would fail a request. Of several instances each gets its turn: the one with
    the least connections would be one that is down, time and again.
    """
    transport: Json = {"protocol": "http", "dial_timeout": "5s", "keep_alive": {"enabled": False}}
    if timeout_seconds:
        transport["response_header_timeout"] = f"{timeout_seconds}s"
    return {
        "handler": "reverse_proxy",
        "transport": transport,
        "upstreams": [{"dial": upstream} for upstream in upstreams],
        "load_balancing": {
            "selection_policy": {"policy": "round_robin" if len(upstreams) > 1 else "least_conn"},
            "try_duration": f"{TRY_SECONDS}s",
            "try_interval": "100ms",
        },
        "headers": {
            "request": {
                "set": {"X-Real-Ip": ["{http.request.remote.host}"]},
                "delete": list(strangers.FORGEABLE),
            }
        },
    }


def _tls(served: Served) -> Json:
    hosts = [host for site in served.sites for host in site.hosts if host.certificate is not None]
    loaded = [{"certificate": host.certificate, "key": host.private_key} for host in hosts]
    return {
        **({"certificates": {"load_pem": loaded}} if loaded else {}),
        "automation": {"policies": [{"issuers": [issuance.issuer(served.settings)]}]},
    }
