"""One life of the process that an ``AppRun`` plays: a loop, an engine, the app's resources; from its start to its stop, or death.

The engine is the real one, on a store that outlives it. What the engine does in threads of its own (commits, appends to sinks) is
done on the loop instead, in order, so that a scenario goes the same way every time. Time moves when nothing is ready, and as far
as the goal that the loop is run for wants:

    settle      while anything can go on by itself: as ``--until-idle``, sleeps and back-offs are waited for, and receives are not
    advance     to a given time
    until       while a coroutine of the kit has not returned

What no clock of ours can hurry (threads, sockets) is waited for, really; meanwhile virtual time passes as real time does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

import msgspec

from millstream.core import runs as r
from millstream.core.desk import Limits
from millstream.core.facts import Due
from millstream.core.graph import Graph
from millstream.core.identity import run_id
from millstream.core.tables import RECORDS, Commit, RecordRow
from millstream.engine.engine import FORGET_S, Engine, Parts
from millstream.errors import UsageError
from millstream.stores.memory import MemoryStore
from millstream.testing.bodies import Bodies, Ledger
from millstream.testing.clock import ThreadGate, VirtualClock, VirtualLoop
from millstream.testing.crashes import Moment, Point, bury
from millstream.testing.inline import InlineCommitter, InlineWriter

T = TypeVar("T")

GRACE_S = 0.1  # really waited for code that waits for nobody knows what, before time passes over it
PATIENCE_S = 30.0  # really waited for what should come, and nothing says when
THREADS_END_S = 10.0  # really waited for the threads of a process that dies
JUMPS = 25_000  # of time, in one settle

FOREVER = 1 << 62


class Setting(msgspec.Struct, frozen=True):
    """What every life of the process finds: all of it outlives them."""

    graph: Graph
    store: MemoryStore
    clock: VirtualClock
    ledger: Ledger
    limits: Limits | None
    log: Callable[[str, str], None]
    resources: Callable[[], AbstractAsyncContextManager[Any]]


class Process:
    """See the module.

    Attributes:
        dead: how it died, in words; None while it lives.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.clock = setting.clock
        self.dead: str | None = None
        self.problems: list[str] = []  # what asyncio reported
        self._gate = ThreadGate()
        self.loop = VirtualLoop(setting.clock, self._at_rest, self._gate)
        self.loop.set_exception_handler(self._problem)
        self.engine: Engine
        self.bodies: Bodies
        self._resources: AbstractAsyncContextManager[Any] | None = None
        self._main: asyncio.Task[None] | None = None  # there while the engine lives
        self._goal: Callable[[float | None, float], float] = self._wait_for_coroutine
        self._task: asyncio.Task[Any] | None = None
        self._reached = False
        self._until = 0  # engine time, us
        self._jumps = 0
        self._forgot_at = setting.clock.now()

    # --- its life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the resources, recover, read the sources. It may die of that."""
        self._until_done_or_dead(self._start())

    def _until_done_or_dead(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self.until(work)
        except ConnectionResetError:
            if self.dead is None:
                raise

    async def _start(self) -> None:
        setting = self.setting
        manager = setting.resources()
        resources = await manager.__aenter__()
        self._resources = manager
        parts = Parts(
            committer=partial(InlineCommitter, dies=self._dies_at_commit),
            performer=partial(Bodies, ledger=setting.ledger, gate=self._gate, die=self.die),
            writer=InlineWriter,
            timers=False,
        )
        graph = setting.graph
        self.engine = Engine(
            graph,
            setting.store,
            self.clock,
            sources={name: spec.connector.as_source() for name, spec in graph.sources.items()},
            sinks={name: spec.connector.as_sink() for name, spec in graph.sinks.items()},
            resources=resources,
            limits=setting.limits,
            log=setting.log,
            parts=parts,
        )
        bodies: Any = self.engine.performer
        self.bodies = bodies
        self.engine.open()
        self.engine.start()
        self._main = self.loop.create_task(self.engine.run())

    def stop(self, grace: float, *, last: bool = False) -> None:
        """As SIGTERM: steps in flight get ``grace`` seconds of virtual time, all is committed, the resources are let go.

        Args:
            last: nothing follows: threads that hang are left alone.

        Raises:
            UsageError: a thread does not end.
        """
        try:
            self._until_done_or_dead(self._stop(grace))
        finally:
            if self.dead is None:
                self._close(last)

    async def _stop(self, grace: float) -> None:
        main, self._main = self._main, None
        try:
            if main is not None:
                self.engine.stop()
                await asyncio.gather(main, return_exceptions=True)  # what it failed with was raised where it was found
                await self.engine.close(grace)
        finally:
            manager, self._resources = self._resources, None
            if manager is not None:
                await manager.__aexit__(None, None, None)
            await self._cancel_the_rest()

    async def _cancel_the_rest(self) -> None:
        """As ``asyncio.run`` does at its end."""
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=1.0)
        await self.loop.shutdown_asyncgens()

    def _close(self, last: bool) -> None:
        left = asyncio.all_tasks(self.loop)
        if left:
            self._bury(left)
        self.loop.close()
        try:
            self._gate.kill(0.0 if last else THREADS_END_S)
        except UsageError:
            if not last:
                raise

    def die(self, how: str) -> None:
        """The process is dead: nothing of it goes on. Called on its loop, or while that does not run."""
        if self.dead is None:
            self.dead = how
            self.loop.die()

    def bury(self) -> None:
        """After its death: wait for the end of its threads, and keep the rest from ever being finalized.

        Raises:
            UsageError: a thread does not end.
        """
        self.loop.set_exception_handler(lambda loop, context: None)
        self._bury(asyncio.all_tasks(self.loop))
        try:
            self._gate.kill(THREADS_END_S)
        finally:
            self.loop.close()
        if hasattr(self, "bodies"):
            self.bodies.die()
            for holder in (*self.engine.pumps.values(), self.engine):
                vars(holder).clear()  # a grave holds what is suspended, and not a store and a machine besides
        del self.setting

    def _bury(self, tasks: set[asyncio.Task[Any]]) -> None:
        for task in tasks:
            vars_of: Any = task
            vars_of._log_destroy_pending = False
        handlers = vars(self.engine).get("runs") if hasattr(self, "engine") else None
        bury(list(tasks), handlers, self._resources)

    def _problem(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.problems.append(f"{context.get('message')}" + (f": {type(error).__name__}: {error}" if error is not None else ""))

    # --- dying at a commit --------------------------------------------------------------------------------------------------

    def _dies_at_commit(self, commit: Commit, written: bool) -> bool:
        moments = []
        for row in commit.appends.get(RECORDS, ()):
            record = RecordRow(*row)
            point: Point | None = None
            if record.kind == r.INTENDED and record.effect is not None:
                point = "intended" if written else "before_intent"
            elif record.kind == r.RESULTED and written:
                point = "recorded"
            if point is not None and record.step is not None:
                moments.append(Moment(point, record.tool or record.step, record.step, run_id(record.partition, record.run)))
        tables = ", ".join(f"{len(rows)} {table.name}" for table, rows in (*commit.puts.items(), *commit.appends.items()))
        about = f" ({', '.join(map(str, moments))})" if moments else ""
        where = f"{'behind' if written else 'before'} commit {commit.number} of {tables}{about}"
        if not self.setting.ledger.reached(where, moments):
            return False
        self.die(where)
        return True

    # --- going on -----------------------------------------------------------------------------------------------------------

    def settle(self, within: int) -> None:
        """Go on until nothing can go on by itself, or it has died.

        Raises:
            AssertionError: something still goes on ``within`` us later.
            What the engine cannot go on with.
        """
        self._jumps = 0
        self._until = self.clock.now() + within
        self._run(self._wait_for_rest)

    def advance(self, to: int) -> None:
        """Go on until it is ``to``, us, and nothing more happens at that time; or it has died.

        Raises:
            What the engine cannot go on with.
        """
        self._until = to
        self._run(self._wait_for_time)

    def until(self, work: Coroutine[Any, Any, T]) -> T:
        """Go on until a coroutine has returned.

        Raises:
            ConnectionResetError: the process died first.
            What the coroutine raises; or what the engine cannot go on with.
        """
        task = self.loop.create_task(self._and_no_further(work))
        self._run(self._wait_for_coroutine, task)
        if not task.done():
            raise ConnectionResetError("the process died before it answered; what it had committed is kept")
        return task.result()

    async def _and_no_further(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            self.loop.stop()

    def _run(self, goal: Callable[[float | None, float], float], task: asyncio.Task[Any] | None = None) -> None:
        self._goal, self._task, self._reached = goal, task, False
        while self.dead is None and not (self._reached if task is None else task.done()):
            self.loop.run_forever()
            if self._main is not None and self._main.done():
                self._main.result()

    def _at_rest(self, timer: float | None, waited: float) -> float:
        """Nothing on the loop is ready. See ``VirtualLoop``."""
        if self.dead is not None or (self._main is not None and self._main.done()):
            self.loop.stop()
            return 0.0
        if hasattr(self, "bodies"):
            if self.bodies.take_ended(overtaking=waited >= GRACE_S):
                return 0.0
            if self.bodies.overtaken:
                return GRACE_S - waited
        if self._alarm() <= self.clock.now():
            self.engine.feed(Due(self.clock.now()))
            return 0.0
        return self._goal(timer, waited)

    def _wait_for_rest(self, timer: float | None, waited: float) -> float:
        if self._is_idle():
            if self.bodies.overdue and waited < GRACE_S:
                return GRACE_S - waited
            return self._reach()
        at = self._next(timer)
        if at > self._until or self._jumps > JUMPS:
            if at == FOREVER:
                if waited < PATIENCE_S:
                    return PATIENCE_S - waited
                raise AssertionError(f"nothing is left that could go on, and yet it is not at rest: {self._what_goes_on()}")
            raise AssertionError(
                f"it does not come to rest: after {self._jumps} waits, at {self.clock.time}, {self._what_goes_on()}. "
                "Test an app that never rests (it polls) with advance(), and one that needs longer with settle(within=...)"
            )
        self._jumps += 1
        return self._pass_to(at, waited)

    def _wait_for_time(self, timer: float | None, waited: float) -> float:
        if self.clock.now() >= self._until:
            if (self.bodies.threaded or self.bodies.puzzling) and waited < GRACE_S:
                return GRACE_S - waited
            return self._reach()
        return self._pass_to(min(self._next(timer), self._until), waited)

    def _wait_for_coroutine(self, timer: float | None, waited: float) -> float:
        at = self._next(timer)
        if at == FOREVER:
            if waited < PATIENCE_S:
                return PATIENCE_S - waited
            raise AssertionError(f"what the test waits for has not come within {PATIENCE_S:g} s: {self._what_goes_on()}")
        return self._pass_to(at, waited)

    def _reach(self) -> float:
        self._reached = True
        self.loop.stop()
        return 0.0

    def _pass_to(self, at: int, waited: float) -> float:
        """Let it be ``at``; first wait, really, for what could still come before that."""
        need = self._real_wait(at)
        if waited < need:
            return need - waited
        self.clock.move_to(at)
        if self._main is not None and at - self._forgot_at >= FORGET_S * 1e6:
            self._forgot_at = at
            self.engine.feed(Due(at))
            self.engine.forget()
        return 0.0

    def _real_wait(self, at: int) -> float:
        if hasattr(self, "bodies"):
            puzzling, threaded = self.bodies.puzzling > 0, self.bodies.threaded > 0
        else:  # the resources are being made
            puzzling, threaded = self._task is not None and not self.loop.only_sleeps(self._task), False
        if threaded or (puzzling and (self.loop.watches or self.loop.executing)):
            return (at - self.clock.now()) / 1e6
        return GRACE_S if puzzling else 0.0

    # --- what there is to wait for ------------------------------------------------------------------------------------------

    def _next(self, timer: float | None) -> int:
        """When something is due: on the loop, or in the engine."""
        return min(self._alarm(), FOREVER if timer is None else self.loop.clock_time(timer))

    def _alarm(self) -> int:
        """When the engine's next timer or rest is due: as far as it knows, or as the store says.

        Its own alarms to read on in the store, every half minute, are passed over, unless the store holds more than it has read.
        """
        if self._main is None:
            return FOREVER
        desk = self.engine.machine.desk
        timers = [(due, which) for due, _, what, which in desk.alarms if what != "wakes"]
        at = min((due for due, _ in timers), default=FOREVER)
        known = {which for _, which in timers}
        for run in self.setting.store.wakes(at, 1_000_000):
            if run.wake is not None and run.wake > desk.horizon:
                return min(at, run.wake)
            if run.run not in known:
                return min([at, *(due for due, _, what, _ in desk.alarms if what == "wakes")])
        return at

    def _is_idle(self) -> bool:
        engine = self.engine
        return (
            engine.machine.quiet
            and not engine.loader.pending
            and not engine.committer.busy
            and not self.bodies.awaited
            and all(writer.idle for writer in engine.writers.values())
            and not self.setting.store.sleeping(list(self.engine.graph.agents))
        )

    def _what_goes_on(self) -> str:
        if self._main is None:
            return "the app's resources are being made, or let go (its lifespan)"
        left = self.bodies.steps
        active = [run_id(row.partition, row.run) for row in self.setting.store.runs() if row.status in (r.QUEUED, r.RUNNING)]
        sleeping = [run_id(row.partition, row.run) for row in self.setting.store.runs(status=r.WAITING) if row.wake is not None]
        said = [("code of", left), ("active:", active), ("asleep:", sleeping)]
        return "; ".join(f"{what} {', '.join(names[:5])}{', ...' * (len(names) > 5)}" for what, names in said if names) or "nothing"
