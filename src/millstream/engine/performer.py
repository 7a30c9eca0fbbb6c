"""Executes attempts and probes: one when told to, and exactly one end reported for each.

The pure core decides *what* follows an end (``core.effects``); here is only *how* code is run and how it ends. Rules:

* an attempt ends when its code has ended. Cancellation and time-outs are delivered to an ``async def``; a thread cannot be
  stopped. The one report that comes before the end is ``OVERDUE``: of a thread when its time-out has passed, of a coroutine
  when it has not ended ``overdue_after`` seconds after its cancellation. Its real end is reported when it comes;
* a result that comes after the time-out is the outcome all the same: it is evidence. (TRANSACTIONAL is the exception. What is
  cancelled or overdue loses its right to commit, and is rolled back: see ``transactions``.)
* nothing of a step starts while code of the same step still runs here: that is the caller's bug and a ``RuntimeError``;
* how many attempts run at once is the core's business (``core.slots``);
* what is withdrawn before its code began (cancelled while it waits for a thread, or the engine stops) was not sent, and says so;
* code runs in a copy of the context in which the performer was made, in a task or thread of its own: outside the scopes and
  variables of the run that asked for it, first attempt and retry alike;
* reports are made on the loop's thread, and never from inside ``perform``, ``probe``, ``cancel`` or ``stop``;
* subprocesses that a tool starts are its own business: if they outlive the attempt, its class is not kept.

This is the hot path of every step [M: 1.2 us above a bare task, 3-5 us in all]: an attempt is one task and nothing else. No
``wait_for``, no done-callback (the task reports as its last act), and no timer of its own: attempts with the same time-out fall
due in the order in which they began, so one timer for each time-out in use will do.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from millstream.core.calls import ToolCall
from millstream.core.effects import Ended
from millstream.core.graph import ToolSpec
from millstream.core.identity import step_id
from millstream.engine.outcomes import Outcome, answered, failed, made, probe_failed, succeeded
from millstream.engine.threads import Job, Threads
from millstream.engine.transactions import Right, transact

THREADS = 128  # core.desk.Limits lets in 64 attempts that block; the others are for probes


class Call(msgspec.Struct):
    """A tool with the live arguments, as the handler gave them."""

    spec: ToolSpec
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Report = Callable[[int, str, int, Outcome], None]
"""Takes the end of an attempt or probe: (run, step, attempt, outcome). Called on the loop's thread; must not raise."""


class _Work(msgspec.Struct, eq=False):
    """An attempt or a probe, from being asked for to its end."""

    run: int
    step: str
    attempt: int
    key: str
    spec: ToolSpec
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probing: bool
    task: asyncio.Task[None] | None = None
    job: Job | None = None
    right: Right | None = None  # of a TRANSACTIONAL attempt
    timer: asyncio.TimerHandle | None = None
    begun: bool = False  # a coroutine: its first step was made
    withdrawn: bool = False  # its code will never begin; the report is on its way
    timed_out: bool = False
    cancelled: bool = False


