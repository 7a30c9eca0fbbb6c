"""``AppRun``: an app under test, with its world. Plain functions, no plugin, no files, no waiting, and crashes on demand.

    def test_a_refund_waits_for_approval():
        with AppRun(app, tools={charge: fake_charge}) as world:
            world.send(orders, {"order_id": "o1", "customer": "ann", "cents": 500_000})
            world.settle()
            run = world.run_of("o1").expect("waiting")
            world.signal(run, "approval", {"ok": True}, about="o1", by="bob")
            world.settle()
            assert world.outputs(fulfil.output) == [...]

The engine, the record, replay and the classes of effects are the real ones; the store is in memory, time is virtual, and what is
declared as a source or a sink is a list. The world (what was sent and written, what tools did, what is committed) outlives the
process, which dies when the test says so, and recovers from what was committed.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar, overload

from millstream.agents.agent import Agent
from millstream.agents.app import App
from millstream.agents.durations import Duration, microseconds
from millstream.agents.streams import Stream
from millstream.agents.tools import Tool
from millstream.core.desk import Limits
from millstream.core.graph import Graph
from millstream.core.identity import run_id, step_id
from millstream.core.runs import json_decode
from millstream.errors import NotFound, UsageError
from millstream.runtime.operations import Operations
from millstream.stores.memory import MemoryStore
from millstream.testing.bodies import Attempt
from millstream.testing.clock import START, VirtualClock
from millstream.testing.crashes import Crash, CrashAt, Point
from millstream.testing.ends import Ends
from millstream.testing.lives import Lives
from millstream.testing.process import Process
from millstream.testing.replacements import replacements
from millstream.testing.views import DeadLetter, Run, Status, Step, clock_text

S = TypeVar("S")
T = TypeVar("T")

LIFESPAN: Any = type("Lifespan", (), {"__repr__": lambda self: "LIFESPAN", "__slots__": ()})()
"""Resources are what the app's own lifespan yields."""

NOT_GIVEN: Any = object()
TOLD = 20  # runs in a story


