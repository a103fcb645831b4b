"""Rolling windows: the last 24 hours, whenever one looks.

Time is cut into buckets of a twenty-fourth of the window, and each bucket has an account. A request
is charged to the bucket of its moment, and its limit counts every bucket that the window touches.
So the oldest is counted whole although the window may have left part of it: no interval of the
window's length ever holds more than the limit, and money comes back up to one bucket late.

    window of L seconds, bucket of w = ceil(L / 24):   spent at t  ->  free between t+L and t+L+w

The bucket after that of the request is counted too. A request is admitted a moment before its money
is set aside, and one that came later may have been faster across the edge.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS = 24
MIN_LENGTH_S = 60
MAX_LENGTH_S = 366 * 86_400
_TEXT = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNIT_S = {"m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last `length_s` seconds, in minutes, hours or days."""

    length_s: int

    @property
    def value(self) -> str:
        """Its name, the same for the same length: `90m`, `24h`, `7d`; a single day is `24h`."""
        if self.length_s % 3_600:
            return f"{self.length_s // 60}m"
        if self.length_s % 86_400 or self.length_s == 86_400:
            return f"{self.length_s // 3_600}h"
        return f"{self.length_s // 86_400}d"

    def __str__(self) -> str:
        return self.value

    @property
    def bucket_s(self) -> int:
        """Seconds of one bucket: what money may come back late."""
        return -(-self.length_s // BUCKETS)

    def bucket_start(self, now_s: int) -> int:
        """The first second of the bucket around `now_s`; buckets begin at 1970 (UTC)."""
        return now_s - now_s % self.bucket_s

    def counted_starts(self, now_s: int) -> Sequence[int]:
        """Where each bucket begins that counts at `now_s`, the oldest first."""
        width_s = self.bucket_s
        oldest_s = self.bucket_start(now_s - self.length_s)
        return range(oldest_s, self.bucket_start(now_s) + 2 * width_s, width_s)


def read_rolling(text: str) -> RollingWindow | None:
    """`24h`, `90m` or `7d` as a window, None for what is no length of time.

    Raise ValueError for a length outside one minute to 366 days.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    length_s = int(match[1]) * _UNIT_S[match[2]]
    if not MIN_LENGTH_S <= length_s <= MAX_LENGTH_S:
        raise ValueError(f'expected a rolling window from "1m" to "366d", got {text!r}')
    return RollingWindow(length_s)