class Performer:
    """Runs the code of effects on ``loop`` and in daemon threads. Every method is for the loop's thread.

    Args:
        report: takes each end.
        resources: what the app's ``lifespan`` yielded, for ``ToolCall.resources``.
        threads: where ``def`` tools run; None: a pool of its own.
        overdue_after: seconds from cancelling a coroutine to calling it overdue.
    """

    def __init__(
        self,
        report: Report,
        resources: Any,
        loop: asyncio.AbstractEventLoop,
        *,
        threads: Threads | None = None,
        overdue_after: float = 5.0,
    ) -> None:
        self._report = report
        self._resources = resources
        self._loop = loop
        self._threads = Threads(THREADS) if threads is None else threads
        self._overdue_after = overdue_after
        self._context = contextvars.copy_context()
        self._works: dict[tuple[int, str], _Work] = {}
        self._hung: dict[_Work, None] = {}  # attempts in threads that have outlived their time-out
        self._deadlines = _Deadlines(loop, self._due)
        self._stopped = False
        self._emptied: asyncio.Future[None] | None = None

    # --- commands ---------------------------------------------------------------------------------------------------------

    def perform(self, run: int, run_id: str, step: str, attempt: int, key: str, call: Call) -> None:
        """Start an attempt.

        Raises:
            RuntimeError: code of this step still runs here.
        """
        spec = call.spec
        kwargs = call.kwargs
        if spec.call_parameter is not None:
            kwargs = {**kwargs, spec.call_parameter: ToolCall(key, attempt, run_id, step_id(run_id, step), self._resources)}
        work = _Work(run, step, attempt, key, spec, spec.fn, call.args, kwargs, False)
        self._admit(work)
        if self._stopped:
            self._withdraw(work, "the engine is stopping")
        else:
            self._start(work)

    def probe(self, run: int, run_id: str, step: str, attempt: int, key: str, call: Call) -> None:
        """Ask the tool's probe, at once, whether the step happened. It may be asked after `stop`.

        Ends with ``SUCCEEDED`` (the answer was ``Done``), ``NOT_DONE``, ``UNKNOWN``, or ``UNANSWERED`` (it raised, or was cancelled
        when its time-out had passed); or with ``OVERDUE`` before one of these.

        Raises:
            RuntimeError: code of this step still runs here, or its tool has no probe.
        """
        spec = call.spec
        if spec.probe is None:
            raise RuntimeError(f"step {step} of run {run_id}: tool {spec.name} has no probe")
        args = (ToolCall(key, attempt, run_id, step_id(run_id, step), self._resources), *call.args)
        work = _Work(run, step, attempt, key, spec, spec.probe, args, call.kwargs, True)
        self._admit(work)
        if _is_coroutine_function(spec.probe):
            self._start_task(work)
        else:
            self._start_thread(work)

    def cancel(self, run: int, step: str) -> None:
        """Deliver cancellation to the code of a step; its end is still reported. Does nothing where none runs.

        To a thread nothing can be delivered; but a TRANSACTIONAL attempt whose COMMIT has not begun will be rolled back.
        """
        work = self._works.get((run, step))
        if work is None or work.withdrawn or work.cancelled:
            return
        if work.job is not None and work.job.withdraw():
            self._withdraw(work, "the step was cancelled")
            return
        work.cancelled = True
        if work.task is not None:
            self._cancel_task(work)
            if not work.begun:
                self._withdraw(work, "the step was cancelled")
        elif work.right is not None:
            work.right.revoke(made("CancelledError", f"tool {work.spec.name} was cancelled before COMMIT, and is rolled back"))

    def stop(self) -> None:
        """Refuse new attempts, and withdraw those whose code has not begun: both end as not sent."""
        self._stopped = True
        for work in list(self._works.values()):
            if not work.withdrawn and not work.probing and work.job is not None and work.job.withdraw():
                self._withdraw(work, "the engine is stopping")

    def cancel_all(self) -> None:
        """Deliver cancellation to all that still runs."""
        for run, step in list(self._works):
            self.cancel(run, step)

    async def drain(self, timeout: float) -> int:
        """Wait until nothing runs or waits, for at most ``timeout`` seconds. Returns how many are left."""
        if self._works:
            if self._emptied is None:
                self._emptied = self._loop.create_future()
            await asyncio.wait({self._emptied}, timeout=timeout)
        return len(self._works)

    # --- questions --------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Attempts and probes that were started and have not ended, the overdue among them."""
        return len(self._works)

    def hung(self) -> Counter[str]:
        """How many attempts in threads have outlived their time-out and still run, by tool: each keeps its thread until it ends."""
        return Counter(work.spec.name for work in self._hung)

    def busy(self, run: int, step: str) -> bool:
        """Does code of this step run, or wait to run, here? Then neither attempt nor probe of it may start."""
        return (run, step) in self._works

    # --- the beginning ------------------------------------------------------------------------------------------------------

    def _admit(self, work: _Work) -> None:
        place = (work.run, work.step)
        earlier = self._works.get(place)
        if earlier is not None:
            raise RuntimeError(
                f"step {work.step} of run {work.run}: attempt {work.attempt} was to start while code of attempt {earlier.attempt} "
                f"still runs here; wait until its end is reported"
            )
        self._works[place] = work

    def _start(self, work: _Work) -> None:
        if work.spec.database is not None:
            work.right = Right()
            self._start_thread(work)
        elif work.spec.is_async:
            self._start_task(work)
        else:
            self._start_thread(work)

    def _start_task(self, work: _Work) -> None:
        # Not loop.create_task: an eager task factory would make the first step, and perhaps the report, inside ``perform``.
        work.task = asyncio.Task(self._attend(work), loop=self._loop, context=self._context.copy())

    def _start_thread(self, work: _Work) -> None:
        try:
            work.job = self._threads.start(partial(self._in_thread, work), work.spec.name, self._context.copy())
        except RuntimeError as error:
            self._withdraw(work, str(error))
        else:
            work.timer = self._loop.call_later(work.spec.policy.timeout / 1e6, self._thread_due, work)

    def _withdraw(self, work: _Work, reason: str) -> None:
        """Its code has not begun, and never will."""
        work.withdrawn = True
        error = made("NotSent", f"{work.spec.name} was withdrawn before its code began: {reason}")
        ended = Ended.UNANSWERED if work.probing else Ended.NOT_SENT
        self._loop.call_soon(self._end, work, Outcome(ended, error=error))

    # --- the code -----------------------------------------------------------------------------------------------------------

    async def _attend(self, work: _Work) -> None:
        """The task of an attempt or probe: its code, and the report of its end."""
        work.begun = True
        self._deadlines.add(work)
        outside = sys.exc_info()[1]
        try:
            value = await work.fn(*work.args, **work.kwargs)
        except GeneratorExit as error:
            if asyncio.current_task(self._loop) is not work.task:
                raise  # nobody raised this: the loop is gone, and the garbage collector closes what it left
            outcome = self._raised(work, error, outside)
        except BaseException as error:
            outcome = self._raised(work, error, outside)
        else:
            outcome = answered(work.spec, value) if work.probing else succeeded(work.spec, value)
        self._end(work, outcome)

    def _in_thread(self, work: _Work) -> None:
        """The job of an attempt or probe: its code, and handing its end to the loop."""
        outcome = self._call_blocking(work)
        try:
            self._loop.call_soon_threadsafe(self._end, work, outcome)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            pass

    def _call_blocking(self, work: _Work) -> Outcome:
        try:
            if work.right is not None:
                return transact(work.spec, work.key, work.args, work.kwargs, work.right)
            value = work.fn(*work.args, **work.kwargs)
            return answered(work.spec, value) if work.probing else succeeded(work.spec, value)
        except BaseException as error:
            return self._raised(work, error, None)

    def _raised(self, work: _Work, error: BaseException, outside: BaseException | None) -> Outcome:
        spec = work.spec
        if isinstance(error, asyncio.CancelledError) and (work.timed_out or work.cancelled):
            kind, why = ("TimeoutError", _timeout_text(spec)) if work.timed_out else ("CancelledError", "cancelled while it ran")
            ended = Ended.UNANSWERED if work.probing else Ended.AMBIGUOUS
            return Outcome(ended, error=made(kind, f"{'the probe of ' * work.probing}{spec.name}: {why}"))
        return probe_failed(spec, error) if work.probing else failed(spec, error, outside)

    def _end(self, work: _Work, outcome: Outcome) -> None:
        """Its code has ended. All is put in order first: the report may start the next attempt at once."""
        del self._works[work.run, work.step]
        if work.begun:
            self._deadlines.discard(work)
        if work.timer is not None:
            work.timer.cancel()
        if self._hung:
            self._hung.pop(work, None)
        if self._emptied is not None and not self._works:
            self._emptied.set_result(None)
            self._emptied = None
        self._report(work.run, work.step, work.attempt, outcome)

    # --- time-outs ------------------------------------------------------------------------------------------------------------

    def _due(self, work: _Work) -> None:
        """The time-out of a coroutine has passed."""
        work.timed_out = True
        self._cancel_task(work)

    def _cancel_task(self, work: _Work) -> None:
        assert work.task is not None
        self._deadlines.discard(work)
        work.task.cancel()
        if work.timer is None and work.begun:
            work.timer = self._loop.call_later(self._overdue_after, self._overdue, work)

    def _thread_due(self, work: _Work) -> None:
        """The time-out of a thread may have passed: it counts from when its code began, not from when it was put in line."""
        assert work.job is not None
        spec = work.spec
        timeout = spec.policy.timeout / 1e6
        left = timeout if work.job.began is None else work.job.began + timeout - time.monotonic()
        if left > 0:
            work.timer = self._loop.call_later(max(left, 0.001), self._thread_due, work)
            return
        if work.right is not None:
            work.right.revoke(made("TimeoutError", f"{spec.name}: {_timeout_text(spec)}; it is rolled back"))
        self._overdue(work)

    def _overdue(self, work: _Work) -> None:
        spec = work.spec
        if work.job is not None and not work.probing:
            self._hung[work] = None
        why = "cancelled" if work.cancelled and not work.timed_out else _timeout_text(spec)
        error = made("TimeoutError", f"{'the probe of ' * work.probing}{spec.name}: {why}, and its code still runs")
        self._report(work.run, work.step, work.attempt, Outcome(Ended.OVERDUE, error=error))


