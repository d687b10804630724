"""The one error shape: {"error": {"code", "message", "details"}}, for everything that goes wrong."""

from __future__ import annotations

import logging
import os

from flask import Flask, Response, g, jsonify, request
from peewee import DatabaseError, IntegrityError, OperationalError
from werkzeug.exceptions import HTTPException

from rustploy_agent import apps, damage
from rustploy_agent.errors import AgentError, InProgress, TooManyRequests, Unavailable
from rustploy_agent.sqlite import is_busy

log = logging.getLogger(__name__)
SENTENCES = {
    404: "there is no such path; GET /api/v1/docs has all there are",
    413: "the body is larger than any that this takes",
}
BUSY = "the database is in use by others for longer than a request waits; nothing was changed, try again in a while"
CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def register(app: Flask) -> None:
    app.register_error_handler(AgentError, _agent_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _internal_error)


def shape(status: int, code: str, message: str, details: list[dict[str, str]] | None = None) -> Response:
    response = jsonify({"error": {"code": code, "message": message, "details": details or []}})
    response.status_code = status
    g.error_code = code
    return response


def _agent_error(error: AgentError) -> Response:
    if error.status == 500:
        log.error("request %s: %s: %s", g.request_id, error.code, error.message)
    status = 415 if error.code == "unsupported_media_type" else error.status
    response = shape(status, error.code, error.message, [vars(detail) for detail in error.details])
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, InProgress):
        response.headers["Retry-After"] = "2"
    if status == 503:
        response.headers["Retry-After"] = "30"
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code = CODES.get(status, (error.name or "error").lower().replace(" ", "_"))
    message = SENTENCES.get(status) or error.description or error.name
    if status == 405:
        message = f"{request.method} is not possible here; possible are: {', '.join(sorted(_allowed(error)))}"
    response = shape(status, code, message)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _allowed(error: HTTPException) -> set[str]:
    return set(getattr(error, "valid_methods", None) or ())


def _internal_error(error: Exception) -> Response:
    """An id in the answer, the traceback beside the same id in the journal."""
    app_key = (request.view_args or {}).get("app_id")
    if isinstance(error, IntegrityError) and "FOREIGN KEY" in str(error) and app_key is not None:
        return _agent_error(apps.unknown(app_key))  # it was removed in the middle of the request
    if isinstance(error, OperationalError) and "disk I/O error" in str(error):
        log.critical("SQLite cannot read or write its file; the agent ends instead of guessing", exc_info=error)
        os._exit(74)
    if is_busy(error):
        log.warning("request %s: the database was not to be had: %s", g.request_id, error)
        return _agent_error(Unavailable(BUSY, code="database_busy"))
    if isinstance(error, DatabaseError):
        damage.end_if_damaged(error)
    log.error("internal error %s", g.request_id, exc_info=error)
    return shape(500, "internal_error", f"internal error {g.request_id}; journalctl -u rustploy-agent has the details")
