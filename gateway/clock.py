"""The gateway's clock and its request ids."""

import os
import time


def now_ms() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def since_ms(started_s: float) -> float:
    """Milliseconds since a moment of `time.perf_counter`."""
    return round((time.perf_counter() - started_s) * 1000, 3)


def new_request_id() -> str:
    """An id that sorts by time, so that indexes grow at their end: 48 bits of ms, 80 random."""
    return "req_" + (now_ms().to_bytes(6, "big") + os.urandom(10)).hex()
