"""Engine time: microseconds since the epoch, UTC, that never go back.

At start it is max(wall clock, last commit). From then on it follows the wall clock while that goes forward with the monotonic
clock; a wall clock that is set back, or stands, is overtaken by the monotonic one; one that leaps ahead further than
``max_jump`` is an error, because every timer of the days between would fire.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from millstream.errors import ClockJumped

HOUR = 3_600_000_000
YEAR = 366 * 24 * HOUR


class Clock(Protocol):
    """Where the engine takes time from; ``millstream.testing`` has a virtual one."""

    def start(self, last: int) -> int:
        """Begin at or after ``last``, engine time of the last commit (0: none)."""

    def now(self) -> int:
        """Engine time, us."""

    def seconds_until(self, at: int) -> float:
        """How long to wait for engine time ``at``, in seconds of the event loop's clock."""


class SystemClock:
    """The machine's clocks, as the module says.

    Args:
        max_jump: how far the wall clock may leap ahead of the monotonic one while the engine runs, us.
        max_gap: how far it may be ahead of the last commit at start, us: a year, so that a long stop is not an error.
        wall, monotonic: functions that give nanoseconds.
    """

    def __init__(
        self,
        max_jump: int = HOUR,
        max_gap: int = YEAR,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.max_jump = max_jump
        self.max_gap = max_gap
        self._wall = wall
        self._monotonic = monotonic
        self._base = 0  # engine time less monotonic time, us

    def start(self, last: int) -> int:
        wall = self._wall() // 1000
        if last and wall - last > self.max_gap:
            raise ClockJumped(
                f"the wall clock says {_text(wall)}, and the last commit was at {_text(last)}: further apart than a start allows. "
                "Set the clock right; if it is, give a larger --max-clock-jump"
            )
        now = max(wall, last)
        self._base = now - self._monotonic() // 1000
        return now

    def now(self) -> int:
        expected = self._base + self._monotonic() // 1000
        ahead = self._wall() // 1000 - expected
        if ahead > 0:
            if ahead > self.max_jump:
                raise ClockJumped(
                    f"the wall clock leapt from {_text(expected)} to {_text(expected + ahead)}, further than max_clock_jump "
                    f"({self.max_jump / 1e6:g} s); no timer was fired. Set the clock right, or start again to accept the new time"
                )
            self._base += ahead
            expected += ahead
        return expected

    def seconds_until(self, at: int) -> float:
        return max(0.0, (at - (self._base + self._monotonic() // 1000)) / 1e6)


def _text(us: int) -> str:
    try:
        return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{us} us"
