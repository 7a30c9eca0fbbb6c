"""What a handler sees of its run: the ``Context``.

Rules:

* it adds types, names and units to the engine's handle of the run (``agents.ports`` has what it asks of it), and nothing else:
  whatever a run observes is recorded there;
* what is a step is registered when its method is *called* and returns the coroutine to await, so that the order of awaiting
  does not name steps;
* state is decoded at its first access and encoded once, when the engine asks for it. It counts as changed where its text is
  another one than before; state that was only read is not written again;
* a value for another stream or agent is encoded in the call (by the engine for ``emit`` and ``send``), so that a wrong one is
  an error of the line that gave it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, Unpack, overload
from uuid import UUID

import msgspec

from millstream.agents.codecs import codec
from millstream.agents.durations import Duration, microseconds
from millstream.agents.ports import Event, Handle
from millstream.agents.streams import Stream
from millstream.agents.tools import step
from millstream.core.effects import Effect
from millstream.core.graph import Codec
from millstream.core.text import clean, encodable
from millstream.errors import NotFound, UsageError

if TYPE_CHECKING:
    from millstream.agents.agent import Agent

E = TypeVar("E")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Targets(msgspec.Struct, frozen=True):
    """Whom handlers of an app can write to, by name, and in which codec."""

    streams: dict[str, Codec]
    agents: dict[str, tuple[Codec, Codec]]  # how its events are written, and its answers read


class StateOf(msgspec.Struct, frozen=True):
    """How an agent's state is made and kept."""

    codec: Codec
    initial: Callable[[], Any]
    initial_text: str


class Signal(msgspec.Struct, Generic[T], frozen=True):
    """What ``ctx.receive`` returns: a message from outside to a waiting run."""

    value: T
    """Of the type that was asked for; else plain JSON."""
    by: str | None
    """Who sent it, if it was said."""
    at: datetime
    """When it was accepted, UTC."""
    id: str
    """As its sender gave it, or made when it was accepted: a second signal with an id is a duplicate, and not received."""


