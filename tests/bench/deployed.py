"""One side: an app that the agent deploys, asked through the API as a user would."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench.subjects import Subject, sign
from tests.bench.watch import PATIENCE_SECONDS, page_shows
from tests.machine import Machine
from tests.machine.machine import BASE_DOMAIN

#: What waits for the next deployment is set up after an import and after a new release serves; the old one is drained.
CALM_SECONDS = 3.0


class Deployed:
    def __init__(self, machine: Machine, subject: Subject, url: str, name: str) -> None:
        self.machine, self.subject, self.name = machine, subject, name
        repository = {"provider": "git", "owner": "bench", "name": name, "clone_url": url, "default_branch": "main"}
        self._request("POST", "/apps/import", {"name": name, "repository": repository}, 201)
        time.sleep(CALM_SECONDS)

    def deploy(self, number: int) -> float:
        """Seconds until that edition answers where the app says it is."""
        return self._until_served(f"/apps/{self.name}/deployments", {}, lambda: self._answers(number))

    def switch(self, number: int) -> float:
        """Seconds until visitors of the app's name at the ingress meet that edition."""
        ingress, name = f"http://127.0.0.1:{self.machine.place.http_port}", f"{self.name}.{BASE_DOMAIN}"
        met = partial(page_shows, ingress, sign(number), self.name, host=name)
        return self._until_served(f"/apps/{self.name}/deployments", {}, met)

    def rollback(self, deployment_id: str, number: int) -> float:
        body = {"deployment_id": deployment_id}
        return self._until_served(f"/apps/{self.name}/rollback", body, lambda: self._answers(number))

    def active(self) -> str:
        """The deployment whose release serves, for a later rollback to it."""
        return str(self.show()["active_deployment_id"])

    def show(self) -> Any:
        return self._request("GET", f"/apps/{self.name}", None, 200)

    def remove(self) -> None:
        self._request("DELETE", f"/apps/{self.name}", None, 204)

    def _answers(self, number: int) -> None:
        page_shows(self.show()["address"], sign(number), self.name)

    def _until_served(self, path: str, body: dict[str, str], served: Callable[[], None]) -> float:
        """Waits in the request, as a pipeline would: asking again and again takes the agent half of the machine."""
        started = time.monotonic()
        deployment = self._request("POST", path, body, 200, {"Prefer": f"wait={PATIENCE_SECONDS}"})
        if deployment["status"] != "healthy":
            raise SystemExit(f"the deployment of {self.name} is {deployment['status']}: {deployment['last_error']}")
        served()
        taken = time.monotonic() - started
        time.sleep(CALM_SECONDS)
        return taken

    def _request(self, method: str, path: str, body: Any, expected: int, headers: dict[str, str] | None = None) -> Any:
        answer = self.machine.http(method, f"/api/v1{path}", body, headers=headers, timeout=300, checked=False)
        if answer.status != expected:
            raise SystemExit(f"{method} {path} answered {answer.status}, not {expected}: {answer.body}")
        return answer.body
