"""Errors with a stable code, an HTTP status and a sentence. The API turns them into its one error shape."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Detail:
    """One wrong field: its dotted path and what would be right."""

    field: str
    message: str


class AgentError(Exception):
    """An error a caller may see. `code` is stable, the message may change."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str, details: list[Detail] | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or []
        self.code = code or self.code


class InvalidRequest(AgentError):
    code = "invalid_request"
    status = 400

    @classmethod
    def field(cls, field: str, message: str, *, code: str | None = None) -> InvalidRequest:
        return cls(f"{field}: {message}", [Detail(field, message)], code=code)


class InvalidManifest(AgentError):
    code = "invalid_manifest"
    status = 400


class UriTooLong(AgentError):
    code = "uri_too_long"
    status = 414


class Unauthorized(AgentError):
    code = "unauthorized"
    status = 401


class Forbidden(AgentError):
    code = "forbidden"
    status = 403


class NotFound(AgentError):
    code = "not_found"
    status = 404


class Conflict(AgentError):
    code = "conflict"
    status = 409


class InProgress(Conflict):
    """To be asked again: somebody else is about to answer the same."""

    code = "idempotency_key_in_use"


class KeyReused(AgentError):
    code = "idempotency_key_reused"
    status = 422


class TooManyRequests(AgentError):
    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, *, retry_after: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(AgentError):
    """The request was right and may work later."""

    code = "unavailable"
    status = 503


class SystemdError(AgentError):
    """systemd refused or did not answer; the message is its own."""

    code = "systemd_error"
    status = 500


class SystemdUnavailable(SystemdError):
    """systemd could not be asked, or gave no answer; it may later. With `unsent`, it has not been told anything."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class ApplyFailed(AgentError):
    """rustploy-apply refused an app's desired state or did not run."""

    code = "apply_failed"
    status = 500


class DeploymentFailed(Exception):
    """Ends a deployment. `code` is the stable reason, `retryable` says whether trying again may help."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class Killed(DeploymentFailed):
    """A process was ended by a signal that it did not send itself, and the platform did not either."""