class Context(Generic[S]):
    """A handler's view of its run. ``S`` is the type of the agent's state."""

    __slots__ = ("_handle", "_state_of", "_targets", "_state", "_version")

    def __init__(self, handle: Handle, state_of: StateOf, targets: Targets) -> None:
        self._handle = handle
        self._state_of = state_of
        self._targets = targets
        self._state: Any = None
        self._version: int | None = None  # the handle's state_version that ``_state`` was made from; None: not accessed yet
        handle.dump_state = self._dump_state

    # What the run is about.

    @property
    def key(self) -> str:
        """The key of this instance of the agent: text, whatever it was in the event."""
        return self._handle.key

    @property
    def event(self) -> Event:
        """``id``, ``time`` and ``arrival`` of the event (its value is the handler's second argument)."""
        return self._handle.event

    @property
    def run_id(self) -> str:
        """The run's public id, as ``millstream runs`` shows it: ``42-1-17``, partition first."""
        return self._handle.run_id

    @property
    def resources(self) -> Any:
        """What the app's ``lifespan`` yielded."""
        return self._handle.resources

    @property
    def state(self) -> S:
        """The state of this (agent, key) as of the run's turn; what is done to it becomes durable when the handler returns.

        It may be changed in place or assigned. An agent with ``waiting="release"`` finds the state as it is *now* after each
        wait: do not keep it in a variable across one.
        """
        if self._version != self._handle.state_version:
            text = self._handle.state_text
            self._state = self._state_of.initial() if text is None else self._decoded_state(text)
            self._version = self._handle.state_version
        state: S = self._state
        return state

    @state.setter
    def state(self, state: S) -> None:
        self._state = state
        self._version = self._handle.state_version

    def _decoded_state(self, text: str) -> Any:
        kept = self._state_of.codec
        try:
            return kept.decode(text)
        except (ValueError, TypeError) as problem:
            raise self._handle.diverging(misfit(f"the state of this key does not fit {kept.name}", problem, text)) from None

    def _dump_state(self) -> str | None:
        if self._version != self._handle.state_version:
            return None
        text = self._state_of.codec.encode(self._state)
        before = self._handle.state_text
        return None if text == (self._state_of.initial_text if before is None else before) else text

    # Time and chance, as recorded.

    def now(self) -> datetime:
        """The time of the last thing that the run observed, UTC: the same when it is replayed.

        In a run that is retried, what an earlier try has observed has the time that it had then.
        """
        return _EPOCH + timedelta(microseconds=self._handle.now())

    def random(self) -> float:
        """A number in [0, 1), the same when the run is replayed.

        52 bits of a keyed BLAKE2b (RFC 7693) over the run, the scope and the last thing that the run observed.
        """
        return self._handle.random()

    def uuid(self) -> UUID:
        """A UUID that is this run's alone, the same when it is replayed.

        Derived as ``random`` is; marked as version 4 (RFC 9562), since nothing can be read from it.
        """
        return self._handle.uuid()

    def sleep(self, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait, durably: ``await ctx.sleep("7d")``.

        Args:
            duration: how long, of engine time, which goes on while the process is down.

        Raises:
            TypeError, ValueError: it is not a duration.
        """
        return asyncio.sleep(microseconds(duration) / 1e6)

    def sleep_until(self, time: datetime) -> Coroutine[Any, Any, None]:
        """Wait, durably, until a time; not at all if it has passed.

        Args:
            time: when to go on, with its zone.

        Raises:
            UsageError: the time has no zone, so nobody can know when it is.
        """
        if time.utcoffset() is None:
            raise UsageError(f"ctx.sleep_until({time!r}): a time without a zone is no time; use datetime(..., tzinfo=UTC)")
        now = _EPOCH + timedelta(seconds=asyncio.get_running_loop().time())  # not self.now(), which may be an earlier one
        return asyncio.sleep(max(0.0, (time - now).total_seconds()))

    def timeout(self, duration: Duration) -> asyncio.Timeout:
        """``async with ctx.timeout("10s"):`` what is not done by then is cancelled, and ``TimeoutError`` is raised.

        Where a step other than a READ was started, the handler goes on only when its outcome is recorded, which may be later.

        Args:
            duration: how long, of engine time.

        Raises:
            TypeError, ValueError: it is not a duration.
        """
        return asyncio.timeout(microseconds(duration) / 1e6)

    # Steps.

    @overload
    def step(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, R]],
        *args: *Ts,
        effect: Effect = ...,
        timeout: Duration = ...,
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(
        self, name: str, fn: Callable[[Unpack[Ts]], R], *args: *Ts, effect: Effect = ..., timeout: Duration = ...
    ) -> Coroutine[Any, Any, R]: ...
    def step(
        self, name: str, fn: Callable[[Unpack[Ts]], Any], *args: *Ts, effect: Effect = Effect.READ, timeout: Duration = "60s"
    ) -> Coroutine[Any, Any, Any]:
        """Record a call of any function as a step: ``page = await ctx.step("fetch", fetch, url)``.

        An ``async def`` runs on the engine's loop, a ``def`` in a thread. What needs more options is a ``@tool``.

        Awaiting it raises ``ToolFailed``, as a tool's step does.

        Args:
            name: of the step; a second one of that name in the same scope is ``name:2``.
            fn: what is called; its return annotation is the type that the result is recorded as, without one it must be plain JSON.
            args: recorded, so data: clients and connections come from ``ctx.resources``.
            effect: what it does to the outside world; READ, IDEMPOTENT or AT_MOST_ONCE.
            timeout: of one attempt.

        Raises:
            DeclarationError: the effect needs a probe or a database, or the annotated result cannot be recorded.
            TypeError: the arguments do not fit the function, or cannot be recorded.
        """
        return step(self._handle, _text(name, "the name of a step"), fn, args, effect, timeout)

    def scope(self, name: str) -> AbstractContextManager[Any]:
        """``with ctx.scope("retry"):`` steps inside are named under it, whatever is done elsewhere.

        Args:
            name: of the scope: a step ``charge`` in it is ``retry/charge``.

        Raises:
            TypeError: the name is not text, or empty.
        """
        return self._handle.scope(_text(name, "the name of a scope"))

    @overload
    def receive(
        self, signal: str, about: str | int | None = ..., type: None = ..., timeout: Duration | None = ...
    ) -> Coroutine[Any, Any, Signal[Any]]: ...
    @overload
    def receive(
        self, signal: str, about: str | int | None = ..., *, type: type[T], timeout: Duration | None = ...
    ) -> Coroutine[Any, Any, Signal[T]]: ...
    @overload
    def receive(
        self, signal: str, about: str | int | None = ..., *, type: UnionType, timeout: Duration | None = ...
    ) -> Coroutine[Any, Any, Signal[Any]]: ...
    def receive(
        self, signal: str, about: str | int | None = None, type: Any = None, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Signal[Any]]:
        """Wait, durably, for a signal of that name to this run or its (agent, key).

        Args:
            signal: its name.
            about: only signals about this; None takes any. Who waits for just this is served before who takes any.
            type: of its value; plain JSON by default. A signal whose value does not fit is noted in the run's record, and another
                is waited for.
            timeout: how long to wait, of engine time; None waits for ever.

        Awaiting it raises ``TimeoutError``.

        Raises:
            TypeError, ValueError: the time-out is not a duration, or values of the type could not be read.
        """
        read = codec(Any if type is None else type).decode
        name, about = _text(signal, "the name of a signal"), None if about is None else _key(about, "about")
        seconds = None if timeout is None else microseconds(timeout) / 1e6
        late = f"no signal {name!r}{_about(about)} within {timeout}"
        return _received(self._handle.receive(name, about, read), seconds, late)

    @overload
    def ask(
        self, agent: Agent[Any, E, R], key: str | int, value: E, timeout: Duration | None = ...
    ) -> Coroutine[Any, Any, R | None]: ...
    @overload
    def ask(self, agent: str, key: str | int, value: Any, timeout: Duration | None = ...) -> Coroutine[Any, Any, Any]: ...
    def ask(
        self, agent: Agent[Any, Any, Any] | str, key: str | int, value: Any, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Send ``value`` to (agent, key) and wait, durably, for what its handler returns.

        Awaiting it raises ``AskFailed`` if that run ends without an answer, ``Deadlock`` if it waits for this one, or
        ``TimeoutError``. A time-out does not undo the request.

        Args:
            agent: whom, as an object or by name.
            key: of its instance.
            value: of the type of its events.
            timeout: how long to wait for the answer, of engine time; None waits for ever.

        Raises:
            NotFound: there is no such agent.
            TypeError, ValueError: the value is not of its event type, or the time-out is not a duration.
        """
        name, events, answers = self._agent(agent)
        seconds = None if timeout is None else microseconds(timeout) / 1e6
        to = _key(key, "key")
        with _saying_where("ctx.ask", name):
            payload = events.encode(value)
        waiting = self._handle.ask(name, to, payload)
        return _answered(self._handle, waiting, answers, seconds, f"no answer from {name} {to!r} within {timeout}")

    # What goes out with the completion of the run.

    @overload
    def emit(self, stream: Stream[T], value: T, key: str | int | None = ...) -> None: ...
    @overload
    def emit(self, stream: str, value: Any, key: str | int | None = ...) -> None: ...
    def emit(self, stream: Stream[Any] | str, value: Any, key: str | int | None = None) -> None:
        """Put a value into a stream made by ``App.stream``, or into the agent's output, when the run completes.

        Args:
            stream: an object or a name.
            value: of the stream's type.
            key: of the new event; by default what the stream's declaration says, else the key of this run.

        Raises:
            NotFound: there is no such stream.
            UsageError: it is made by a source or an operator, so nothing else can be put into it.
            TypeError, ValueError: the value is not of the stream's type.
        """
        name = stream.name if isinstance(stream, Stream) else stream
        written = self._targets.streams.get(name)
        if written is None:
            raise _no_target(name, isinstance(stream, Stream), self._targets)
        with _saying_where("ctx.emit", name):
            self._handle.emit(name, value, None if key is None else _key(key, "key"))

    @overload
    def send(self, agent: Agent[Any, E, Any], key: str | int, value: E) -> None: ...
    @overload
    def send(self, agent: str, key: str | int, value: Any) -> None: ...
    def send(self, agent: Agent[Any, Any, Any] | str, key: str | int, value: Any) -> None:
        """Send a value to (agent, key) when the run completes, and do not wait for an answer.

        Args:
            agent: whom, as an object or by name.
            key: of its instance.
            value: of the type of its events.

        Raises:
            NotFound: there is no such agent.
            TypeError, ValueError: the value is not of its event type.
        """
        name, _, _ = self._agent(agent)
        with _saying_where("ctx.send", name):
            self._handle.send(name, _key(key, "key"), value)

    def as_completed(self, awaitables: Iterable[Awaitable[T]]) -> Iterator[Coroutine[Any, Any, T]]:
        """``for done in ctx.as_completed([...]): result = await done``: in the order in which they complete.

        As ``asyncio.as_completed``, but they start in the order given: asyncio goes through a set, whose order no replay repeats.

        Args:
            awaitables: coroutines, tasks or futures; each coroutine becomes a task.
        """
        completed: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
        futures = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        for future in futures:
            future.add_done_callback(completed.put_nowait)
        return (_next(completed) for _ in futures)

    def _agent(self, agent: Agent[Any, Any, Any] | str) -> tuple[str, Codec, Codec]:
        name = agent if isinstance(agent, str) else agent.name
        if name not in self._targets.agents:
            raise NotFound(f"there is no agent {name!r}; there are {', '.join(sorted(self._targets.agents))}")
        return name, *self._targets.agents[name]


def misfit(what: str, problem: Exception, text: str) -> str:
    """Of what is recorded and cannot be read as the type of today: what it is, why, what was found, and what to do."""
    fix = "let the type take what is recorded (keep the names of fields, and give new ones a default)"
    return f"{what}: {problem}. Recorded is {clean(text, 300)}; {fix}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def _received(
    waiting: Coroutine[Any, Any, tuple[Any, str | None, int, str]], seconds: float | None, late: str
) -> Signal[Any]:
    value, by, at, id = await (waiting if seconds is None else _within(seconds, waiting, late))
    return Signal(value=value, by=by, at=_EPOCH + timedelta(microseconds=at), id=id)


