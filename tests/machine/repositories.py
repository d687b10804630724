"""Git repositories on a machine, made as root and readable by everybody, as a local mirror would be."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.machine.machine import Machine

AS_SOMEBODY = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org", "-c", "init.defaultBranch=main"]


class Repositories:
    root = "/srv/git"

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def create(self, name: str, files: Mapping[str, str], modes: Mapping[str, int] | None = None) -> str:
        """A repository with one commit on main; returns its file:// URL. `modes` for executables: {"bin/x": 0o755}."""
        path = self.path(name)
        self._machine.run(["install", "-d", self.root, path])
        self.git(name, "init", "--quiet")
        self.commit(name, files, modes)
        return f"file://{path}"

    def commit(self, name: str, files: Mapping[str, str | None], modes: Mapping[str, int] | None = None) -> str:
        """Commit these files (None deletes one) on the branch that is checked out; returns the commit's hash."""
        for file, text in files.items():
            path = f"{self.path(name)}/{file}"
            if text is None:
                self._machine.run(["rm", "--", path])
            else:
                self._machine.write(path, text, (modes or {}).get(file, 0o644))
        self.git(name, "add", "--all")
        self.git(name, "commit", "--quiet", "--allow-empty", "-m", "a change")
        return self.git(name, "rev-parse", "HEAD")

    def git(self, name: str, *arguments: str) -> str:
        return self._machine.run(["git", "-C", self.path(name), *AS_SOMEBODY, *arguments]).stdout.strip()

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"