class AppRun:
    """An app under test, with its world: in memory, in virtual time, and with crashes on demand. A context manager: the app is
    started at its beginning, and stopped at its end.

    The engine, the record, replay and the classes of effects are the real ones; the store is in memory, and what is declared as a
    source or a sink is a list. What was sent and written, what tools did and what is committed outlives the process.

    Args:
        app: its declared sources and sinks are not opened: ``send`` takes the place of the ones, ``outputs`` of the others.
        tools: other bodies for a test: ``{charge: fake}``, by tool or name. A function is called as the tool is, and keeps its
            class, policy, probe and database; a tool of the same class brings its own probe and database.
        resources: what the handlers and tools get instead of what the app's lifespan yields.
        start: the time at which it begins.
        put_away: every run that waits is put away at once, and comes back by replay: what a handler must survive anyway.
        limits: of the engine; None: those that it has in production.
        seed: identities, idempotency keys and ``ctx.random()`` are the same in every test with the same seed.
        crash: one of ``every_crash()``.

    Attributes:
        log: what an operator would have read, as (level, text).

    Raises:
        DeclarationError: the app is declared wrongly, or a replacement cannot be one of its tool's class.
        UsageError: a replacement is for no tool of the app, or is not called as the tool is.
    """

    def __init__(
        self,
        app: App,
        *,
        tools: Mapping[Any, Callable[..., Any]] | None = None,
        resources: Any = LIFESPAN,
        start: datetime = START,
        put_away: bool = False,
        limits: Limits | None = None,
        seed: int = 0,
        crash: Crash | None = None,
    ) -> None:
        limits = copy.copy(limits or Limits())
        if put_away:
            limits.idle = 0
        self._tools = dict(tools or {})
        self._crash = crash
        self._clock = VirtualClock(start)
        self._ends = Ends()
        graph = self._ends.rewritten(app.graph())
        replaced = replacements(self._tools, graph.tools)
        self._store = MemoryStore(app=graph.app, partitions=graph.partitions, store_id=f"{seed:032x}", created=self._clock.now())
        given = None if resources is LIFESPAN else functools.partial(nullcontext, resources)
        self._lives = Lives(graph, replaced, self._store, self._clock, limits, given)
        if crash is not None:
            self._lives.plans.append(crash)
        self.log = self._lives.log
        self._entered = False

    # --- its life -----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> AppRun:
        if self._entered:
            raise UsageError("an AppRun is used once; make another one")
        if asyncio._get_running_loop() is not None:
            raise UsageError("AppRun has a loop of its own, and one runs here already: make the test a plain def")
        self._entered = True
        self._lives.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.story())
        try:
            self._lives.end()
        except Exception:
            if error is None:
                raise

    def crash(self) -> None:
        """Let the process die now, as ``kill -9`` would, and start it again: what was not committed is lost, the code of tools
        runs no further, and the run of every event that was sent goes on from its record.

        Raises:
            UsageError: a tool's thread does not end: nothing can kill it.
        """
        self._lives.die("crash()")

    def crash_at(self, step: str | Tool[..., Any], point: Point, *, nth: int = 1, times: int = 1) -> CrashAt:
        """``with world.crash_at(charge, "performed"): world.settle()``: let the process die when a step is at this point.

        It is started again at once, and what runs it (``settle``, ``advance``) goes on. Leaving the block without the crash
        having happened is an ``AssertionError``.

        Args:
            step: a tool, its name, or the name of a step.
            point: where the step is. In the order of the choices: nothing of it is durable; its intent is durable; its body runs;
                its body has ended and nobody was told; its outcome is durable; its probe has answered and nobody was told.
            nth: at which time that the point is reached, counted from 1.
            times: how many deaths, from then on.

        Raises:
            UsageError: there is no such point.
        """
        name = step.name if isinstance(step, Tool) else step
        return CrashAt(name, point, nth, times, self._lives, self.story)

    def restart(self, app: App | None = None, *, grace: Duration = "25s") -> None:
        """Stop the process as SIGTERM does, and start it again: with ``app``, a deployment of its next version.

        Args:
            app: the next version; None: the same.
            grace: what steps in flight get, of virtual time.

        Raises:
            DeclarationError: the new version is declared wrongly.
        """
        _ = self._alive  # where nothing runs, nothing is deployed
        if app is not None:
            graph = self._ends.rewritten(app.graph())
            self._lives.deploy(graph, replacements(self._tools, graph.tools))
        self._lives.restart(microseconds(grace) / 1e6)

    @property
    def _alive(self) -> Process:
        return self._lives.alive

    @property
    def _graph(self) -> Graph:
        return self._lives.graph

    # --- doing --------------------------------------------------------------------------------------------------------------

    def send(self, to: Stream[Any] | Agent[Any, Any, Any] | str, *values: Any, key: str | int | None = None) -> None:
        """Send events. They are read when the app goes on (``settle``, ``advance``).

        Args:
            to: a source, by object or name: the values go through its decoding, key, id and dedupe, and what does not fit becomes
                a dead letter. Or an agent: as ``ctx.send`` would.
            values: anything that has a JSON form; ``bytes`` are a line as it is.
            key: of the agent's instance; a source makes the key itself.

        Raises:
            NotFound: there is no such source or agent.
            UsageError: a key is missing, or given to a source; JSON cannot hold a value.
        """
        if isinstance(to, Stream):
            source = self._ends.source(to.name)
        elif isinstance(to, Agent) or to not in self._ends.sources:
            name = to.name if isinstance(to, Agent) else to
            self._ends.to_agent(name, self._graph.agents.get(name), key, values)
            return
        else:
            source = self._ends.source(to)
        if key is not None:
            raise UsageError("send: a source makes the keys of its events itself; leave key= out")
        source.put(*values)

    def settle(self, *, within: Duration = "365d") -> None:
        """Go on until nothing can go on by itself. Sleeps and back-offs are waited for, in no time; signals, answers, doubts and
        time-outs of a wait for them are not.

        Args:
            within: more virtual time than this is a failure.

        Raises:
            AssertionError: it does not come to rest.
            MillstreamError: what the engine cannot go on with.
        """
        self._lives.settle(self._clock.now() + microseconds(within))

    def advance(self, duration: Duration) -> None:
        """Let time pass, exactly so much: whatever is due meanwhile happens when it is due, and what can go on then does.

        Args:
            duration: of virtual time; 0 lets happen what can happen now.

        Raises:
            MillstreamError: what the engine cannot go on with.
        """
        self._lives.advance(self._clock.now() + microseconds(duration))

    def signal(
        self,
        to: Run | Agent[Any, Any, Any] | str,
        name: str,
        value: Any = None,
        *,
        key: str | int | None = None,
        about: str | int | None = None,
        id: str | None = None,
        by: str | None = None,
    ) -> bool:
        """Send a signal to a run, or to an agent's instance (then give ``key``). False: its ``id`` was seen before.

        Args:
            to: a run, or an agent as an object or by name.
            name: of the signal.
            value: anything that has a JSON form.
            key: of the agent's instance.
            about: what it is about, where the handler asks for that.
            id: a second signal with this id is a duplicate; None: it is one of a kind.
            by: who sends it.

        Raises:
            NotFound, UsageError: there is no such agent, or the run has ended.
            ConnectionResetError: the process died before it answered.
        """
        where = None if about is None else str(about)
        if isinstance(to, Run):
            work = self._operations.signal(name, value, run=to.id, about=where, id=id, by=by)
        else:
            agent = to if isinstance(to, str) else to.name
            work = self._operations.signal(
                name, value, agent=agent, key=None if key is None else str(key), about=where, id=id, by=by
            )
        answer: str | None = self._ask(work)
        return answer != "duplicate"

    def resolve(
        self, doubt: Step | str, *, result: Any = NOT_GIVEN, retry: bool = False, fail: str | None = None, by: str | None = None
    ) -> None:
        """Settle a step in doubt, in one of three ways.

        Args:
            doubt: the step (from ``doubts()`` or ``run.step(...)``), or its id.
            result: it happened, and returned this.
            retry: perform it again.
            fail: it did not happen, because of this.
            by: who says so.

        Raises:
            UsageError: it is not in doubt, or none, or more than one of these is given.
            ConnectionResetError: the process died before it answered.
        """
        given = {"result": result is not NOT_GIVEN, "retry": retry, "fail": fail is not None}
        if sum(given.values()) != 1:
            raise UsageError("resolve: give one of result=, retry=True and fail='why'")
        (kind,) = (kind for kind, is_given in given.items() if is_given)
        step = doubt if isinstance(doubt, str) else doubt.id
        self._ask(self._operations.resolve(step, kind, {"result": result, "retry": None, "fail": fail}[kind], by))

    def retry(self, run: Run, *, by: str | None = None) -> None:
        """Try a failed, diverged or cancelled run again.

        Args:
            run: which.
            by: who says so.

        Raises:
            UsageError: it is none of these.
            ConnectionResetError: the process died before it answered.
        """
        self._ask(self._operations.retry(run.id, by))

    def cancel(self, run: Run, *, by: str | None = None) -> None:
        """Cancel a run: ``CancelledError`` in its handler.

        Args:
            run: which.
            by: who says so.

        Raises:
            UsageError: it has ended.
            ConnectionResetError: the process died before it answered.
        """
        self._ask(self._operations.cancel(run.id, by))

    def retry_letters(self) -> dict[str, Any]:
        """Try all dead letters again: as the command, with the same figures ("retried": those that became events)."""
        retried: dict[str, Any] = self._ask(self._operations.retry_letters())
        return retried

    @property
    def _operations(self) -> Operations:
        return Operations(self._alive.engine)

    def _ask(self, work: Any) -> Any:
        return self._lives.until(work)

    # --- looking ------------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """Engine time, UTC."""
        return self._clock.time

    def runs(
        self, agent: Agent[Any, Any, Any] | str | None = None, *, key: str | int | None = None, status: Status | None = None
    ) -> list[Run]:
        """Runs, oldest first; all of them, or those that fit.

        Args:
            agent: only its runs.
            key: only those of this key.
            status: only those that have it now.

        Raises:
            NotFound: there is no such agent.
        """
        name = agent.name if isinstance(agent, Agent) else agent
        if name is not None and name not in self._graph.agents:
            raise NotFound(f"there is no agent {name!r}; there are {', '.join(sorted(self._graph.agents))}")
        rows = self._store.runs(agent=name, key=None if key is None else str(key), status=status)
        return [self._run(row.run) for row in reversed(list(rows))]

    def run(
        self, agent: Agent[Any, Any, Any] | str | None = None, *, key: str | int | None = None, status: Status | None = None
    ) -> Run:
        """The only run that ``runs`` would give.

        Args:
            agent: as of ``runs``.
            key: as of ``runs``.
            status: as of ``runs``.

        Raises:
            AssertionError: there is none, or there are several.
        """
        return self._only(self.runs(agent, key=key, status=status), "such run")

    def run_of(self, event: str | int, agent: Agent[Any, Any, Any] | str | None = None) -> Run:
        """The run that handles an event.

        Args:
            event: its id: that of the source's ``id=``, or "source:position".
            agent: whose run, where several agents handle it.

        Raises:
            AssertionError: there is none, or there are several.
        """
        return self._only([run for run in self.runs(agent) if run.event_id == str(event)], f"run of event {str(event)!r}")

    @overload
    def outputs(self, stream: Stream[T]) -> list[T]: ...
    @overload
    def outputs(self, stream: str) -> list[Any]: ...
    def outputs(self, stream: Stream[Any] | str) -> list[Any]:
        """The values of a stream, in order, as a sink of it would have them written. No sink needs to be declared.

        Args:
            stream: any, as an object or by name: a source, an agent's output, an ``app.stream``, ``app.doubts``, or what an
                operator makes of one.

        Raises:
            NotFound: there is no such stream.
        """
        name = stream if isinstance(stream, str) else stream.name
        if name not in self._graph.streams or name not in self._ends.sinks:
            raise NotFound(f"there is no stream {name!r}; there are {', '.join(sorted(self._ends.sinks))}")
        codec = self._graph.streams[name].codec
        return [codec.decode(line) for line in self._ends.sinks[name].lines()]

    @overload
    def state(self, agent: Agent[S, Any, Any], key: str | int) -> S: ...
    @overload
    def state(self, agent: str, key: str | int) -> Any: ...
    def state(self, agent: Agent[Any, Any, Any] | str, key: str | int) -> Any:
        """The durable state of an agent's instance; what it begins with where there is none yet.

        Args:
            agent: an object or a name.
            key: of its instance.

        Raises:
            NotFound: there is no such agent.
        """
        name = agent if isinstance(agent, str) else agent.name
        spec = self._graph.agents.get(name)
        if spec is None:
            raise NotFound(f"there is no agent {name!r}; there are {', '.join(sorted(self._graph.agents))}")
        row = self._store.state(name, str(key))
        return spec.initial() if row is None or row.payload is None else spec.state.decode(row.payload)

    def doubts(self) -> list[Step]:
        """Steps in doubt, oldest first."""
        found = []
        for row in self._store.doubts():
            name = step_id(run_id(row.partition, row.run), row.step)
            found += [step for step in self._run(row.run).steps() if step.id == name]
        return found

    def dead_letters(self) -> list[DeadLetter]:
        """Input that could not become events, oldest first."""
        return [
            DeadLetter(
                stream=row.stream,
                position=None if row.position is None else json_decode(row.position),
                error=row.error,
                data=row.data,
            )
            for row in self._store.letters(0, 1_000_000)
        ]

    def attempts(self, tool: Tool[..., Any] | str | None = None) -> list[Attempt]:
        """Executions of tools' bodies (and probes) as the world outside saw them, in the order in which they began: crashes undo
        none of them.

        Args:
            tool: only those of this one.
        """
        name = tool.name if isinstance(tool, Tool) else tool
        return [attempt for attempt in self._lives.ledger.attempts if name in (None, attempt.tool)]

    def effects(self, tool: Tool[..., Any] | str) -> collections.Counter[str]:
        """How often the body of a tool was really performed to its end, for each idempotency key: what a far side would have seen.

        A far side that honours keys counts a key once. A TRANSACTIONAL body counts when it is committed.

        Args:
            tool: an object or a name.
        """
        return self._lives.ledger.performed(tool.name if isinstance(tool, Tool) else tool)

    def story(self) -> str:
        """What happened, for people: it is added to every error that leaves the ``with`` block."""
        return "\n".join(self._story())

    def _run(self, number: int) -> Run:
        return Run(self._store, self._graph, number, self._clock.origin)

    def _only(self, runs: list[Run], what: str) -> Run:
        if len(runs) != 1:
            found = "no" if not runs else f"not one {what}, but {len(runs)}:" if len(runs) > 1 else ""
            there = runs or self.runs()
            listed = "\n".join(f"  {run!r}, event {run.event_id!r}" for run in there[:TOLD]) or "  none"
            raise AssertionError(f"there is {found}{f' {what}; there are' if not runs else ''}\n{listed}")
        return runs[0]

    def _story(self) -> Iterator[str]:
        if self._crash is not None:
            yield str(self._crash)
        runs = self.runs()
        troubled = [run for run in runs if run.status != "done"]
        told = (troubled + [run for run in runs if run not in troubled])[:TOLD]
        for run in sorted(told, key=lambda run: run._number):
            yield run.story()
        if len(told) < len(runs):
            yield f"... and {len(runs) - len(told)} more runs"
        for letter in self.dead_letters()[:TOLD]:
            yield f"dead letter of {letter.stream} at {letter.position}: {letter.error}"
        yield from self._lives.deaths[-TOLD:]
        yield from (f"{level}: {text}" for level, text in self.log[-TOLD:] if level != "info")
        yield from self._lives.problems
        yield f"now {self.now.isoformat()} ({clock_text(self._clock.now() - self._clock.origin)})"
