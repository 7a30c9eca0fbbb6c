"""Time that moves only when it is told to."""

from __future__ import annotations


class VirtualClock:
    """``engine.clock.Clock`` by hand: microseconds since the epoch."""

    def __init__(self, at: int = 1_700_000_000_000_000) -> None:
        self.at = at

    def start(self, last: int) -> int:
        """Begin at or after ``last``, engine time of the last commit."""
        self.at = max(self.at, last)
        return self.at

    def now(self) -> int:
        """Time, us."""
        return self.at

    def seconds_until(self, at: int) -> float:
        """How long to wait for ``at``."""
        return max(0.0, (at - self.at) / 1e6)

    def advance(self, us: int) -> None:
        """Let ``us`` microseconds pass."""
        self.at += us
