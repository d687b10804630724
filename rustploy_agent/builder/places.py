"""Where the fetch and build programs find and leave things for one app (docs/architecture.md, On disk)."""

from __future__ import annotations

from typing import NamedTuple

from rustploy_agent.builder.job import APP_NAME


class Places(NamedTuple):
    app_root: str
    buildpacks: str

    @classmethod
    def of(cls, app: str) -> Places:
        """The app's name becomes part of a path, so it is checked before anything else."""
        if not APP_NAME.fullmatch(app) or "--" in app:
            raise SystemExit(f"{app[:40]!r} is not an app's name")
        return cls(f"/var/lib/rustploy/apps/{app}", "/usr/lib/rustploy-agent/buildpacks")

    @property
    def fetch_job(self) -> str:
        return f"{self.app_root}/jobs/fetch.json"

    @property
    def build_job(self) -> str:
        return f"{self.app_root}/jobs/build.json"

    @property
    def fetch_result(self) -> str:
        return f"{self.app_root}/results/fetch.json"

    @property
    def build_result(self) -> str:
        return f"{self.app_root}/results/build.json"

    @property
    def mirror(self) -> str:
        return f"{self.app_root}/mirror"

    @property
    def cache(self) -> str:
        return f"{self.app_root}/cache"

    def checkout(self, slug_id: str) -> str:
        return f"{self.app_root}/slugs/{slug_id}/app"
