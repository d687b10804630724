"""A client whose every answer is checked against openapi.yaml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from rustploy_agent import auth
from tests.unit import contract

REPOSITORY = {"provider": "git", "owner": "anna", "name": "blog", "clone_url": "https://git.example.org/anna/blog.git"}


@dataclass
class Client:
    """`token` goes along unless a call gives its own headers; `root` is where relative paths begin."""

    app: Flask
    token: str
    root: str = contract.PREFIX

    def __call__(self, method: str, path: str, json: object = None, **options: Any) -> TestResponse:
        url = path if path.startswith(contract.BARE) else self.root + path
        options.setdefault("headers", {"Authorization": f"Bearer {self.token}"})
        if json is not None:
            options["json"] = json
        with self.app.test_client(use_cookies=False) as client:
            answer = client.open(url, method=method, **options)
        contract.check(method, url, answer.status_code, answer.headers, answer.data, answer.get_json(silent=True))
        return answer

    def code(self, *request: Any, **options: Any) -> tuple[int, str]:
        """Status and error code of a request that fails."""
        answer = self(*request, **options)
        return answer.status_code, str(answer.get_json()["error"]["code"])


@pytest.fixture
def token(opened: None) -> Callable[..., str]:
    """Makes a token with this scope."""

    def make(scope: str, seconds: int | None = None) -> str:
        return auth.create_token(f"{scope} token", [scope], seconds)[0]

    return make


@pytest.fixture
def admin(api: Flask, token: Callable[..., str]) -> Client:
    return Client(api, token("admin"))


@pytest.fixture
def deployer(api: Flask, token: Callable[..., str]) -> Client:
    return Client(api, token("deploy"))


@pytest.fixture
def reader(api: Flask, token: Callable[..., str]) -> Client:
    return Client(api, token("read"))


@pytest.fixture
def blog(admin: Client) -> str:
    """The id of an app imported from a repository."""
    answer = admin("POST", "/apps/import", {"repository": REPOSITORY, "source": {"branch": "main"}})
    assert answer.status_code == 201, answer.get_json()
    return str(answer.get_json()["app"]["id"])
