"""Access lines, from Caddy straight into journald: who visited which app, and who was turned away at no app's name."""

from __future__ import annotations

from typing import Any

JOURNAL = "unixgram//run/systemd/journal/socket"
#: Whoever asks for no app: the API's visitors, and strangers. No app can have this name.
OTHERS = "_others"
Json = dict[str, Any]


def loggers(apps: list[str]) -> Json:
    return {
        "access-others": _log(OTHERS, "SYSLOG_IDENTIFIER=rustploy-ingress-access\nPRIORITY=6\n"),
        **{f"access-{app}": _log(app, _fields_of(app)) for app in apps},
    }


def names(app_of_host: dict[str, str]) -> Json:
    """For a server: which of the loggers notes a visit, by the name that was asked for."""
    return {"logger_names": app_of_host, "default_logger_name": OTHERS}


def _fields_of(app: str) -> str:
    return f"RUSTPLOY_APP={app}\nSYSLOG_IDENTIFIER={app}-ingress\nPRIORITY=6\n"


def _log(name: str, fields: str) -> Json:
    """The time's place and the line's end spell journald's native protocol.

    Whatever a visitor sends stands within JSON, where a line break cannot.
    """
    dropped = ("request>headers", "request>tls", "request>remote_port", "resp_headers", "user_id")
    return {
        "include": [f"http.log.access.{name}"],
        "writer": {"output": "net", "address": JOURNAL},
        "encoder": {
            "format": "filter",
            "wrap": {
                "format": "console",
                "time_format": "MESSAGE=",
                "level_format": "lower",
                "line_ending": f"\n{fields}",
            },
            "fields": {field: {"filter": "delete"} for field in dropped},
        },
    }
