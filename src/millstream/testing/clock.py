"""Time for tests: a clock that moves only when it is moved, and an asyncio loop that lives by it.

``VirtualClock`` is the engine's clock; ``VirtualLoop.time()`` is the same clock in seconds, so that ``asyncio.sleep(30)`` in a
tool and ``ctx.sleep("7d")`` in a handler take no time at all. When nothing on the loop is ready it asks its owner what is to be
done: move the time on, stop, or wait, really, for something outside (a thread, a socket) that no clock of ours can hurry.

The kit (``AppRun``) is the owner; both classes stand alone for whoever drives an ``engine.Engine`` in a test of their own.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple, Unpack

from millstream.core.times import EPOCH, utc
from millstream.errors import UsageError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """``engine.clock.Clock`` that stands still until ``move_to``.

    Args:
        start: what it shows first, with its zone.

    Attributes:
        origin: what it showed first, us since 1970 (as all times of an engine's clock).

    Raises:
        UsageError: ``start`` has no zone.
    """

    def __init__(self, start: datetime = START) -> None:
        if start.utcoffset() is None:
            raise UsageError(f"{start!r} has no zone; give tzinfo=UTC")
        self._now = (start - EPOCH).days * 86_400_000_000 + (start - EPOCH).seconds * 1_000_000 + (start - EPOCH).microseconds
        self.origin = self._now

    def start(self, last: int) -> int:
        """Begin at or after the last commit; the engine calls it.

        Args:
            last: engine time of the last commit, us.
        """
        self.move_to(last)
        return self._now

    def now(self) -> int:
        """Engine time, us."""
        return self._now

    def seconds_until(self, at: int) -> float:
        """How far a time is, s; 0 if it has passed.

        Args:
            at: engine time, us.
        """
        return max(0.0, (at - self._now) / 1e6)

    def move_to(self, at: int) -> None:
        """Move on to a time; it never goes back.

        Args:
            at: engine time, us.
        """
        self._now = max(self._now, at)

    @property
    def time(self) -> datetime:
        """What it shows, UTC."""
        return utc(self._now)


class ThreadGate:
    """Code in threads on behalf of one process: how much of it runs, and that none begins once the process is dead."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[object, str] = {}
        self._dead = False

    def enter(self, what: str) -> object | None:
        """Code of this name begins, under the token returned; None: it must not."""
        with self._changed:
            if self._dead:
                return None
            token = object()
            self._running[token] = what
            return token

    def leave(self, token: object) -> None:
        """It has ended."""
        with self._changed:
            del self._running[token]
            self._changed.notify_all()

    def kill(self, timeout: float) -> None:
        """Let nothing begin any more, and wait for what runs: a thread cannot be stopped.

        Raises:
            UsageError: it has not ended ``timeout`` seconds later.
        """
        with self._changed:
            self._dead = True
            if not self._changed.wait_for(lambda: not self._running, timeout):
                raise UsageError(
                    f"the process is to die, and {', '.join(self._running.values())} still runs in a thread after {timeout:g} s: a "
                    "thread cannot be killed. Let it end by itself (release what it waits for before the crash), or make it async"
                )


class _DeadLoop(RuntimeError):
    pass


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is a ``VirtualClock``.

    Args:
        clock: its time, which starts at 0 s here.
        at_rest: called when nothing is ready: (seconds to the loop's next timer or None, seconds really waited since something was
            last ready). It moves the clock or stops the loop and returns 0.0; or returns how many real seconds to wait for
            something from outside, after which it is asked again. What it raises leaves ``run_forever``.
        gate: what ``run_in_executor`` and ``asyncio.to_thread`` start has to pass it.

    Attributes:
        executing: how many of these have not returned.
    """

    def __init__(self, clock: VirtualClock, at_rest: Callable[[float | None, float], float], gate: ThreadGate) -> None:
        self._clock = clock
        self._gate = gate
        self.executing = 0
        self._selector_at_rest = _Selector(at_rest)
        self._sleeping: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()
        super().__init__(self._selector_at_rest)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return (self._clock.now() - self._clock.origin) / 1e6

    def clock_time(self, seconds: float) -> int:
        """The first moment of the clock, us, at which so much time of this loop has passed.

        Args:
            seconds: from now, s.
        """
        due = self.time() + seconds
        at = self._clock.origin + round(due * 1e6)
        return at if (at - self._clock.origin) / 1e6 >= due else at + 1

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if getattr(callback, "__name__", "") == "_set_result_unless_cancelled":  # asyncio.sleep
            of: tuple[Any, ...] = args
            self._sleeping.add(of[0])
        return super().call_at(when, callback, *args, context=context)

    def only_sleeps(self, task: asyncio.Task[Any]) -> bool:
        """Does the task wait for an ``asyncio.sleep``, and so for this loop's time alone?

        Args:
            task: of this loop.
        """
        return getattr(task, "_fut_waiter", None) in self._sleeping

    @property
    def watches(self) -> int:
        """How many sockets and pipes somebody waits for."""
        return len(self._selector_at_rest.get_map()) - 1  # the loop's own pipe

    def run_in_executor(self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, self._through_gate, func, args)
        self.executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, future: asyncio.Future[Any]) -> None:
        self.executing -= 1

    def _through_gate(self, func: Callable[..., T], args: tuple[Any, ...]) -> T:
        token = self._gate.enter(getattr(func, "__qualname__", repr(func)))
        if token is None:
            raise _DeadLoop("the process has died")
        try:
            return func(*args)
        finally:
            self._gate.leave(token)

    def die(self) -> None:
        """Run nothing any more: the callback that calls this is the last one, and ``run_forever`` returns behind it."""
        ready: Any = getattr(self, "_ready")  # noqa: B009 - there since 3.4, and unknown to type checkers
        for handle in ready:
            handle.cancel()
        self.stop()


class _Selector(selectors.DefaultSelector):
    def __init__(self, at_rest: Callable[[float | None, float], float]) -> None:
        super().__init__()
        self._at_rest = at_rest

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        waited = 0.0
        while (wait := self._at_rest(timeout, waited)) > 0:
            began = time.monotonic()
            events = super().select(wait)
            if events:
                return events
            waited = max(waited + time.monotonic() - began, waited + wait)
        return []
