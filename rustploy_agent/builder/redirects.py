"""A repository that has moved: git follows no redirect by itself, so each is looked at before anything is asked there.

What is needed for that is imported only then: most fetches meet no redirect, and live for a tenth of a second.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from rustploy_agent.builder import fetchfailure
from rustploy_agent.builder.bring import Source, bring
from rustploy_agent.builder.fetchfailure import GitFailed
from rustploy_agent.builder.gitrun import Git
from rustploy_agent.builder.job import Refused
from rustploy_agent.builder.remote import parse
from rustploy_agent.builder.steplog import masked

#: What git asks for first, below the repository's URL.
FIRST = "/info/refs?service=git-upload-pack"
MOST_REDIRECTS = 5
ANSWER_SECONDS = 15


def bring_from_where_it_is(source: Source) -> tuple[Source, str]:
    """Return where the repository is, and the commit's id as `bring` does, after at most one look for where that is."""
    try:
        return source, bring(source)
    except GitFailed as failed:
        if source.remote.scheme not in ("http", "https") or not fetchfailure.REDIRECTED.search(failed.said):
            raise
    moved = _moved(source)
    return moved, bring(moved)


def _moved(source: Source) -> Source:
    """Return the same fetch from the place that the redirects lead to; Refused when it must not be asked."""
    place = _followed(source)
    if not place.url.endswith(FIRST):
        raise _refused(f"it leads to {masked(place.url)[:200]}, which is no repository")
    remote = parse(place.url.removesuffix(FIRST), source.fetch.schemes, None)
    source.log.line(f"the repository has moved to {remote.url}; change its clone_url", priority=4)
    environment = source.mirror.environment(remote) | {  # git asks the very addresses that were looked at
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.curloptResolve",
        "GIT_CONFIG_VALUE_0": f"{place.host}:{place.port}:{','.join(place.addresses)}",
    }
    return source._replace(remote=remote, git=Git(source.mirror.root, environment))


def _followed(source: Source) -> Any:
    """Return the outgoing.Target that answers without another redirect.

    The host that the user named may be any, on that port; a redirect to another one is held to the rule.
    """
    from rustploy_agent import outgoing

    url = source.remote.url.rstrip("/") + FIRST
    named, schemes, hosts = urlsplit(url), source.fetch.schemes, source.fetch.hosts
    for _ in range(MOST_REDIRECTS + 1):
        own = urlsplit(url).netloc == named.netloc
        try:
            place = outgoing.target(url, schemes, (named.hostname or "", *hosts) if own else hosts)
        except outgoing.NotAllowed as error:
            raise _refused(str(error)) from None
        there = _location(url)
        if there is None:
            return place
        url = urljoin(url, there)
    raise _refused(f"there are more than {MOST_REDIRECTS}")


def _location(url: str) -> str | None:
    """Return where the host redirects to; None when it does not, and git says better whatever else is wrong."""
    import http.client
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    request = urllib.request.Request(url, headers={"User-Agent": "git/2"})
    try:
        urllib.request.build_opener(Stay).open(request, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.headers.get("Location") if 300 <= answer.code < 400 else None
    except (OSError, http.client.HTTPException):
        return None
    return None


def _refused(why: str) -> Refused:
    return Refused("redirect_refused", f"source URL: the host redirects, and that is not followed: {why}")
