"""The error of this package."""

from __future__ import annotations


class Wrong(Exception):
    """The repository asks for what cannot be done; the message says what would be right."""
