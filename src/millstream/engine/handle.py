"""The engine's face of one run, as the agents layer sees it: what a handler can ask for, and the loop that it lives on.

A step's identity is taken when it is called; it begins when it is first awaited. What the handler asks for is gathered here and
goes to the core when nothing in the run is ready any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from millstream.core.effects import Effect, Policy
from millstream.core.facts import Emitted, Refused, StepCall
from millstream.core.graph import AgentSpec, Graph, ToolSpec
from millstream.core.identity import KeyMaker
from millstream.core.runs import MISFIT
from millstream.core.tables import EventRow
from millstream.core.text import clean, key_text, text_of
from millstream.core.times import utc
from millstream.engine.outcomes import plain, rebuild, trace_of
from millstream.engine.performer import Call
from millstream.engine.runloop import RunLoop
from millstream.engine.scopes import shell_safe
from millstream.engine.tasks import HeldFuture
from millstream.errors import AskFailed, Deadlock, NotFound, RunPutAway, ToolFailed

Outcome = tuple[str | None, dict[str, Any] | None]
Mail = tuple[Any, str | None, int, str]

NO_POLICY = Policy(effect=Effect.READ)


class HandledLoop(RunLoop):
    """The loop of a run, and the way from inside it to its handle."""

    __slots__ = ("handle",)

    def __init__(self, run: int, at: int, name: str | None = None) -> None:
        super().__init__(run, at, name)
        self.handle: Handle | None = None


class EventInfo:
    """The event that a run handles. Times are aware, UTC."""

    __slots__ = ("_row",)

    def __init__(self, row: EventRow) -> None:
        self._row = row

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def time(self) -> datetime:
        return utc(self._row.time)

    @property
    def arrival(self) -> datetime:
        return utc(self._row.arrival)

    @property
    def payload(self) -> str:
        """JSON."""
        return self._row.payload or "null"


class Handle(msgspec.Struct, eq=False):
    """See the module."""

    run_id: str
    agent: str
    key: str
    _event: EventRow
    state_text: str | None
    seen: int  # see ``now``
    loop: HandledLoop
    _graph: Graph
    _keys: KeyMaker
    resources: Any
    state_version: int = 0  # grows when the state is replaced under the handler (waiting="release")
    dump_state: Callable[[], str | None] | None = None
    calls: list[StepCall] = []
    cancels: list[str] = []
    emitted: list[Emitted] = []
    waiting: dict[str, asyncio.Future[Any]] = {}
    delivered: int = 0
    root: asyncio.Task[Any] | None = None
    ending: bool = False
    was_cancelled: bool = False
    cancelled_by: str | None = None
    refused: list[Refused] = []
    divergence: str | None = None
    replayed: bool = False  # what it does now it has done before

    @property
    def event(self) -> EventInfo:
        return EventInfo(self._event)

    # --- steps ----------------------------------------------------------------------------------------------------

    def call(
        self,
        spec: ToolSpec,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        arguments: str,
        key: str | None,
        policy: Policy | None,
    ) -> Coroutine[Any, Any, Any]:
        """A tool's step; the coroutine gives its result.

        Raises (when awaited):
            ToolFailed, or an error that the tool declares.
        """
        step = self._identity(name)
        if policy is None:
            policy = spec.policy
        asked = StepCall(step, "tool", spec.name, arguments, policy, key, None, Call(spec, args, kwargs))
        coroutine: Any = self._read(asked, spec) if policy.effect is Effect.READ else self._effect(asked, spec)
        coroutine.__qualname__ = name  # for "was never awaited", and for the scope of a task that is made of it
        waits: Coroutine[Any, Any, Any] = coroutine
        return waits

    async def _read(self, call: StepCall, spec: ToolSpec) -> Any:
        future = self._ask(call)
        try:
            result, error = await future
        except asyncio.CancelledError:
            self._abandon(call.step)
            raise
        if error is not None:
            raise rebuild(spec, error)
        try:
            return spec.result.decode(result or "null")
        except (ValueError, TypeError) as problem:
            return await self._misfit(call, spec, problem)

    async def _effect(self, call: StepCall, spec: ToolSpec) -> Any:
        """Cancelling does not abandon it: it is cancelled in the tool, and the handler goes on when its outcome is recorded."""
        self._check_open()
        self.calls.append(call)
        future = self.waiting[call.step] = HeldFuture(self.loop, lambda: self.cancels.append(call.step))
        result, error = await future
        if error is not None:
            raise rebuild(spec, error)
        try:
            return spec.result.decode(result or "null")
        except (ValueError, TypeError) as problem:
            return await self._misfit(call, spec, problem)

    async def _misfit(self, call: StepCall, spec: ToolSpec, problem: Exception) -> Any:
        why = f"{MISFIT.format(step=call.step)} {spec.result.name}: {problem}"
        return await self.diverge(f"{why}. Let the type take what is recorded; a person's settlement may be given anew")

    def receive(self, name: str, about: str | None, read: Callable[[str], Any]) -> Coroutine[Any, Any, Mail]:
        """A durable wait for a signal; gives its value, who sent it, when (us), and its id.

        A signal that ``read`` (of its JSON) refuses with a ValueError or TypeError is noted, and another is waited for: a
        mistyped word must not end a run, nor be handed to it again by every retry.
        """
        return self._mail(self._identity(f"signal.{shell_safe(name)}"), name, about, read)

    async def _mail(self, first: str, name: str, about: str | None, read: Callable[[str], Any]) -> Mail:
        step, again = first, 0
        while True:
            try:
                text, by, at, id = await self._ask(StepCall(step, "receive", name, "", NO_POLICY, None, about))
            except asyncio.CancelledError:
                self._abandon(step)
                raise
            try:
                return read(text), by, at, id
            except (ValueError, TypeError) as problem:
                self.refused.append(Refused(step, name, id, by, str(problem)))
            again += 1
            step = f"{first}.again" if again == 1 else f"{first}.again:{again}"  # in no later receive's place

    def ask(self, agent: str, key: str, payload: str) -> Coroutine[Any, Any, str]:
        """Send a value to an agent and wait for what its run returns, as JSON.

        Raises (when awaited):
            NotFound: there is no such agent.
            Deadlock: the asked key waits for this one.
            AskFailed: the asked run failed or was cancelled.
        """
        self._agent(agent)
        call = StepCall(self._identity(f"ask.{shell_safe(agent)}"), "ask", agent, payload, NO_POLICY, key)
        return self._answer(call)

    async def _answer(self, call: StepCall) -> str:
        try:
            result, error = await self._ask(call)
        except asyncio.CancelledError:
            self._abandon(call.step)
            raise
        if error is None:
            return result or "null"
        if error["type"] == "Deadlock":
            raise Deadlock(error["message"])
        raise AskFailed(error["type"], error["message"], error["data"])

    def _identity(self, name: str) -> str:
        self._check_open()
        return self.loop.scope.identity(name)

    def _check_open(self) -> None:
        if self.loop.closed:
            raise RunPutAway(f"run {self.run_id} was put away; nothing done now is recorded")

    def _ask(self, call: StepCall) -> asyncio.Future[Any]:
        self._check_open()
        self.calls.append(call)
        # Not one of ``create_future``, whose hash is its number: nobody can put this one into a set.
        future: asyncio.Future[Any] = asyncio.Future(loop=self.loop)
        self.waiting[call.step] = future
        return future

    def _abandon(self, step: str) -> None:
        if not self.loop.closed and self.waiting.pop(step, None) is not None:
            self.cancels.append(step)

    async def diverge(self, text: str) -> Any:
        """What is recorded cannot be handed over. The run ends here, where no ``except`` of the handler can take it for an
        answer."""
        self.divergence = text
        await self.loop.create_future()

    def diverging(self, text: str) -> RunPutAway:
        """``diverge`` for code that cannot wait: raise what it gives. What the handler still asks for is not heard."""
        self.divergence = text
        return RunPutAway(f"run {self.run_id} diverged: {text}")

    # --- what leaves with the completion --------------------------------------------------------------------------

    def emit(self, stream: str, value: Any, key: str | None) -> None:
        """Emit to a stream when the run completes.

        Raises:
            NotFound: there is no such stream, or it cannot be emitted to.
            ValueError, TypeError: the value is not of the stream's type.
        """
        self._check_open()
        self.emitted.append(self.encoded(stream, value, key))

    def encoded(self, stream: str, value: Any, key: str | None) -> Emitted:
        spec = self._graph.streams.get(stream)
        if spec is None or spec.op != "emit":
            known = _names(name for name, other in self._graph.streams.items() if other.op == "emit")
            raise NotFound(
                f"run {self.run_id}: there is no stream {stream!r} to emit to; app.stream() declares one. There are: {known}"
            )
        payload = spec.codec.encode(value)
        if key is None:
            key = self.key if spec.key is None else key_text(spec.key(value))
        return Emitted(stream, spec.codec.decode(payload), payload, key)

    def send(self, agent: str, key: str, value: Any) -> None:
        """Send a value to an agent when the run completes.

        Raises:
            NotFound: there is no such agent.
            ValueError, TypeError: the value is not what the agent handles.
        """
        self._check_open()
        payload = self._agent(agent).event.encode(value)
        self.emitted.append(Emitted("", None, payload, key, agent))

    def event_payload(self, agent: str, value: Any) -> str:
        """A value as an event of that agent, JSON."""
        return self._agent(agent).event.encode(value)

    def _agent(self, name: str) -> AgentSpec:
        spec = self._graph.agents.get(name)
        if spec is None:
            raise NotFound(f"run {self.run_id}: there is no agent {name!r}; there are: {_names(self._graph.agents)}")
        return spec

    # --- what is derived, not observed ----------------------------------------------------------------------------

    def now(self) -> int:
        """When what was last handed over came to be, us: of what an earlier generation knew, the time then."""
        return self.seen

    def random(self) -> float:
        """In [0, 1), derived from the run, the scope and the last fact."""
        return int(self._derive("random")[:13], 16) / (1 << 52)

    def uuid(self) -> UUID:
        """Derived from the run, the scope and the last fact; as unique as the data folder's own id."""
        return UUID(hex=self._derive("uuid"), version=4)

    def _derive(self, what: str) -> str:
        self._check_open()
        return self._keys.key(self.run_id, f"{self.delivered}/{self.loop.scope.identity(what)}")

    def scope(self, name: str) -> AbstractContextManager[Any]:
        return self.loop.scoped(name)

    # --- being handed things --------------------------------------------------------------------------------------

    def hand(self, step: str, outcome: Any) -> None:
        """Complete a step for the handler, if it still waits for it."""
        future = self.waiting.pop(step, None)
        if future is None or future.done():
            return
        if isinstance(future, HeldFuture) and future.asked:
            future.end()
        else:
            future.set_result(outcome)

    def replace_state(self, state: str | None) -> None:
        self.state_text = state
        self.state_version += 1


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def failure(error: BaseException) -> dict[str, Any]:
    """What a failed run's row says of the exception that its handler raised."""
    if isinstance(error, ToolFailed):
        type_ = error.type if type(error) is ToolFailed else type(error).__name__
        said = {"type": clean(str(type_)), "message": clean(str(error.message)), "data": plain(error.data)}
        return said if error.tool is None else {**said, "tool": error.tool}
    return {"type": type(error).__name__, "message": text_of(error), "data": {"traceback": trace_of(error) or ""}}
