"""What Waitress answers itself, before the application sees a request: in the one error shape as well."""

from __future__ import annotations

import json
import logging
import secrets

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

log = logging.getLogger(__name__)
CODES = {
    400: "malformed_request",
    413: "body_too_large",
    431: "headers_too_large",
    501: "unsupported_transfer_encoding",
}


class Refusal(ErrorTask):  # type: ignore[misc]
    """The connection ends with it: where the next request would begin is not known."""

    def execute(self) -> None:
        error, reference = self.request.error, secrets.token_hex(8)
        code, message = CODES.get(error.code, "internal_error"), str(error.body)
        if code == "internal_error":
            log.error("internal error %s in the server", reference)  # waitress has logged the traceback right before
            message = f"internal error {reference}; journalctl -u rustploy-agent has the details"
        body = json.dumps({"error": {"code": code, "message": message, "details": []}}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("X-Request-Id", reference),
            ("Connection", "close"),
        ]
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = Refusal
