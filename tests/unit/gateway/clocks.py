"""A clock in seconds that a test sets."""


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
