"""The machine that apply works on: its accounts, files and commands."""
# pathlib takes as long to load as everything else here together.
# ruff: noqa: PTH102, PTH103, PTH104, PTH105, PTH106, PTH108, PTH110, PTH112, PTH119, PTH120, PTH123

from __future__ import annotations

import grp
import os
import pwd
import stat
import time

from rustploy_agent.apply.wish import Refused

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
LONGEST = 1024 * 1024
#: Before systemctl is run again that failed: a systemd that executes itself anew answers nobody for a moment.
PAUSES = (0.5, 1.0, 2.0)


class Host:
    """What apply sees and changes. Tests give it another root, other accounts, and commands that are only noted."""

    root = ""

    def user(self, name: str) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            return None

    def group(self, name: str) -> grp.struct_group | None:
        try:
            return grp.getgrnam(name)
        except KeyError:
            return None

    def run(self, *argv: str) -> None:
        if os.spawnve(os.P_WAIT, argv[0], argv, ENVIRONMENT) != 0:
            raise Refused(f"`{' '.join(argv)}` failed; the journal of rustploy-apply.service says why")

    def systemctl(self, *arguments: str) -> None:
        """Run systemctl with a command that may be repeated."""
        for pause in PAUSES:
            try:
                return self.run("/usr/bin/systemctl", *arguments)
            except Refused:
                time.sleep(pause)
        return self.run("/usr/bin/systemctl", *arguments)

    def ask(self, *argv: str) -> str:
        """Return what a command writes to its standard output."""
        reading, writing = os.pipe()
        try:
            pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
        finally:
            os.close(writing)
            with open(reading, encoding="utf-8", errors="replace") as file:
                text = file.read()
        if os.waitpid(pid, 0)[1] != 0:
            raise Refused(f"`{' '.join(argv)}` failed; the journal says why")
        return text

    def read(self, path: str) -> str:
        """The text of a file that only root writes; empty when there is none."""
        try:
            with open(self.root + path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def read_untrusted(self, path: str, owner: str) -> bytes:
        """The bytes of a file that `owner` may have made into anything."""
        user, name = self.user(owner), os.path.basename(path)
        try:
            descriptor = os.open(self.root + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if user is None or found.st_uid != user.pw_uid or not stat.S_ISREG(found.st_mode):
                    raise Refused(f"{name} must be a regular file that belongs to user {owner}")
                data = file.read(LONGEST + 1)
        except OSError as error:
            raise Refused(f"{name} must be readable: {error.strerror}") from None
        if len(data) > LONGEST:
            raise Refused(f"{name} must have at most {LONGEST} bytes")
        return data

    def write(self, path: str, content: str, mode: int = 0o644, group: int = -1) -> None:
        """Whole or not at all, and on the disk."""
        directory, name = os.path.split(self.root + path)
        self.make_directory(os.path.dirname(path))
        with open(f"{directory}/.{name}.new", "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{directory}/.{name}.new", self.root + path)
        sync(directory)

    def make_directory(self, path: str) -> None:
        if not os.path.isdir(self.root + path):
            os.makedirs(self.root + path)
            sync(os.path.dirname(self.root + path))

    def link(self, path: str, target: str) -> None:
        if not os.path.lexists(self.root + path):
            self.make_directory(os.path.dirname(path))
            os.symlink(target, self.root + path)
            sync(os.path.dirname(self.root + path))

    def remove(self, path: str) -> None:
        if os.path.lexists(self.root + path):
            os.unlink(self.root + path)
            sync(os.path.dirname(self.root + path))

    def remove_directory(self, path: str) -> None:
        """If there is nothing in it."""
        if os.path.isdir(self.root + path) and not os.listdir(self.root + path):
            os.rmdir(self.root + path)

    def put_aside(self, path: str, trash: str) -> None:
        """Gone at once, whatever it is; a link goes itself. Only root may be able to replace what stands before it."""
        if os.path.lexists(self.root + path):
            if not os.path.isdir(self.root + trash):
                os.mkdir(self.root + trash, 0o700)
            os.rename(self.root + path, f"{self.root}{trash}/{os.path.basename(path)}.{os.urandom(8).hex()}")
            sync(self.root + trash)
            sync(os.path.dirname(self.root + path))

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root + path)

    def entries(self, path: str) -> list[str]:
        """Names in a directory; none when it is not there."""
        return os.listdir(self.root + path) if os.path.isdir(self.root + path) else []

    def written(self, path: str) -> float | None:
        """Return when a regular file was written; None when it is not there or something else."""
        try:
            found = os.lstat(self.root + path)
        except OSError:
            return None
        return found.st_mtime if stat.S_ISREG(found.st_mode) else None

    def directory(self, path: str) -> tuple[int, int] | None:
        """(user id, permission bits) of a directory; None when it is not there or something else."""
        try:
            found = os.lstat(self.root + path)
        except FileNotFoundError:
            return None
        return (found.st_uid, stat.S_IMODE(found.st_mode)) if stat.S_ISDIR(found.st_mode) else None


def sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
