"""Apps that run on this host and that the database does not know, as after its loss: their visitors are still served.

What the ingress was told last of each app is kept in the directory that the ingress goes by. An app whose directory is
there stays served by that until it is imported again or removed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from rustploy_agent import certificates, files
from rustploy_agent.caddy import Host, Limits, Site
from rustploy_agent.config import Paths
from rustploy_agent.errors import AgentError

log = logging.getLogger(__name__)


def is_orphan(paths: Paths, name: str, known: Iterable[str]) -> bool:
    return name not in known and paths.app(name).exists()


def keep(paths: Paths, sites: Iterable[Site]) -> None:
    content = json.dumps([asdict(site) for site in sites], sort_keys=True).encode()
    if not paths.sites.exists() or paths.sites.read_bytes() != content:
        files.replace(paths.sites, content, mode=0o600)


def sites(paths: Paths, known: set[str], taken: set[str]) -> list[Site]:
    """Of apps that are none of the `known`, with those of their names that are not `taken` by others meanwhile."""
    try:
        kept = [_site(one) for one in json.loads(paths.sites.read_bytes())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s cannot be read, so apps that the database does not know are not served: %s", paths.sites, error)
        return []
    found = [site for site in kept if is_orphan(paths, site.app, known)]
    return [_without(site, taken) for site in found if any(host.name not in taken for host in site.hosts)]


def _without(site: Site, taken: set[str]) -> Site:
    hosts = tuple(_usable(host) for host in site.hosts if host.name not in taken)
    return Site(site.app, hosts, site.ports, site.limits)


def _usable(host: Host) -> Host:
    """Return it without its certificate where the ingress does not take that: it would take nothing else either."""
    if host.certificate is None or host.private_key is None:
        return host
    try:
        certificates.written(host.certificate, host.private_key)
    except AgentError as error:
        log.error("the certificate of %s: %s", host.name, error.message)
        return replace(host, certificate=None, private_key=None)
    return host


def _site(about: dict[str, Any]) -> Site:
    ports = {slot: tuple(numbers) for slot, numbers in about["ports"].items()}
    hosts = tuple(Host(**host) for host in about["hosts"])
    return Site(about["app"], hosts, ports, Limits(**about["limits"]))
