"""The configuration for Caddy: what it must never lack, and that hostile or odd wishes stay data."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rustploy_agent import caddy, config
from rustploy_agent.caddy import Host, Limits, Served, Site

SITE = Site("blog", (Host("blog.example.org"),), {"a": (20000,), "b": (20001,)}, Limits(1 << 20, 30))


def served(*sites: Site, api: str | None = None, **ingress: Any) -> Served:
    settings = dataclasses.replace(config.parse(None).ingress, **ingress)
    return Served(settings, Path("/run/admin.sock"), Path("/routes"), Path("/run/api.sock"), api, sites)


def servers(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["apps"]["http"]["servers"])


def hosts(server: dict[str, Any]) -> list[str]:
    return [name for route in server["routes"] for match in route.get("match", []) for name in match.get("host", [])]


@pytest.mark.parametrize("ingress", [{}, {"enabled": False}, {"tls": "off"}, {"tls": "internal"}])
def test_the_admin_api_is_always_on_its_socket(ingress: dict[str, Any]) -> None:
    """Without the block Caddy opens it on TCP, and every app can take the ingress over."""
    document = caddy.render(served(SITE, **ingress))
    expected = {"listen": "unix//run/admin.sock", "origins": ["rustploy-ingress"], "config": {"persist": False}}
    assert document["admin"] == expected


def test_equal_wishes_give_equal_documents() -> None:
    """Else each look at the ingress would load it anew, and end every websocket."""
    first, second = (json.dumps(caddy.render(served(SITE, api="api.example.org"))) for _ in range(2))
    assert first == second


def test_a_disabled_ingress_serves_nothing() -> None:
    assert "apps" not in caddy.render(served(SITE, enabled=False))


def proxies(part: Any) -> list[dict[str, Any]]:
    """Wherever they stand in the document."""
    if isinstance(part, dict) and part.get("handler") == "reverse_proxy":
        return [part]
    parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return [found for one in parts for found in proxies(one)]


def policies(site: Site) -> list[tuple[str, int]]:
    """Of each slot: how the ingress chooses, and among how many."""
    found = proxies(caddy.render(served(site)))
    return [(one["load_balancing"]["selection_policy"]["policy"], len(one["upstreams"])) for one in found]


def test_instances_take_turns_and_one_that_is_alone_is_asked_as_before() -> None:
    """By connections, one that is down has the least of all and gets every visitor; and an upgrade loads nothing."""
    several = dataclasses.replace(SITE, ports={"a": (20000, 20002), "b": (20001, 20003)})
    assert policies(several) == [("round_robin", 2)] * 2
    assert policies(SITE) == [("least_conn", 1)] * 2


@pytest.mark.parametrize("redirect_to", [None, "example.org"])
def test_a_wildcard_comes_after_the_names_of_all_apps(redirect_to: str | None) -> None:
    """Else an app whose name sorts first takes the others' visitors with it."""
    wild = (Host("a.example.org"), Host("*.example.org", redirect_to))
    first = dataclasses.replace(SITE, app="aaa", hosts=wild)
    found = hosts(servers(caddy.render(served(first, SITE, tls="off")))["plain"])
    assert found == ["a.example.org", "blog.example.org", "*.example.org"]


def test_nothing_that_a_deployment_changes_stands_in_it() -> None:
    """Both slots are there, chosen by a mark; a configuration per deployment would end every websocket of every app."""
    text = json.dumps(caddy.render(served(SITE, tls="off")))
    assert "127.0.0.1:20000" in text and "127.0.0.1:20001" in text and "/blog.b" in text


@pytest.mark.parametrize("tls", ["acme", "internal"])
def test_with_tls_plain_http_only_redirects(tls: str) -> None:
    """Else a password goes over the wire in the clear."""
    found = servers(caddy.render(served(SITE, api="api.example.org", tls=tls)))
    assert "reverse_proxy" not in json.dumps(found["plain"])
    assert hosts(found["plain"]) == ["blog.example.org", "api.example.org"]
    redirect = found["plain"]["routes"][1]["handle"][0]
    assert redirect["headers"]["Location"] == ["https://{http.request.host}{http.request.uri}"]
    assert found["plain"]["routes"][1]["terminal"]


