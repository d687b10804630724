"""The names and types that clients relied on before there was an openapi.yaml. This table never shrinks.

`?` may be null or absent, `[x]` a list of x, a word in capitals one of OBJECTS, words with | a closed list.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit import contract
from tests.unit.compatibility import Comparison

Fields = dict[str, Any]
APP: Fields = {"id": "id", "name": "string", "created_at_unix_ms": "integer", "updated_at_unix_ms": "integer"}
SESSION: Fields = {"user_id": "id", "email": "string", "role": "string", "session_expires_at_unix_ms": "integer"}
ENV: Fields = {"app_id": "id", "key": "string", "value": "string", "updated_at_unix_ms": "integer"}
ACCEPTED: Fields = {"deployment_id": "id", "status": "string", "queued_at_unix_ms": "integer"}
#: Who names a branch, as clients did who had to, gets it back.
GITHUB: Fields = {"owner": "string", "repo": "string", "branch?": "string", "installation_id?": "any"}
REPOSITORY: Fields = {
    "provider": "string",
    "owner": "string",
    "name": "string",
    "clone_url?": "string",
    "default_branch?": "string",
}
DETECTION: Fields = {
    "framework": "string",
    "package_manager": "string",
    "lockfile?": "string",
    "build_profile": "string",
    "dockerfile_present": "boolean",
}
SOURCE: Fields = {"branch?": "string", "commit_sha?": "string"}
PROFILE: Fields = {"postgres?": "boolean", "redis?": "boolean"}
DEPLOYMENT: Fields = {
    "id": "id",
    "app_id": "id",
    "source_ref?": "string",
    "image_ref?": "string",
    "commit_sha?": "string",
    "status": "queued|deploying|retrying|healthy|failed",
    "last_error?": "string",
    "created_at_unix_ms": "integer",
    "updated_at_unix_ms": "integer",
}
TOKEN: Fields = {
    "id": "id",
    "name": "string",
    "scopes": ["read|deploy|admin"],
    "created_at_unix_ms": "integer",
    "expires_at_unix_ms?": "integer",
    "revoked_at_unix_ms?": "integer",
    "last_used_at_unix_ms?": "integer",
}
DOMAIN: Fields = {"domain": "string", "tls_mode": "managed|custom", "cert_path?": "string", "key_path?": "string"}
WEBHOOK: Fields = {"accepted": "boolean", "matched_integrations": "integer", "queued_deployments": "integer"}

#: (operation, scope, fields of the request, status, fields of the answer)
OPERATIONS: list[tuple[str, str, Fields, str, Fields]] = [
    ("GET /api/v1/health", "anybody", {}, "200", {"status": "string"}),
    ("GET /metrics", "", {}, "200", {}),
    ("POST /api/v1/auth/login", "anybody", {"email": "string", "password": "string"}, "200", SESSION),
    ("POST /api/v1/auth/logout", "session", {}, "204", {}),
    ("GET /api/v1/auth/me", "session", {}, "200", SESSION),
    ("POST /api/v1/auth/password-reset/request", "anybody", {"email": "string"}, "202", {"accepted": "boolean"}),
    (
        "POST /api/v1/auth/password-reset/confirm",
        "anybody",
        {"reset_token": "string", "new_password": "string"},
        "200",
        {"accepted": "boolean"},
    ),
    (
        "POST /api/v1/apps/import",
        "admin",
        {
            "repository": REPOSITORY,
            "source?": SOURCE,
            "build_mode?": "string",
            "runtime?": {"port?": "integer", "healthcheck_path?": "string"},
            "dependency_profile?": PROFILE,
        },
        "201",
        {
            "app": APP,
            "detection": DETECTION,
            "next_action": {"action_type": "create_deployment", "deploy_endpoint": "string"},
        },
    ),
    ("POST /api/v1/apps", "admin", {"name": "string"}, "201", APP),
    ("GET /api/v1/apps", "read", {}, "200", {"items": [APP]}),
    ("POST /api/v1/apps/{app_id}/github", "admin", GITHUB, "200", {"app_id": "id"} | GITHUB),
    (
        "GET /api/v1/apps/{app_id}/config",
        "read",
        {},
        "200",
        {
            "app_id": "id",
            "repository": REPOSITORY,
            "source": SOURCE,
            "build_mode": "string",
            "detection": DETECTION,
            "dependency_profile?": PROFILE,
            "manifest?": {},
        },
    ),
    ("GET /api/v1/apps/{app_id}/env", "read", {}, "200", {"items": [ENV]}),
    ("PUT /api/v1/apps/{app_id}/env", "admin", {"key": "string", "value": "string"}, "200", ENV),
    ("DELETE /api/v1/apps/{app_id}/env/{key}", "admin", {}, "204", {}),
    (
        "POST /api/v1/apps/{app_id}/domains",
        "admin",
        DOMAIN | {"tls_mode?": "managed|custom"},
        "201",
        {"id": "id", "app_id": "id", "created_at_unix_ms": "integer"} | DOMAIN,
    ),
    (
        "GET /api/v1/apps/{app_id}/domains",
        "read",
        {},
        "200",
        {"items": [{"id": "id", "app_id": "id", "created_at_unix_ms": "integer"} | DOMAIN]},
    ),
    (
        "POST /api/v1/apps/{app_id}/deployments",
        "deploy",
        {"source_ref?": "string", "commit_sha?": "string", "image_ref?": "any", "force_rebuild?": "boolean"},
        "202",
        ACCEPTED,
    ),
    ("GET /api/v1/apps/{app_id}/deployments", "read", {}, "200", {"items": [DEPLOYMENT]}),
    (
        "GET /api/v1/apps/{app_id}/deployments/{deployment_id}/logs",
        "read",
        {},
        "200",
        {"deployment_id": "id", "logs": "string"},
    ),
    ("GET /api/v1/apps/{app_id}/logs/stream", "read", {}, "200", {}),
    ("POST /api/v1/apps/{app_id}/rollback", "deploy", {}, "202", ACCEPTED),
    (
        "POST /api/v1/tokens",
        "admin",
        {"name": "string", "scopes": ["read|deploy|admin"], "expires_in_seconds?": "integer"},
        "201",
        {"token": "string", "summary": TOKEN},
    ),
    ("GET /api/v1/tokens", "admin", {}, "200", {"items": [TOKEN]}),
    ("DELETE /api/v1/tokens/{token_id}", "admin", {}, "204", {}),
    ("POST /api/v1/integrations/github/webhook", "", {}, "202", WEBHOOK),
]
JUDGE = Comparison(contract.document(), contract.document())


def flat(schema: dict[str, Any]) -> dict[str, Any]:
    return JUDGE.flat(contract.document(), schema)


def check(where: str, schema: dict[str, Any], wanted: Fields, *, request: bool) -> None:
    found = flat(schema)
    for name, kind in wanted.items():
        bare, optional = name.removesuffix("?"), name.endswith("?")
        assert bare in found["properties"], f"{where}.{bare} is not there"
        if request and optional:
            assert bare not in found["required"], f"{where}.{bare} has to be sent"
        if not request and not optional:
            assert bare in found["required"], f"{where}.{bare} may be absent"
        check_kind(f"{where}.{bare}", found["properties"][bare], kind, optional=optional, request=request)


def check_kind(where: str, schema: dict[str, Any], kind: Any, *, optional: bool, request: bool) -> None:
    found = flat(schema)
    types = found["types"] - {"null"}
    if not request and not optional:
        assert "null" not in found["types"], f"{where} may be null"
    if isinstance(kind, dict):
        assert types == {"object"}, where
        check(where, schema, kind, request=request)
    elif isinstance(kind, list):
        assert types == {"array"}, where
        check_kind(f"{where}[]", found["items"], kind[0], optional=False, request=request)
    elif "|" in kind:
        assert found["values"] == set(kind.split("|")), where
    elif kind in ("string", "integer", "boolean"):
        assert types == {kind}, where
    elif kind == "id":
        assert types == {"string"} and str(found["pattern"]).startswith("^[0-9a-f]{8}"), where
    elif kind != "any":
        assert found["values"] == {kind}, where


@pytest.mark.parametrize(
    ("operation", "scope", "request_fields", "status", "answer"), OPERATIONS, ids=[one[0] for one in OPERATIONS]
)
def test_what_existing_clients_rely_on_is_kept(
    operation: str, scope: str, request_fields: Fields, status: str, answer: Fields
) -> None:
    """Else programs that worked with the API before this document stop working with it."""
    method, path = operation.split()
    found = contract.operations().get((method, contract.PREFIX + path if path in contract.BARE else path))
    assert found is not None, "is gone"
    assert not scope or found["x-scope"] == scope
    if request_fields:
        check("request", found["requestBody"]["content"]["application/json"]["schema"], request_fields, request=True)
    elif "requestBody" in found and method == "POST" and scope:
        assert not found["requestBody"]["required"]
    response = contract.resolved(found["responses"][status])
    assert ("content" in response) == (status != "204")
    if answer:
        check("answer", response["content"]["application/json"]["schema"], answer, request=False)


def test_errors_have_the_shape_that_clients_read() -> None:
    error = {"error": {"code": "string", "message": "string", "details": [{"field": "string", "message": "string"}]}}
    check("error", {"$ref": "#/components/schemas/Error"}, error, request=False)


def test_the_credentials_are_where_clients_put_them() -> None:
    schemes = contract.document()["components"]["securitySchemes"]
    assert (schemes["token"]["type"], schemes["token"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "rustploy_session")
