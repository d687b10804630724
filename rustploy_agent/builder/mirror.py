"""The bare mirror of one app's repository: the settings git runs with, and cleaning up after a git that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from typing import NamedTuple

from rustploy_agent.builder.job import Refused
from rustploy_agent.builder.remote import Remote

#: Harmless in old commits of well-known projects; everything else that fsck objects to ends the fetch.
TOLERATED = (
    "badTimezone",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedFilemode",
    "badDateOverflow",
)

#: No fsync: a mirror that a power cut damages is thrown away and fetched anew.
CONFIG = """\
[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tattributesFile = /dev/null
\tfsmonitor = false
\tbigFileThreshold = 16m
\tfsync = none
[protocol]
\tallow = never
[transfer]
\tfsckObjects = true
\tunpackLimit = 1
[fetch]
\trecurseSubmodules = false
[fetch "fsck"]
{tolerated}
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[init]
\ttemplateDir =
\tdefaultBranch = main
[http]
	followRedirects = false
\tlowSpeedLimit = 1000
\tlowSpeedTime = 30
[credential]
\thelper =
{helper}"""


class Mirror(NamedTuple):
    """Everything that belongs to one app's fetches, below its `mirror` directory."""

    root: str

    @property
    def repository(self) -> str:
        return f"{self.root}/repository.git"

    @property
    def config(self) -> str:
        return f"{self.root}/gitconfig"

    @property
    def credentials(self) -> str:
        return f"{self.root}/credentials"

    @property
    def private_key(self) -> str:
        return f"{self.root}/ssh/id_ed25519"

    @property
    def checkout_index(self) -> str:
        return f"{self.repository}/checkout.index"

    def prepare(self, remote: Remote) -> None:
        """Writes the settings anew: an older version's must not outlive an upgrade."""
        os.makedirs(f"{self.root}/home", mode=0o700, exist_ok=True)
        os.makedirs(f"{self.root}/ssh", mode=0o700, exist_ok=True)
        _write_private(self.config, render_config(self.credentials if remote.credentials else None))
        if remote.credentials:
            _write_private(self.credentials, remote.credential_line)

    def forget_credentials(self) -> None:
        _remove(self.credentials)

    @property
    def exists(self) -> bool:
        return all(os.path.exists(f"{self.repository}/{part}") for part in ("HEAD", "config", "objects", "refs"))

    def wipe(self) -> None:
        shutil.rmtree(self.repository, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Locks and temporary packs of a git that was killed; the unit runs once at a time, so nobody holds them."""
        for directory, _, names in os.walk(f"{self.repository}/refs"):
            _remove_locks(directory, names)
        _remove_locks(self.repository, _names(self.repository))
        _remove(self.checkout_index)
        for directory in (f"{self.repository}/objects", f"{self.repository}/objects/pack"):
            for name in _names(directory):
                if name.startswith(("tmp_", ".tmp-", "incoming-")):
                    shutil.rmtree(f"{directory}/{name}", ignore_errors=True)
                    _remove(f"{directory}/{name}")

    @property
    def packs(self) -> int:
        return sum(name.endswith(".pack") for name in _names(f"{self.repository}/objects/pack"))

    @property
    def largest_leftover(self) -> int:
        """Bytes of the largest pack that a killed git did not finish."""
        packs = f"{self.repository}/objects/pack"
        sizes = [os.lstat(f"{packs}/{name}").st_size for name in _names(packs) if name.startswith("tmp_pack_")]
        objects = f"{self.repository}/objects"
        for quarantine in _names(objects):
            if quarantine.startswith(("tmp_objdir-", "incoming-")):
                inner = f"{objects}/{quarantine}/pack"
                sizes += [os.lstat(f"{inner}/{name}").st_size for name in _names(inner)]
        return max(sizes, default=0)

    def fetched(self) -> tuple[str, bool]:
        """What the last fetch brought: the object id, and whether it may be an annotated tag."""
        with open(f"{self.repository}/FETCH_HEAD", "rb") as file:
            found, _, rest = file.readline(4096).partition(b"\t")
        if not re.fullmatch(rb"[0-9a-f]{40}", found):
            raise Refused("fetch_failed", "git fetch left no object id behind")
        return found.decode(), not rest.lstrip(b"\t").startswith(b"branch ")

    def environment(self, remote: Remote | None) -> dict[str, str]:
        """All that git sees; without a remote it can reach none. GIT_ALLOW_PROTOCOL wins over any configuration."""
        kept = ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            "PATH": "/usr/bin:/bin",
            "HOME": f"{self.root}/home",
            "LC_ALL": "C",
            "GIT_DIR": self.repository,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": self.config,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": remote.scheme if remote else "",
            "GIT_SSH_COMMAND": self.ssh_command(),
            "GIT_SSH_VARIANT": "ssh",
            "GIT_PYTHON_REFRESH": "quiet",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }

    def ssh_command(self) -> str:
        """git gives this to a shell; every part is ours, and an app's name has no character that a shell minds."""
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={self.root}/ssh/known_hosts",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=2",
            "IdentitiesOnly=yes",
            f"IdentityFile={self.private_key}",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
        ]
        return " ".join(["/usr/bin/ssh", "-F", "/dev/null", *(f"-o {option}" for option in options)])


def render_config(credentials: str | None) -> str:
    tolerated = "\n".join(f"\t{name} = ignore" for name in TOLERATED)
    helper = f"\thelper = store --file={credentials}\n" if credentials else ""
    return CONFIG.format(tolerated=tolerated, helper=helper)


def local_ref(remote_ref: str) -> str:
    """Where a fetched ref is kept: hashed, so that a branch `a` and a later branch `a/b` do not collide."""
    return "refs/rustploy/" + hashlib.sha256(remote_ref.encode()).hexdigest()[:24]


def _write_private(path: str, text: str) -> None:
    _remove(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _remove_locks(directory: str, names: list[str]) -> None:
    for name in names:
        if name.endswith(".lock"):
            _remove(f"{directory}/{name}")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(path)
