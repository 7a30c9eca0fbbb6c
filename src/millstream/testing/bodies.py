"""The performer of the kit: runs the bodies of tools as the engine's does, and besides

* runs another body where the test gave one (`replacement`);
* writes down every attempt, in a ledger that outlives the process, as the world outside does;
* dies where a plan says so: before a body, at its first ``await``, behind it;
* takes what threads return when nothing else is ready on the loop, in the order in which they were begun (one that takes long is
  overtaken): the same scenario goes the same way every time, although its ``def`` tools run in real threads.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from millstream.core.effects import Effect, Ended
from millstream.core.graph import ToolSpec
from millstream.core.identity import step_id
from millstream.engine.outcomes import Outcome, made
from millstream.engine.performer import Call, Performer, Report
from millstream.testing.clock import ThreadGate, VirtualClock, VirtualLoop
from millstream.testing.crashes import Moment, Point, bury

LOST = Outcome(Ended.AMBIGUOUS, error=made("Lost", "the process died"))  # of an attempt that is never reported


class Attempt(msgspec.Struct, kw_only=True, eq=False):
    """One execution of a tool's body, or of its probe, as the world outside saw it; a body that never began is none.

    Attributes:
        tool: its name.
        step: the step's public id.
        run: the run's id.
        number: from 1, as in ``ToolCall.attempt``.
        key: the idempotency key.
        args: as the handler gave them.
        kwargs: as the handler gave them.
        probe: the tool's probe was asked.
        at: when it began, UTC.
        ended: "returned"; "raised"; "cancelled"; "rolled_back" (TRANSACTIONAL, and not committed); "crashed" (the process died
            before its end); None while it runs.
        result: what it returned.
        error: what it raised.
    """

    tool: str
    step: str
    run: str
    number: int
    key: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: bool
    at: datetime
    ended: str | None = None
    result: Any = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        what = "probe" if self.probe else f"attempt {self.number}"
        return f"<{what} of {self.step}: {self.ended or 'running'}>"


class Ledger:
    """What outlives the process: attempts, replaced tools, and the plan of its deaths."""

    def __init__(
        self,
        replaced: Mapping[str, Callable[[ToolSpec], ToolSpec]],
        reached: Callable[[str, list[Moment]], bool],
        clock: VirtualClock,
    ) -> None:
        self.attempts: list[Attempt] = []
        self.reached = reached
        self.clock = clock
        self.replaced = replaced

    def spec(self, spec: ToolSpec) -> ToolSpec:
        """The tool as it is to be performed."""
        replaced = self.replaced.get(spec.name)
        return spec if replaced is None else replaced(spec)

    def performed(self, tool: str) -> collections.Counter[str]:
        """How often bodies of a tool were performed to their end, by idempotency key."""
        done = (attempt for attempt in self.attempts if attempt.tool == tool and attempt.ended == "returned" and not attempt.probe)
        return collections.Counter(attempt.key for attempt in done)


class _Open:
    """An attempt or probe that was started and has not been reported."""

    __slots__ = ("attempt", "step", "effect", "transactional", "threaded", "task", "begun", "cut", "ended", "overdue")

    def __init__(self, attempt: Attempt, step: str, spec: ToolSpec, threaded: bool) -> None:
        self.attempt = attempt
        self.step = step
        self.effect = spec.policy.effect
        self.transactional = spec.database is not None
        self.threaded = threaded
        self.task: asyncio.Task[Any] | None = None
        self.begun = False
        self.cut: Point | None = None  # of a thread: its body is not run, or not committed, and the process dies when it ends
        self.ended: tuple[Any, Outcome] | None = None  # of a thread: its work and its outcome, not reported yet
        self.overdue = False

    def moments(self, *points: Point) -> tuple[str, list[Moment]]:
        attempt = self.attempt
        moments = [Moment(point, attempt.tool, self.step, attempt.run) for point in points]
        return str(moments[-1]), moments


class Bodies(Performer):
    """See the module.

    Args:
        die: ends the process; returns, and nothing of it may go on behind that.
    """

    def __init__(
        self, report: Report, resources: Any, loop: VirtualLoop, *, ledger: Ledger, gate: ThreadGate, die: Callable[[str], None]
    ) -> None:
        super().__init__(self._ended, resources, loop)
        self._tell = report
        self._ledger = ledger
        self._gate = gate
        self._die = die
        self._virtual = loop
        self._open: dict[tuple[int, str], _Open] = {}

    def perform(self, run: int, run_id: str, step: str, attempt: int, key: str, call: Call) -> None:
        spec = self._ledger.spec(call.spec)
        opened = self._opened(run, run_id, step, attempt, key, call, spec, False, not spec.is_async or spec.database is not None)
        if opened.threaded:  # asked here, and not in the thread: in the same order every time
            opened.cut = "intended" if self.dies_before(opened) else "sent" if self.dies_in(opened) else None
        fn = partial(_blocking if opened.threaded else _awaited, self, opened, spec.fn)
        super().perform(run, run_id, step, attempt, key, Call(msgspec.structs.replace(spec, fn=fn), call.args, call.kwargs))

    def probe(self, run: int, run_id: str, step: str, attempt: int, key: str, call: Call) -> None:
        spec = self._ledger.spec(call.spec)
        opened = self._opened(run, run_id, step, attempt, key, call, spec, True, False)
        probe: Any = spec.probe
        fn = partial(_awaited, self, opened, probe)
        super().probe(run, run_id, step, attempt, key, Call(msgspec.structs.replace(spec, probe=fn), call.args, call.kwargs))

    def _opened(
        self, run: int, run_id: str, step: str, number: int, key: str, call: Call, spec: ToolSpec, probe: bool, threaded: bool
    ) -> _Open:
        attempt = Attempt(
            tool=spec.name,
            step=step_id(run_id, step),
            run=run_id,
            number=number,
            key=key,
            args=call.args,
            kwargs=call.kwargs,
            probe=probe,
            at=self._ledger.clock.time,
        )
        opened = self._open[run, step] = _Open(attempt, step, spec, threaded)
        return opened

    # --- what a body goes through (in its task, or in its thread) -----------------------------------------------------------

    def dies_before(self, opened: _Open) -> bool:
        """Of a READ, which has no intent."""
        return opened.effect is Effect.READ and self._ledger.reached(*opened.moments("before_intent", "intended"))

    def dies_in(self, opened: _Open) -> bool:
        return not opened.attempt.probe and self._ledger.reached(*opened.moments("sent"))

    def begin(self, opened: _Open) -> None:
        opened.begun = True
        opened.attempt.at = self._ledger.clock.time
        self._ledger.attempts.append(opened.attempt)

    async def end_here(self, opened: _Open) -> None:
        """Die in the body of a task. Never returns."""
        self._die(opened.moments("sent")[0])
        await self._virtual.create_future()

    def _in_thread(self, work: Any) -> None:
        token = self._gate.enter(f"tool {work.spec.name}")
        if token is None:
            return
        opened = self._open[work.run, work.step]
        try:
            opened.ended = work, self._outcome(work, opened)
        finally:
            self._gate.leave(token)
        try:
            self._virtual.call_soon_threadsafe(_nothing)  # wake it
        except RuntimeError:  # it is closed
            pass

    def _outcome(self, work: Any, opened: _Open) -> Outcome:
        attempt = opened.attempt
        if opened.cut == "intended":
            return LOST
        if opened.cut == "sent" and not opened.transactional:
            self.begin(opened)
            attempt.ended = "crashed"
            return LOST
        outcome = self._call_blocking(work)
        if opened.transactional and attempt.ended == "returned" and outcome.ended is not Ended.SUCCEEDED:
            attempt.ended = "crashed" if opened.cut is not None else "rolled_back"
        return outcome

    # --- its end, on the loop -----------------------------------------------------------------------------------------------

    def _ended(self, run: int, step: str, attempt: int, outcome: Outcome) -> None:
        if outcome.ended is Ended.OVERDUE:
            self._open[run, step].overdue = True
            self._tell(run, step, attempt, outcome)
            return
        opened = self._open.pop((run, step))
        if opened.cut is not None:
            self._die(opened.moments(opened.cut)[0])
        elif opened.begun and self._ledger.reached(*opened.moments("probed" if opened.attempt.probe else "performed")):
            self._die(opened.moments("probed" if opened.attempt.probe else "performed")[0])
        else:
            self._tell(run, step, attempt, outcome)

    def take_ended(self, *, overtaking: bool) -> bool:
        """Report the end of a thread that has ended: of the first one, or with ``overtaking`` of any. False: there is none."""
        for opened in self._open.values():
            if opened.ended is not None:
                self._end(*opened.ended)
                return True
            if opened.threaded and not opened.overdue and not overtaking:
                return False
        return False

    @property
    def overtaken(self) -> bool:
        """Has a thread ended, and waits for one that was begun before?"""
        return any(opened.ended is not None for opened in self._open.values())

    def die(self) -> None:
        """The process has died, and its threads have ended."""
        for opened in self._open.values():
            if opened.begun and opened.attempt.ended is None:
                opened.attempt.ended = "crashed"
        del self._ledger, self._tell  # what is suspended for ever holds this, and need not hold the world

    # --- what time may not pass over ----------------------------------------------------------------------------------------

    @property
    def awaited(self) -> int:
        """Attempts and probes that will be reported in time."""
        return sum(not opened.overdue for opened in self._open.values())

    @property
    def steps(self) -> list[str]:
        """Public ids of the steps whose code runs, or waits to run."""
        return [opened.attempt.step for opened in self._open.values()]

    @property
    def overdue(self) -> int:
        """Those that have outlived their time-out: nobody knows when they end, if ever."""
        return sum(opened.overdue for opened in self._open.values())

    @property
    def threaded(self) -> int:
        """Of those awaited, how many are in threads."""
        return sum(opened.threaded and not opened.overdue for opened in self._open.values())

    @property
    def puzzling(self) -> int:
        """Of those awaited, how many tasks wait for something else than time."""
        tasks = (opened.task for opened in self._open.values() if not opened.overdue and not opened.threaded)
        return sum(task is not None and not self._virtual.only_sleeps(task) for task in tasks)


class _Cut(BaseException):
    """Ends the body of a TRANSACTIONAL tool before its COMMIT."""


def _nothing() -> None:
    pass


async def _awaited(bodies: Bodies, opened: _Open, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    opened.task = asyncio.current_task()
    if bodies.dies_before(opened):
        await bodies.end_here(opened)
    attempt = opened.attempt
    bodies.begin(opened)
    if bodies.dies_in(opened):
        await _first_part(fn(*args, **kwargs), attempt)
        await bodies.end_here(opened)
    try:
        attempt.result = await fn(*args, **kwargs)
    except BaseException as error:
        attempt.ended = "cancelled" if isinstance(error, asyncio.CancelledError) else "raised"
        attempt.error = error
        raise
    attempt.ended = "returned"
    return attempt.result


async def _first_part(body: Any, attempt: Attempt) -> None:
    """Run a body to its first ``await``, or to its end if it has none."""
    bury(body)
    try:
        body.send(None)
    except StopIteration as end:
        attempt.ended, attempt.result = "returned", end.value
    except BaseException as error:
        attempt.ended, attempt.error = "raised", error
    else:
        attempt.ended = "crashed"


def _blocking(bodies: Bodies, opened: _Open, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    bodies.begin(opened)
    attempt = opened.attempt
    try:
        attempt.result = fn(*args, **kwargs)
    except BaseException as error:
        attempt.ended, attempt.error = "raised", error
        raise
    attempt.ended = "returned"
    if opened.cut is not None:
        raise _Cut
    return attempt.result
