"""Which variable a Django project wants at build time, by how its settings failed; and a placeholder for it."""

from __future__ import annotations

import re
import sys

NAME = r"['\"`]?([A-Z][A-Z0-9_]{1,60})['\"`]?"
MISSING = (
    rf"KeyError: {NAME}\s*$",
    rf"UndefinedValueError: {NAME} not found",
    rf"ImproperlyConfigured: Set the {NAME} environment variable",
    rf"EnvError: Environment variable {NAME} (?:not set|is required)",
    rf"ImproperlyConfigured: .*?{NAME}.{{0,40}}(?:environment|env) variable",
    rf"(?:Missing|Required) (?:required )?env(?:ironment)? variable:? {NAME}",
    rf"Environment variable {NAME} (?:is )?(?:not set|missing|required)",
)
KINDS = (
    ("SECRET_KEY", "a-placeholder-of-the-build-which-is-long-enough-for-every-check-0123456789"),
    ("DATABASE", "sqlite:////tmp/rustploy-build.sqlite3"),
    ("REDIS", "redis://127.0.0.1:6379/0"),
    ("URL", "http://localhost"),
    ("HOST", "localhost"),
    ("PORT", "1"),
    ("DEBUG", "False"),
    ("EMAIL", "nobody@localhost"),
)


def run(file: str) -> None:
    with open(file, encoding="utf-8", errors="replace") as opened:
        found = variable(opened.read())
    sys.stdout.write(found)


def variable(said: str) -> str:
    """NAME=placeholder, or nothing when the failure has another reason."""
    for line in reversed(said.splitlines()):
        for pattern in MISSING:
            match = re.search(pattern, line)
            if match:
                return f"{match[1]}={placeholder(match[1])}"
    if re.search(r"ImproperlyConfigured: The SECRET_KEY setting must not be empty", said):
        return f"SECRET_KEY={placeholder('SECRET_KEY')}"
    return ""


def placeholder(name: str) -> str:
    return next((value for part, value in KINDS if part in name), "placeholder")
