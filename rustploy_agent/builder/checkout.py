"""One commit of the mirror as a plain directory, after a look at everything that would be in it."""

from __future__ import annotations

import os
import shutil

from rustploy_agent.builder import tree
from rustploy_agent.builder.bring import Source
from rustploy_agent.builder.job import Refused

SPARE_BYTES = 64 * 2**20


def check_out(source: Source, commit: str, app: str) -> None:
    """The commit's files and nothing else in `app`; what may not be there is refused before anything is written."""
    with source.git.reading("ls-tree", ["-r", "-l", "-z", "--full-tree", commit]) as pieces:
        surveyed = tree.survey(tree.entries(pieces), source.fetch.max_bytes)
    check_symlinks(source, surveyed.symlinks)
    free = os.statvfs(os.path.dirname(app))
    if free.f_bavail * free.f_frsize < surveyed.bytes + SPARE_BYTES:
        raise Refused(
            "disk_full", f"the checkout needs {surveyed.bytes // 2**20 + 1} MiB and the disk has no room for it"
        )
    if os.path.lexists(app):
        shutil.rmtree(app)
    os.mkdir(app)
    os.chmod(app, 0o755)  # without the set-group bit of the slug's directory: cp could not repeat it in the sandbox
    source.git.run(
        "read-tree", ["--reset", "-u", commit], GIT_WORK_TREE=app, GIT_INDEX_FILE=source.mirror.checkout_index
    )
    os.unlink(source.mirror.checkout_index)
    source.log.line(f"checked out {commit}: {surveyed.files} files, {surveyed.bytes} bytes")


def check_symlinks(source: Source, symlinks: list[tree.Symlink]) -> None:
    if not symlinks:
        return
    with open(os.memfd_create("symlinks"), "w+b") as asked:
        asked.write("".join(f"{symlink.blob}\n" for symlink in symlinks).encode())
        asked.seek(0)
        with source.git.reading("cat-file", ["--batch"], istream=asked) as pieces:
            content = b"".join(pieces)
    for symlink in symlinks:
        header, _, content = content.partition(b"\n")
        size = int(header.split()[2])
        tree.check_target(symlink.path, content[:size])
        content = content[size + 1 :]