async def _answered(handle: Handle, waiting: Coroutine[Any, Any, str], answers: Codec, seconds: float | None, late: str) -> Any:
    text = await (waiting if seconds is None else _within(seconds, waiting, late))
    if text == "null":
        return None  # the handler returned None, which is no value of its output
    try:
        return answers.decode(text)
    except (ValueError, TypeError) as problem:
        what = f"a recorded answer does not fit {answers.name}, which the asked agent now returns"
        return await handle.diverge(misfit(what, problem, text))


async def _within(seconds: float, waiting: Coroutine[Any, Any, T], late: str) -> T:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await waiting
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(late) from None
        raise


async def _next(completed: asyncio.Queue[asyncio.Future[T]]) -> T:
    return (await completed.get()).result()


class _saying_where:
    """Puts the call in front of what a codec says of a value."""

    __slots__ = ("_call", "_name")

    def __init__(self, call: str, name: str) -> None:
        self._call = call
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, problem: BaseException | None, traceback: Any) -> None:
        if isinstance(problem, TypeError | ValueError):
            raise (TypeError if isinstance(problem, TypeError) else ValueError)(f"{self._call}({self._name}): {problem}") from None


def _no_target(name: object, declared: bool, targets: Targets) -> Exception:
    known = ", ".join(sorted(targets.streams)) or "none yet"
    if declared:
        return UsageError(f"nothing can be emitted to {name}: only to streams of App.stream and to outputs ({known})")
    return NotFound(f"there is no stream {name!r} to emit to; there are {known}")


def _text(name: object, what: str) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"{what} is text and not empty, not {name!r}")
    return encodable(name, what)


def _key(key: object, what: str) -> str:
    """Keys are text; numbers are let through because ids in events often are."""
    if isinstance(key, str):
        return encodable(key, what)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise TypeError(f"{what} must be text or a whole number, not {key!r}")


def _about(about: str | None) -> str:
    return "" if about is None else f" about {about!r}"