@pytest.mark.parametrize("tls", ["acme", "internal", "off"])
def test_only_http_1_is_spoken(tls: str) -> None:
    """Caddy's HTTP/2 and HTTP/3 are of 2022: by them one client can use up the processor and memory of the host."""
    found = servers(caddy.render(served(SITE, tls=tls)))
    assert [server["protocols"] for server in found.values()] == [["h1"]] * len(found)


GOOD_HOSTS = ("blog.example.org", "BLOG.example.org:8080", "xn--bcher-kva.example:80")
BAD_HOSTS = ("blog.example.org:evil.example", "a@blog.example.org", "blog.example.org:1:2", "")


@pytest.mark.parametrize("tls", ["acme", "off"])
def test_what_no_site_may_get_is_refused_before_any_of_them(tls: str) -> None:
    """Else an app is asked to be a proxy, or builds links from a port that is somebody else's name."""
    for server in servers(caddy.render(served(SITE, api="api.example.org", tls=tls))).values():
        host, method = server["routes"][0]["match"]
        assert method == {"method": ["CONNECT", "TRACE"]} and server["routes"][0]["handle"][0]["status_code"] == 400
        pattern = re.compile(host["not"][0]["header_regexp"]["Host"]["pattern"])
        assert [one for one in (*GOOD_HOSTS, *BAD_HOSTS) if pattern.search(one)] == list(GOOD_HOSTS)


@pytest.mark.parametrize("tls", ["acme", "off"])
def test_unknown_hosts_meet_no_app(tls: str) -> None:
    for server in servers(caddy.render(served(SITE, api="api.example.org", tls=tls))).values():
        last = server["routes"][-1]
        assert "match" not in last and last["handle"][0]["status_code"] == 404
        assert all("match" in route and route["terminal"] for route in server["routes"][:-1])


def test_a_redirecting_host_reaches_no_app() -> None:
    site = dataclasses.replace(SITE, hosts=(Host("www.example.org", "example.org"), Host("example.org")))
    routes = servers(caddy.render(served(site, tls="off", http_port=8000)))["plain"]["routes"][1:]
    assert routes[0]["match"] == [{"host": ["www.example.org"]}]
    assert routes[0]["handle"][0]["headers"]["Location"] == ["http://example.org:8000{http.request.uri}"]
    assert routes[1]["match"] == [{"host": ["example.org"]}]


def test_certificates_that_were_given_are_loaded_and_others_ordered() -> None:
    given = Host("a.example.org", None, "CERTIFICATE", "KEY", custom=True)
    site = dataclasses.replace(SITE, hosts=(given, Host("b.example.org")))
    document = caddy.render(served(site, acme_email="ops@example.org"))
    assert servers(document)["secure"]["automatic_https"]["skip_certificates"] == ["a.example.org"]
    tls = document["apps"]["tls"]
    assert tls["certificates"] == {"load_pem": [{"certificate": "CERTIFICATE", "key": "KEY"}]}
    assert tls["automation"]["policies"][0]["issuers"] == [
        {"module": "acme", "ca": config.LETS_ENCRYPT, "email": "ops@example.org"}
    ]


def test_addresses_of_both_families_are_listened_on() -> None:
    found = servers(caddy.render(served(addresses=("192.0.2.1", "2001:db8::1"), tls="off")))
    assert found["plain"]["listen"] == ["192.0.2.1:80", "[2001:db8::1]:80"]


def test_an_app_s_lines_go_to_the_journal_under_its_name_only() -> None:
    """Else `journalctl RUSTPLOY_APP=blog` shows other apps' visitors."""
    other = dataclasses.replace(SITE, app="blog-two", hosts=(Host("two.example.org"),))
    document = caddy.render(served(SITE, other, tls="off"))
    logs = document["logging"]["logs"]
    assert logs["access-blog"]["include"] == ["http.log.access.blog"]
    assert "\nRUSTPLOY_APP=blog\n" in logs["access-blog"]["encoder"]["wrap"]["line_ending"]
    logs_of = servers(document)["plain"]["logs"]
    assert logs_of["logger_names"] == {"blog.example.org": "blog", "two.example.org": "blog-two"}
    others = logs["access-others"]
    assert others["include"] == [f"http.log.access.{logs_of['default_logger_name']}"]
    assert "RUSTPLOY_APP" not in str(others), "strangers are in some app's log"
