"""The fetch and build programs run for real, as the unit would, but in a directory of the test's own."""

import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUILDPACKS = ROOT / "buildpacks"
SAMPLES = ROOT / "tests" / "samples"
START = """
import os, sys
sys.path.insert(0, sys.argv[1])
from rustploy_agent.builder import {program}
from rustploy_agent.builder.places import Places
os.umask(0o022)
{program}.main("blog", Places(sys.argv[2], sys.argv[3]))
"""


class Workshop:
    """One app's directories, laid out as apply makes them."""

    def __init__(self, directory: Path, buildpacks: Path = BUILDPACKS) -> None:
        self.root = directory / "blog"
        #: Further files of each build, as bytes.
        self.files: dict[str, bytes] = {}
        self.buildpacks = buildpacks
        for part in ("jobs", "results", "mirror", "cache"):
            (self.root / part).mkdir(parents=True)

    def fetch(self, url: str, **asked: Any) -> dict[str, Any]:
        """Result of a fetch into a new slug; `self.checkout` is where it lies then."""
        self._new_slug()
        fetch = {"url": url, "ref": None, "commit": None, "schemes": ["https", "ssh", "file"], "build_mode": "auto"}
        fetch |= {
            "file_root": str(self.root.parent),
            "max_bytes": 10 * 2**20,
            "timeout_seconds": 30,
            "known_commits": [],
        }
        return self._run("source", "fetch", {"fetch": fetch | asked})

    def build(self, files: Mapping[str, str] | Path, buildpack: str | None, **asked: Any) -> dict[str, Any]:
        """Result of a build of these files in a new slug."""
        self._new_slug()
        if isinstance(files, Path):
            files = {str(file.relative_to(files)): file.read_text() for file in files.rglob("*") if file.is_file()}
        self.checkout.mkdir()
        for name, content in (dict(files) | self.files).items():
            path = self.checkout / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self._run("buildpack", "build", {"build": {"buildpack": buildpack, "timeout_seconds": 60} | asked})

    def _new_slug(self) -> None:
        self.slug_id = str(uuid.uuid4())
        self.checkout = self.root / "slugs" / self.slug_id / "app"
        self.checkout.parent.mkdir(parents=True)

    def _run(self, program: str, kind: str, parts: dict[str, Any]) -> dict[str, Any]:
        head = {"version": 1, "deployment_id": str(uuid.uuid4()), "app": "blog", "slug_id": self.slug_id}
        (self.root / "jobs" / f"{kind}.json").write_text(json.dumps(head | parts))
        argv = [
            sys.executable,
            "-I",
            "-c",
            START.format(program=program),
            str(ROOT),
            str(self.root),
            str(self.buildpacks),
        ]
        self.done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert self.done.returncode == 0, self.done.stderr
        answer: dict[str, Any] = json.loads((self.root / "results" / f"{kind}.json").read_text())
        assert answer["deployment_id"] == head["deployment_id"]
        return answer


class Repository:
    """A git repository that a test fills as it likes, also with what git's own commands would refuse."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"file://{path}"
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, input: bytes = b"") -> str:
        argv = ["git", "-C", str(self.path), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(argv, input=input, capture_output=True, check=True).stdout.decode().strip()

    def commit(self, files: Mapping[str, str] | None = None) -> str:
        for name, text in (files or {}).items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")

    def commit_entry(self, mode: str, kind: str, name: str, content: bytes | str) -> str:
        """A commit whose tree has one entry of any mode and name; `content` is the blob, or an object's id."""
        found = content if isinstance(content, str) else self.git("hash-object", "-w", "--stdin", input=content)
        tree = self.git("mktree", "--missing", "-z", input=f"{mode} {kind} {found}\t{name}\0".encode())
        commit = self.git("commit-tree", "-m", "a change", tree)
        self.git("update-ref", "refs/heads/main", commit)
        return commit
