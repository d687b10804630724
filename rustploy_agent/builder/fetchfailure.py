"""What git says when it fails, as a stable code and a sentence that says what to do. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from rustploy_agent.builder.job import Refused
from rustploy_agent.builder.steplog import masked


class Cause(NamedTuple):
    code: str
    pattern: re.Pattern[str]
    sentence: str
    retryable: bool = False


def _cause(code: str, pattern: str, sentence: str, *, retryable: bool = False) -> Cause:
    return Cause(code, re.compile(pattern, re.IGNORECASE), sentence, retryable)


#: First match wins: git adds general advice ("Could not read from remote repository") to every particular failure.
CAUSES = (
    _cause("disk_full", r"no space left on device|disk quota exceeded", "the disk is full"),
    _cause(
        "repository_too_large",
        r"file too large|died of signal 25|maximum allowed size",
        "the repository's pack is larger than the limit for sources",
    ),
    _cause(
        "host_unreachable",
        r"could not resolve host|temporary failure in name resolution|name or service not known",
        "the host's name could not be resolved",
        retryable=True,
    ),
    _cause(
        "host_unreachable",
        r"failed to connect|connection (?:refused|timed out|reset|closed)|could not connect|no route to host|"
        r"network is unreachable|operation timed out|operation too slow|unexpected disconnect|early eof|empty reply|"
        r"rpc failed|ssl connection timeout|HTTP (?:429|5\d\d)|returned error: (?:429|5\d\d)|"
        r"gnutls_handshake|TLS connection was non-properly terminated",
        "the host did not answer properly",
        retryable=True,
    ),
    _cause("host_key_changed", r"host key verification failed", "the host's ssh key is not the one seen before"),
    _cause("authentication_failed", r"certificate|ssl cert", "the host's certificate could not be verified"),
    _cause(
        "authentication_failed",
        r"authentication failed|permission denied \((?:publickey|password)|"
        r"could not read username|could not read password|invalid username or (?:password|token)|"
        r"HTTP Basic: Access denied|terminal prompts disabled|"
        r"returned error: 40[13]|too many authentication failures",
        "the host asks for other credentials; a private repository, or one that does not exist",
    ),
    _cause(
        "repository_not_found",
        r"repository .*not found|not found: did you run|returned error: 404|does not appear to be a git "
        r"repository|not a git repository|repository not exported|no such (?:file or directory|project)|"
        r"not valid: is this a git repository",
        "there is no such repository",
    ),
    _cause("unsafe_path", r"invalid path '", "git refuses a path of the commit"),
)
#: The code for which a deploy key may help.
AUTHENTICATION_FAILED = "authentication_failed"
#: git follows none by itself; redirects.py looks where they lead.
REDIRECTED = re.compile(r"returned error: 30[12378]", re.IGNORECASE)
REF_MISSING = re.compile(r"couldn't find remote ref|invalid refspec", re.IGNORECASE)
COMMIT_MISSING = re.compile(
    r"not our ref|unadvertised object|no such remote ref|couldn't find remote ref|bad object", re.IGNORECASE
)
NO_SHALLOW = re.compile(r"does not support (?:shallow|--depth)", re.IGNORECASE)
REFUSED_BY_FSCK = re.compile(r"fsck error|error in object|invalid object|hasdotgit|gitmodules", re.IGNORECASE)
ADVICE = re.compile(
    r"^(?:please make sure|and the repository exists|fatal: could not read from remote|hint:|warning:|\s*$)",
    re.IGNORECASE,
)


class GitFailed(Exception):
    """One run of git that did not end with 0. `said` is its standard error, without credentials."""

    def __init__(self, what: str, status: int, said: str) -> None:
        super().__init__(said)
        self.what = what
        self.status = status
        self.said = masked(said)

    def known_cause(self) -> Refused | None:
        for cause in CAUSES:
            if cause.pattern.search(self.said):
                return Refused(cause.code, f"{cause.sentence} (git: {self.sentence()})", retryable=cause.retryable)
        return None

    def sentence(self) -> str:
        """The most telling line: an error rather than the advice after it."""
        lines = [line.strip() for line in self.said.splitlines() if not ADVICE.match(line)]
        telling = [line for line in lines if re.match(r"(?:fatal|error|remote: error|ssh):", line, re.IGNORECASE)]
        chosen = (telling or lines or [f"git {self.what} ended with {self.status}"])[0]
        return chosen[:400]
