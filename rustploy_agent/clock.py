"""Time and ids as they go over the wire: Unix milliseconds and UUID strings."""

from __future__ import annotations

import time
import uuid


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def left_ms(until_unix_ms: int, longest_ms: int) -> int:
    """Of a pause; 0 for one longer than any is made: then the clock was set back, and it would last for days."""
    left = until_unix_ms - now_ms()
    return left if 0 < left <= longest_ms else 0


def new_id() -> str:
    return str(uuid.uuid4())
