"""The asyncio loop of one run: small, deterministic, and driven from outside.

A run is one handling of one event by an agent, and it must do the same again when it is replayed. So its tasks do not live
on the engine's loop, where time, sockets and other runs decide what comes next, but on a `RunLoop` of their own:

1. **Facts enter one at a time.** The engine hands over one observation (completes a step's future, fires a timer) and calls
   `drain`, which runs ready callbacks first in, first out until none is ready. Only then comes the next fact. What a
   handler does is then a function of the order of its facts, and that order is in the record.
2. **Time is a fact.** `time()` is the engine time of the last fact. Timers never fire by themselves: the engine asks `wake`
   and `due`, records, and calls `fire`.
3. **Identity is structural.** Every task has a `Scope`; steps and timers are named by scope path, name and occurrence, so a
   name does not depend on how tasks interleave. Numbers, names and hashes of tasks and futures come from the run, never
   from an address in memory: a set of tasks iterates the same live and replayed.
4. **No I/O.** A socket, file, thread or executor would bring in facts that nobody recorded: `errors.IoInRun` says so. asyncio's
   own is refused here, all other in ``guard``.
5. **The run can be put away** at any time: `put_away` unwinds every task with `errors.RunPutAway` and leaves nothing behind.

Ordinary asyncio is the handler's whole world, so its habits are kept where they cannot be seen from outside the run
(order of callbacks, contexts, tasks kept in `asyncio.all_tasks`) and adapted where they would make replay differ:

- tasks are held strongly until they are done: the garbage collector must not decide when a forgotten one ends;
- an async generator that is dropped is closed at once, as on any loop, but one that only the garbage collector could find
  is closed by `put_away`: when a collection happens depends on the whole process;
- a task that `asyncio.wait_for` makes shares its parent's scope, so that Python 3.11 (which makes one) and later versions
  (which do not) give the same identities;
- anyio cancels nested cancel scopes in the order of their addresses: `_cancel_in_order` wakes their tasks by number instead;
  and it polls, every turn of the loop, until all of them have ended: a drain ends when nothing but polling goes on (`POLLS`).

Everything here belongs to one thread.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import sys
import weakref
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from operator import attrgetter, is_, itemgetter
from threading import get_ident
from types import FrameType, MethodType
from typing import Any, TypeVarTuple, Unpack

from millstream.engine import asyncgens
from millstream.engine.places import place, theirs
from millstream.engine.refusing import Refusing
from millstream.engine.scopes import Scope, made_by_wait_for, name_of, shell_safe
from millstream.engine.tasks import RunFuture, RunTask, RunTimer
from millstream.engine.unwinding import THROWS, finish, unwind
from millstream.errors import HandlerStuck, IoInRun, RunPutAway, UsageError

STUCK = 100_000
"""Callbacks in one drain, in more than `POLLS` turns, after which the handler is taken to be in an endless loop.

A wide handler (a ``gather`` of 100,000) runs as many in a few turns, and ends.
"""

POLLS = 100
"""Identical turns, in which no task took a step, after which a drain leaves the polling callbacks for the next one."""

NEVER = 2**62
"""A time in microseconds that does not come (some 146,000 years): a timer due then or later is not kept in the heap."""

_Ts = TypeVarTuple("_Ts")

_TRACKED_TIMERS = 64  # below this, cancelled timers are left in the heap until they reach its head

_ONE_CURRENT_TASK = sys.version_info >= (3, 14)  # from 3.14 a thread, not a loop, has one current task


_driven: dict[int, RunLoop] = {}


def driven(thread: Callable[[], int] = get_ident, runs: dict[int, RunLoop] = _driven) -> RunLoop | None:
    """The loop of the run that is being driven in this thread.

    As ``asyncio._get_running_loop()`` would say, which until Python 3.14 asks the system for the process id each time [M: 1.5 us].
    (The defaults are for the audit hook, which is also called when modules have been emptied at the end of the process.)
    """
    return runs.get(thread())


_Outer = tuple[asyncio.AbstractEventLoop | None, "RunLoop | None", Any, Any]
"""What to go back to: the loop and the run in whose midst this one is driven, the task of that loop, and the thread's hooks."""


