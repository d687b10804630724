"""Where a repository lies: parsing and refusing clone URLs. Pure, except that `file` URLs are resolved on disk."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from rustploy_agent.builder.job import Refused

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?P<path>/.*)?", re.DOTALL)
SCP_LIKE = re.compile(r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:/-].*)")
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
SSH_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
USERINFO = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:-]+")
NETWORK_SCHEMES = ("https", "http", "ssh", "git")
EXAMPLE = "write it as https://host/owner/name.git or git@host:owner/name.git"
LONGEST = 2048


class Remote(NamedTuple):
    """`url` carries no password; `credentials` is what stood before the @ of an http(s) URL, still percent-encoded."""

    scheme: str
    url: str
    host: str
    credentials: str | None

    @property
    def credential_line(self) -> str:
        """One line of git-credential-store's file; a token alone is a user name with an empty password."""
        userinfo = self.credentials or ""
        return f"{self.scheme}://{userinfo if ':' in userinfo else userinfo + ':'}@{self.host}\n"


def parse(url: str, schemes: tuple[str, ...], file_root: str | None) -> Remote:
    """The remote that `url` names, if its scheme is allowed; Refused with invalid_url or scheme_not_allowed."""
    if len(url) > LONGEST or not url.isascii() or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise _invalid(f"it must be at most {LONGEST} ASCII characters without spaces")
    scp = SCP_LIKE.fullmatch(url)
    if scp:
        _allow("ssh", schemes)
        return Remote("ssh", url, scp["host"], None)
    match = URL.fullmatch(url)
    if not match:
        raise _invalid(EXAMPLE)
    scheme = match["scheme"].lower()
    _allow(scheme, schemes)
    if scheme == "file":
        return _local(match["authority"], match["path"] or "", file_root)
    if scheme not in NETWORK_SCHEMES:
        raise _invalid(EXAMPLE)
    return _network(scheme, match["authority"], match["path"] or "")


def _network(scheme: str, authority: str, path: str) -> Remote:
    userinfo, at, host = authority.rpartition("@")
    if not HOST.fullmatch(host):
        raise _invalid("it must name a host")
    if len(path) < 2:
        raise _invalid("it must name a repository after the host")
    if scheme == "ssh":
        if at and not SSH_USER.fullmatch(userinfo):
            raise _invalid("ssh takes a user name before the @ and no password; it logs in with a key")
        return Remote(scheme, f"{scheme}://{authority}{path}", host, None)
    if at and not USERINFO.fullmatch(userinfo):
        raise _invalid("user name and password must be percent-encoded")
    return Remote(scheme, f"{scheme}://{host}{path}", host, userinfo if at else None)


def _local(authority: str, path: str, file_root: str | None) -> Remote:
    """git decodes percent signs in file URLs, so they are decoded before the path is compared."""
    decoded = unquote(path)
    if authority or not decoded.startswith("/") or "\0" in decoded:
        raise _invalid("write it as file:///path/to/repository")
    if file_root is None:
        raise Refused("scheme_not_allowed", "source URL: file is not usable: no directory is set for file sources")
    root, real = os.path.realpath(file_root), os.path.realpath(decoded)
    if not real.startswith(root.rstrip("/") + "/"):
        raise Refused("scheme_not_allowed", f"source URL: file URLs must lie below {file_root}")
    if not os.path.isdir(real):
        raise Refused("repository_not_found", f"source URL: there is no repository at file://{decoded}")
    return Remote("file", "file://" + quote(real), "", None)


def _allow(scheme: str, schemes: tuple[str, ...]) -> None:
    if scheme not in schemes:
        allowed = ", ".join(schemes)
        raise Refused("scheme_not_allowed", f"source URL: scheme {scheme[:20]} is not allowed; allowed are: {allowed}")


def _invalid(what: str) -> Refused:
    return Refused("invalid_url", f"source URL: {what}")
