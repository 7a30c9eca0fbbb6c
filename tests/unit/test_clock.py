"""Engine time never goes back, follows an honest wall clock, and refuses a leap."""

from __future__ import annotations

import pytest

from millstream.engine.clock import HOUR, YEAR, SystemClock
from millstream.errors import ClockJumped

SECOND = 1_000_000


class Clocks:
    """A wall clock and a monotonic clock, in microseconds."""

    def __init__(self, wall: int = 1_000 * HOUR) -> None:
        self.wall = wall
        self.monotonic = 5 * HOUR

    def system(self, **limits: int) -> SystemClock:
        return SystemClock(**limits, wall=lambda: self.wall * 1000, monotonic=lambda: self.monotonic * 1000)

    def pass_(self, us: int) -> None:
        self.wall += us
        self.monotonic += us


def test_it_starts_at_the_wall_clock() -> None:
    clocks = Clocks()
    assert clocks.system().start(0) == clocks.wall


def test_it_starts_at_the_last_commit_when_the_wall_clock_was_set_back_meanwhile() -> None:
    clocks = Clocks()
    last = clocks.wall + HOUR
    clock = clocks.system()
    assert clock.start(last) == last
    clocks.pass_(SECOND)
    assert clock.now() == last + SECOND


def test_it_goes_on_when_the_wall_clock_is_set_back_while_it_runs() -> None:
    clocks = Clocks()
    clock = clocks.system()
    began = clock.start(0)
    clocks.wall -= 3 * HOUR
    clocks.monotonic += SECOND
    assert clock.now() == began + SECOND


def test_it_follows_a_wall_clock_that_is_set_ahead_a_little() -> None:
    clocks = Clocks()
    clock = clocks.system()
    clock.start(0)
    clocks.pass_(SECOND)
    clocks.wall += 10 * SECOND
    assert clock.now() == clocks.wall


def test_a_leap_ahead_is_an_error_and_not_a_time() -> None:
    clocks = Clocks()
    clock = clocks.system(max_jump=HOUR)
    clock.start(0)
    clocks.wall += HOUR + SECOND
    with pytest.raises(ClockJumped, match="no timer was fired"):
        clock.now()


def test_a_long_stop_is_not_a_leap() -> None:
    clocks = Clocks()
    last = clocks.wall
    clocks.wall += 30 * 24 * HOUR
    assert clocks.system().start(last) == clocks.wall


def test_a_start_years_after_the_last_commit_is_refused() -> None:
    clocks = Clocks()
    last = clocks.wall
    clocks.wall += YEAR + HOUR
    with pytest.raises(ClockJumped, match="max-clock-jump"):
        clocks.system().start(last)


def test_it_tells_how_long_to_wait_by_the_monotonic_clock() -> None:
    clocks = Clocks()
    clock = clocks.system()
    began = clock.start(0)
    assert clock.seconds_until(began + 5 * SECOND) == 5.0
    clocks.monotonic += 7 * SECOND
    assert clock.seconds_until(began + 5 * SECOND) == 0.0
