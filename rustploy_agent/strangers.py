"""What a visitor may not say: requests that the ingress refuses for every site, and headers that it takes off them."""

from __future__ import annotations

from typing import Any

#: What would make the app believe another client, scheme, host or path than the ingress saw. Caddy itself sets
#: X-Forwarded-For, -Host and -Proto. A name with an underscore is one with a hyphen to whatever follows CGI, WSGI among
#: it, and so passes for any of them or for Transfer-Encoding; nginx drops those too.
FORGEABLE = (
    *("*_*", "Forwarded", "Forwarded-For", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Original-Forwarded-For", "X-Client-Ip"),
    *("X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Fastly-Client-Ip"),
)
#: Apps build links from it, and Caddy looks only at what stands before the colon.
HOST = "^[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
#: No app is a proxy, and an echo of the request shows a script the cookies that it may not read.
METHODS = ("CONNECT", "TRACE")


def refused(answer: Any) -> dict[str, Any]:
    """The route that comes before all others, with that answer."""
    odd_host = {"not": [{"header_regexp": {"Host": {"pattern": HOST}}}]}
    return {"match": [odd_host, {"method": list(METHODS)}], "handle": [answer], "terminal": True}