class _Deadlines:
    """Tells of coroutines whose time-out has passed.

    Those with the same time-out fall due in the order in which they began: one line, and one timer, for each time-out in use.
    [M: 0.2 us an attempt; a timer each costs 1.3 us on asyncio, 0.6 us on uvloop, and its cancelled handle stays in the heap.]
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[_Work], None]) -> None:
        self._loop = loop
        self._tell = due
        self._lines: dict[int, dict[_Work, float]] = {}  # time-out, us -> its works and their deadlines, earliest first

    def add(self, work: _Work) -> None:
        timeout = work.spec.policy.timeout
        deadline = self._loop.time() + timeout / 1e6
        line = self._lines.get(timeout)
        if line is None:
            line = self._lines[timeout] = {}
            self._loop.call_at(deadline, self._fire, timeout)
        line[work] = deadline

    def discard(self, work: _Work) -> None:
        line = self._lines.get(work.spec.policy.timeout)
        if line is not None:
            line.pop(work, None)

    def _fire(self, timeout: int) -> None:
        line = self._lines[timeout]
        now = self._loop.time()
        due = []
        for work, deadline in line.items():
            if deadline > now:
                self._loop.call_at(deadline, self._fire, timeout)
                break
            due.append(work)
        else:
            del self._lines[timeout]
        for work in due:
            line.pop(work, None)
            self._tell(work)


def _timeout_text(spec: ToolSpec) -> str:
    return f"its time-out of {spec.policy.timeout / 1e6:g} s has passed"


def _is_coroutine_function(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
