"""Deaths of the process, planned: at a named point of a named step, or at every moment there is, one after the other.

What a step goes through, and the points at which a crash can be asked for:

    asked ─ before_intent ─► intent durable ─ intended ─► body begun ─ sent ─► body ended ─ performed ─► outcome durable ─ recorded

==============  ======================================================================================================
before_intent   the handler has asked for the step; nothing says so in the store
intended        its intent is durable; its body has not begun
sent            its body is under way: an ``async def`` at its first ``await``, a ``def`` before its first statement, a
                TRANSACTIONAL one behind its last statement, with no COMMIT
performed       its body has ended (TRANSACTIONAL: and committed); nobody has been told
recorded        its outcome is durable; the handler has gone on as far as it could
probed          a probe (VERIFIED) has answered; nobody has been told
==============  ======================================================================================================

A READ step has no intent: ``before_intent`` and ``intended`` are one moment, before its body begins.

Dead means dead: what was suspended is never resumed, not even to run a ``finally`` (see ``bury``); a thread cannot be stopped, so
the death waits for its code to end, and loses what it returned.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, get_args

import msgspec

from millstream.errors import UsageError

Point = Literal["before_intent", "intended", "sent", "performed", "recorded", "probed"]
POINTS: tuple[Point, ...] = get_args(Point)


SOONER = "signal(), resolve(), retry() and cancel() come back when they are durable, and what they lead to may have begun by then"


class Moment(msgspec.Struct, frozen=True):
    """Where a step is when the process could die."""

    point: Point
    tool: str
    step: str  # structural identity within its run
    run: str

    def __str__(self) -> str:
        return f"{self.run}/{self.step} {self.point}"


class Crash:
    """A plan of when to die: told of every moment at which it could be, it says at which it is."""

    def reached(self, where: str, moments: Sequence[Moment]) -> bool:
        """Is it now?

        Args:
            where: in words.
            moments: what the steps concerned are at; none where the moment is about something else than steps.
        """
        raise NotImplementedError


class Watched(Protocol):
    """What deaths are planned for: ``Lives``."""

    plans: list[Crash]
    passed: Counter[tuple[str, Point]]


class CrashAt(Crash):
    """Made by ``AppRun.crash_at``; a context manager in which the crash has to happen.

    Attributes:
        happened: how often it did.
    """

    def __init__(self, step: str, point: Point, nth: int, times: int, lives: Watched, story: Callable[[], str]) -> None:
        self.happened = 0
        self._step = step
        self._point = point
        self._nth = nth
        self._times = times
        self._lives = lives
        self._story = story
        self._passed = 0
        self._passed_before = 0
        self._others: dict[str, None] = {}  # moments of this step at other points, in order
        if point not in POINTS:
            raise UsageError(f"crash_at({step!r}, {point!r}): there is no such point; there are {', '.join(POINTS)}")
        if nth < 1 or times < 1:
            raise UsageError(f"crash_at({step!r}, {point!r}): nth and times count from 1")

    def reached(self, where: str, moments: Sequence[Moment]) -> bool:
        for moment in moments:
            if self._step not in (moment.tool, moment.step):
                continue
            if moment.point != self._point:
                self._others[str(moment)] = None
                continue
            self._passed += 1
            if self._passed >= self._nth and self.happened < self._times:
                self.happened += 1
                return True
        return False

    def __enter__(self) -> CrashAt:
        self._lives.plans.append(self)
        self._passed_before = self._lives.passed[self._step, self._point]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lives.plans.remove(self)
        if error is None and self.happened < self._times:
            seen = ", ".join(self._others) or "it was not seen at all (is it the tool's or step's name?)"
            happened = f"{self.happened} of {self._times} crashes happened; the point was reached {self._passed} times"
            if self._passed_before:
                happened += f", and {self._passed_before} times before the block was entered: {SOONER}"
            raise AssertionError(f"crash_at({self._step!r}, {self._point!r}): {happened}. Of this step: {seen}\n{self._story()}")

    def __repr__(self) -> str:
        return f"<crash at {self._step} {self._point}, {self.happened} of {self._times} happened>"


class EveryCrash:
    """See ``every_crash``."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most

    def __iter__(self) -> Iterator[NthMoment]:
        crash = NthMoment(0)
        yield crash
        if not crash.seen:
            raise UsageError("every_crash(): nothing was run with the crash; give it to the run: AppRun(app, crash=crash)")
        most, number = crash.seen, 0
        while number < most:
            number += 1
            if number > self._at_most:
                raise UsageError(
                    f"every_crash(): there are {most} moments, more than at_most={self._at_most}; test something smaller"
                )
            crash = NthMoment(number)
            yield crash
            most = max(most, crash.seen if crash.happened == 0 else 0)


class NthMoment(Crash):
    """Dies once, at the moment of this number (from 1; 0: never), whatever it is.

    Attributes:
        seen: how many moments there were.
        happened: 1 if it died.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.happened = 0
        self._where = "not reached"

    def reached(self, where: str, moments: Sequence[Moment]) -> bool:
        self.seen += 1
        if self.seen != self.number:
            return False
        self.happened = 1
        self._where = where
        return True

    def __str__(self) -> str:
        return f"crash {self.number}: {self._where}" if self.number else "no crash"

    __repr__ = __str__


def every_crash(*, at_most: int = 2_000) -> EveryCrash:
    """Everything that can happen to a scenario by one crash: iterate, and run the scenario once with each.

        for crash in every_crash():
            with AppRun(app, crash=crash) as world:
                ...

    The first one never happens: it counts the moments there are, which are before and after every commit, and in and behind every
    body. What the scenario keeps outside of the app (a fake bank) has to be made anew each time.

    Args:
        at_most: how many crashes; a scenario with more moments is too large to try them all.

    Raises:
        UsageError: in the loop: there are more moments than that, or the crash was not given to ``AppRun``.
    """
    return EveryCrash(at_most)


_graves: list[Any] = []


def bury(*things: Any) -> None:
    """Keep these for ever. What is suspended in them must not be finalized: that would run its ``finally`` blocks, and a dead
    process runs nothing. The interpreter's end would do it too, so it is made to believe that somebody still holds them."""
    _graves.append(things)
    if hasattr(ctypes, "pythonapi"):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))