class RunLoop(Refusing):
    """The loop of one run.

    The engine's way through it: ``start``; then for every fact set ``at``, complete a future or ``fire`` a timer, ``drain``;
    when the handler has returned, ``cancel_rest`` and further facts until ``tasks`` is empty; at last, in every case,
    ``put_away``, which also closes what an ended run left open. Call it from plain callbacks of an asyncio or uvloop loop,
    or with no loop at all.

    Attributes:
        run: number of the run, part of the hash of its tasks.
        name: what messages call the run: the id that people know it by.
        at: engine time of the last fact, in microseconds.
        closed: True from before the first throw of ``put_away``; the engine's calls then raise ``RunPutAway``.
        problems: what asyncio reported to the loop (``message``, ``exception``; any other value as its repr).
        outer: the loop that this one is driven inside of; None: whichever runs then.
        alarm: called with ``run`` and the error, in the other thread, when another thread calls into the loop. Its answer can
            never arrive, so a handler that waits for it (``anyio.to_thread``) would wait for ever: fail the run with the error.
    """

    __slots__ = (
        "run", "name", "at", "closed", "problems", "outer", "alarm", "_salt", "_thread", "_running", "_ready", "_root",
        "_unfinished", "_tasks_made", "_futures_made", "_timers", "_heap", "_timers_made", "_generators", "_opened_at", "_dropped",
        "_cancels", "_cancels_from", "_cancels_end",
    )  # fmt: skip

    def __init__(self, run: int, at: int, name: str | None = None) -> None:
        self.run = run
        self.name = str(run) if name is None else name
        self.at = at
        self.closed = False
        self.problems: list[dict[str, Any]] = []
        self.outer: asyncio.AbstractEventLoop | None = None
        self.alarm: Callable[[int, IoInRun], object] | None = None
        self._salt = run * 0x9E37_79B9_7F4A_7C15 % 2**60  # spreads the tasks of many runs over asyncio's sets of all tasks
        self._thread = get_ident()
        self._running = False
        self._ready: list[asyncio.Handle] = []  # lists, not a deque: an empty deque takes 760 bytes
        self._root = Scope("")
        self._unfinished: dict[RunTask, None] = {}
        self._tasks_made = 0
        self._futures_made = 0
        self._timers: dict[str, RunTimer] | None = None  # the live ones by identity
        self._heap: list[tuple[int, int, RunTimer]] = []  # (due, order set, timer); fired and cancelled ones linger
        self._timers_made = 0
        self._generators: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], None] | None = None  # open, in order
        self._opened_at: set[int] | None = None  # the addresses of all that were ever opened
        self._dropped: list[AsyncGenerator[Any, Any]] = []  # left for put_away
        self._cancels: list[tuple[int, list[asyncio.Handle]]] = []
        self._cancels_from = self._cancels_end = -1

    def __repr__(self) -> str:
        return f"<RunLoop run={self.run} at={self.at} unfinished={len(self._unfinished)} closed={self.closed}>"

    # Driving it

    def start(self, coro: Any, *, context: Context | None = None) -> RunTask:
        """Make the task of the handler, in the root scope. It takes its first step in the next `drain`."""
        if self._tasks_made:
            raise UsageError(f"run {self.name} was started twice; a RunLoop serves one handler once.")
        return self._make_task(coro, self._root, None, context)

    def drain(self) -> None:
        """Run callbacks, first in, first out, until none is ready. A loop that was put away does nothing.

        Raises:
            HandlerStuck: there was no end of it after `STUCK` callbacks. The run can then only be put away.
            UsageError: called from within this run.
        """
        if self.closed:
            return
        outer = self._take_over()
        try:
            self._run_ready()
        finally:
            self._hand_back(outer)
            self._cancels.clear()

    def _take_over(self) -> _Outer:
        """Become the running loop of this thread, inside whatever loop runs already."""
        if self._running:
            raise UsageError(f"run {self.name} is already running: its loop cannot be driven from within the run.")
        run, task = _driven.get(self._thread), None
        loop: asyncio.AbstractEventLoop | None = self.outer if run is None else run
        if loop is None or not loop.is_running():
            loop = asyncio._get_running_loop()
        if _ONE_CURRENT_TASK and loop is not None and asyncio.current_task(loop) is not None:
            task = asyncio.tasks._swap_current_task(loop, None)  # type: ignore[attr-defined, unused-ignore]
        hooks = asyncgens.watch(loop is not None)
        asyncio._set_running_loop(self)
        self._running = True
        _driven[self._thread] = self
        return loop, run, task, hooks

    def _hand_back(self, outer: _Outer) -> None:
        loop, run, task, hooks = outer
        self._running = False
        if run is None:
            del _driven[self._thread]
        else:
            _driven[self._thread] = run
        asyncio._set_running_loop(loop)
        if hooks is not None:
            sys.set_asyncgen_hooks(*hooks)
        if task is not None:
            asyncio.tasks._swap_current_task(loop, task)  # type: ignore[attr-defined, unused-ignore]

    def _run_ready(self) -> None:
        turns = calls = repeats = 0
        batch: list[asyncio.Handle] = []
        try:
            while batch := self._ready:
                self._ready = []
                self._cancels_end = -1
                self._run_turn(batch)
                turns += 1
                calls += len(batch)
                if turns > POLLS:  # cheap in every ordinary drain
                    repeats = repeats + 1 if _same_callbacks(batch, self._ready) else 0
                    if repeats > POLLS:
                        break
                    if calls > STUCK:
                        raise HandlerStuck(self._why_stuck(calls))
        finally:
            batch = []  # exceptions keep their frames, and so those of their callers: these must not hold on to tasks

    def _run_turn(self, batch: list[asyncio.Handle]) -> None:
        done = 0
        handle: Any = None
        try:
            for handle in batch:
                done += 1
                if not handle._cancelled:
                    try:
                        handle._context.run(handle._callback, *handle._args)
                    except KeyboardInterrupt:
                        raise
                    except BaseException as error:
                        self._callback_failed(handle, error)
        finally:
            if done < len(batch):  # only when the process is told to end
                self._ready[:0] = batch[done:]
            handle = batch = []

    def _callback_failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        trace = error.__traceback__
        if trace is not None:
            error.__traceback__ = trace.tb_next  # our own frame holds this loop, and so all of the run
        step: Any = handle._callback  # type: ignore[attr-defined]
        if isinstance(error, SystemExit) and isinstance(getattr(step, "__self__", None), asyncio.Task):
            return  # a handler ends its run with it, and not the process: its task holds it as its exception
        self.call_exception_handler({"message": f"Exception in callback {handle!r}", "exception": error})

    def _why_stuck(self, calls: int) -> str:
        busy = ""
        for handle in self._ready:
            task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
            if isinstance(task, asyncio.Task):
                frame = _where_it_waits(task.get_coro())
                where = f" at {place(frame.f_code.co_filename, frame.f_lineno)}" if frame is not None else ""
                busy = f" Last ready: {task.get_name()} ({name_of(task.get_coro())}){where}."
                break
        return (
            f"run {self.name}: the handler ran {calls} callbacks without waiting for a step, a timer or a signal.{busy} "
            "A loop around `await asyncio.sleep(0)` waits for nothing: await an asyncio.Event, a step or ctx.sleep() instead."
        )

    # Callbacks

    def call_soon(self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self.closed:  # what somebody completes late must not keep the run alive
            handle.cancel()
        else:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """The same as `call_soon`: asyncio and anyio use it within one thread too. Another thread is I/O."""
        if get_ident() != self._thread:
            error = IoInRun(
                f"run {self.name}: a thread that its handler started called back into its loop (anyio.to_thread, "
                "run_coroutine_threadsafe), which no replay could repeat: do this in a tool, or record it with ctx.step(name, fn)."
            )
            self.call_exception_handler({"message": str(error), "exception": error})
            if self.alarm is not None and not self.closed:
                self.alarm(self.run, error)
            raise error
        return self.call_soon(callback, *args, context=context)

    def create_future(self) -> RunFuture:
        return RunFuture(self)

    def call_exception_handler(self, context: Any) -> None:
        """Keep what went wrong for the engine, without the objects: they hold the run, and may be dying right now."""
        if not self.closed:
            keep = ("message", "exception")
            self.problems.append({key: value if key in keep else repr(value) for key, value in context.items()})

    default_exception_handler = call_exception_handler

    def get_exception_handler(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self.closed

    # Timers

    def time(self) -> float:
        """Engine time of the last fact, in seconds."""
        return self.at / 1e6

    def call_later(
        self, delay: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = RunTimer(when, callback, args, self, context)
        if self.closed:
            timer.cancel()
            return timer
        due = self._due(when)
        timer.identity = self.scope.identity("timer")
        timer._scheduled = True
        if self._timers is None:
            self._timers = {}
        self._timers[timer.identity] = timer
        if due < NEVER:
            self._timers_made += 1
            heapq.heappush(self._heap, (due, self._timers_made, timer))
        return timer

    def _due(self, when: float) -> int:
        """The first microsecond at which `time` is not before ``when``.

        Multiplying rounds, and a timer that came a hair early would find that its time has not come (anyio looks).
        """
        if when <= self.time():
            return self.at
        if when >= NEVER / 1e6:
            return NEVER
        due = round(when * 1e6)
        while due / 1e6 < when:
            due += 1
        return due

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, RunTimer)
        if not handle._scheduled:
            return
        handle._scheduled = False
        assert self._timers is not None
        del self._timers[handle.identity]
        if len(self._heap) > _TRACKED_TIMERS and len(self._heap) > 2 * len(self._timers):
            self._heap = [entry for entry in self._heap if entry[2]._scheduled]
            heapq.heapify(self._heap)

    @property
    def wake(self) -> int | None:
        """When the earliest live timer is due, in microseconds; None when there is none (or it is never due)."""
        heap = self._heap
        while heap and not heap[0][2]._scheduled:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, at: int) -> str | None:
        """Identity of the earliest timer due at or before ``at`` (microseconds), the one set first among equals."""
        wake = self.wake
        return self._heap[0][2].identity if wake is not None and wake <= at else None

    def has_timer(self, identity: str) -> bool:
        return self._timers is not None and identity in self._timers

    def fire(self, identity: str) -> bool:
        """Make the callback of that timer ready, due or not: the record decides. False if there is no such live timer."""
        timer = self._timers.pop(identity, None) if self._timers is not None else None
        if timer is None:
            return False
        timer._scheduled = False
        self._ready.append(timer)
        return True

    # Tasks and their scopes

    @property
    def scope(self) -> Scope:
        """The scope of the current task; the root where there is none (a bare callback, the engine)."""
        task = asyncio.current_task(self)
        return task.scope if isinstance(task, RunTask) else self._root

    @contextmanager
    def scoped(self, name: str) -> Iterator[Scope]:
        """Name a scope by hand, for the current task and the tasks it makes inside. The name is made `shell_safe`.

        It belongs to the task and not to a context variable, because a context may be shared by tasks or swapped by hand.
        """
        task = asyncio.current_task(self)
        if not isinstance(task, RunTask):
            raise UsageError(f"run {self.name}: scope {name!r} was opened outside the tasks of the run.")
        outer = task.scope
        task.scope = outer.child(shell_safe(name))
        try:
            yield task.scope
        finally:
            task.scope = outer

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any) -> RunTask:
        """Make a task in a scope of its own below that of its maker.

        ``eager_start=True`` works from Python 3.12 on, as deterministically as any other start.
        """
        scope = self.scope
        if not made_by_wait_for():
            scope = scope.child(name_of(coro))
        return self._make_task(coro, scope, name, context, **options)

    def _make_task(self, coro: Any, scope: Scope, name: str | None, context: Context | None, **options: Any) -> RunTask:
        if self.closed:
            options.pop("eager_start", None)  # nothing begins any more; put_away ends it before its first step
        if context is None:
            context = copy_context()
        self._tasks_made += 1
        task = RunTask(coro, self, self._tasks_made, scope, name, context, **options)
        self._unfinished[task] = None
        task.add_done_callback(self._unfinished.pop, context=context)
        return task

    def set_task_factory(self, factory: Any) -> None:
        if factory is not None:
            raise UsageError(
                f"run {self.name}: a task factory was set. A run makes its own tasks, named and ordered for replay: "
                "start one eagerly with eager_start=True."
            )

    def get_task_factory(self) -> None:
        return None

    @property
    def tasks(self) -> list[RunTask]:
        """The unfinished tasks in the order they were made; the handler is the first of them while it runs."""
        return sorted(self._unfinished, key=_number)

    @property
    def has_tasks(self) -> bool:
        """Whether there are unfinished ones."""
        return bool(self._unfinished)

    def cancel_rest(self) -> None:
        """Cancel all unfinished tasks but the handler's; drain afterwards. A task may resist, or take its time."""
        for task in self.tasks:
            if task.number > 1:
                task.cancel()

    def _cancel_in_order(self, task: RunTask, msg: Any | None) -> bool:
        """Cancel a task of an anyio scope, and put its wake-up where its number belongs among those cancelled just before.

        ``CancelScope`` keeps its child scopes in a set hashed by address, and cancels in that order. The set of tasks that
        it cancels in one go is the same in a replay, so sorting what it made ready is enough.
        """
        ready = self._ready
        if self._cancels_end != len(ready):
            self._cancels, self._cancels_from = [], len(ready)
        before = len(ready)
        cancelled = asyncio.Task.cancel(task, msg)
        group = (task.number, ready[before:])
        in_order = not self._cancels or self._cancels[-1][0] < task.number
        insort(self._cancels, group, key=_first)
        if not in_order:
            ready[self._cancels_from :] = [handle for _, handles in self._cancels for handle in handles]
        self._cancels_end = len(ready)
        return cancelled

    # Async generators

    def generator_opened(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._generators is None:
            self._generators = weakref.WeakKeyDictionary()
        self._generators[generator] = None
        if self._opened_at is None:
            self._opened_at = set()
        self._opened_at.add(id(generator))

    def generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close it now, in a task below the one that dropped it; or at the end, if a garbage collection found it.

        The hook may come from a collection in any thread, at any time, long after the run too.
        """
        if self.closed and not self._running:
            return
        here = get_ident()
        if self.closed or not self._running or here != self._thread or here == _collecting_in:
            self._dropped.append(generator)
        else:
            scope = self.scope.child(f"{name_of(generator)}.aclose")
            self._make_task(generator.aclose(), scope, None, None)

    # The end

    def put_away(self, error: RunPutAway) -> None:
        """End every task by throwing `RunPutAway` (with the arguments of ``error``) where it waits, and forget everything.

        The youngest task goes first: a task is younger than its maker, and what its ``finally`` uses (a client, a lock, an
        ``async with`` of the maker) is still open then. Whatever a task awaits on its way out is refused in the same way, so
        that it comes to its end now; after `THROWS` times its coroutine is closed. A task that never started ends without a
        step. Async generators still open get the same. Nothing is logged, and no cycle of references of ours is left.

        Raises:
            UsageError: called from within the run.
            KeyboardInterrupt: one was raised meanwhile; everything is put away all the same.
        """
        if self.closed:
            return
        if not (self._unfinished or self._ready or self._timers or self._generators or self._dropped):
            self.closed, self._heap = True, []  # as most runs end: nothing is left of it
            if self._opened_at is not None:
                asyncgens.forget(self, self._opened_at)
            return
        outer = self._take_over()
        interrupts: list[BaseException] = []
        try:
            self.closed = True
            self._cancel_callbacks()
            ended: list[RunTask] = []
            for _ in range(THROWS):  # on its way out code may make tasks and open generators; none of those starts by itself
                tasks = self.tasks or self._closers()
                if not tasks:
                    break
                for task in reversed(tasks):
                    unwind(self, task, error, interrupts)
                ended += tasks
            finish(ended, error, interrupts)
        finally:
            self._hand_back(outer)
            self._unfinished.clear()
            self._generators = None
            self._dropped = []
            if self._opened_at is not None:
                asyncgens.disown(self, self._opened_at)
        if interrupts:
            raise interrupts[0]

    def _cancel_callbacks(self) -> None:
        """Empty them too: who keeps a handle (a timeout, a cancel scope) is often what it calls, and that is a cycle."""
        timers, self._timers, self._heap = self._timers, None, []
        for timer in (timers or {}).values():
            timer._scheduled = False
            timer.cancel()
        ready, self._ready = self._ready, []
        for handle in ready:
            handle.cancel()

    def _closers(self) -> list[RunTask]:
        generators = [*(self._generators or ()), *self._dropped]  # in the order they were opened
        self._generators = None
        self._dropped = []
        return [self._make_task(generator.aclose(), self._root, None, None) for generator in generators]


def _where_it_waits(coro: Any) -> FrameType | None:
    """The innermost frame of the user's in a chain of coroutines that await each other; of anybody's where there is none."""
    found = None
    while coro is not None:
        for kind in ("cr", "gi", "ag"):  # coroutines, the generators that they end in, async generators
            if hasattr(coro, f"{kind}_frame"):
                break
        else:
            break
        frame = getattr(coro, f"{kind}_frame")
        if frame is not None and (found is None or theirs(frame.f_code.co_filename)):
            found = frame
        coro = getattr(coro, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return found


_number = attrgetter("number")
_first = itemgetter(0)


def _same_callbacks(before: list[asyncio.Handle], after: list[asyncio.Handle]) -> bool:
    """Whether a turn did nothing but make itself ready again. A task's step never equals another one."""
    return len(before) == len(after) and all(map(_same_callback, before, after))


def _same_callback(one: Any, two: Any) -> bool:
    left, right = one._callback, two._callback
    if left is not right and not (isinstance(left, MethodType) and isinstance(right, MethodType) and left == right):
        return False
    these, those = one._args or (), two._args or ()  # None when cancelled
    return len(these) == len(those) and all(map(is_, these, those))


_collecting_in = 0
"""The thread that is collecting garbage right now, or 0."""


def _note_collection(phase: str, info: dict[str, int]) -> None:
    """Keep `_collecting_in`: an async generator dropped by a collection must be told from one that the handler dropped."""
    global _collecting_in
    _collecting_in = get_ident() if phase == "start" else 0


gc.callbacks.append(_note_collection)
