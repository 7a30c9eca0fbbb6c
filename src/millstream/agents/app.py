"""The app: where sources, streams, agents and sinks are declared, and what compiles them into a graph.

Rules:

* declaring runs nothing and opens nothing; ``graph()`` gives plain data, and the engine alone acts on it;
* what one declaration can know is checked in it, what needs the others (names, agreeing types) in ``graph()``: both raise
  ``DeclarationError`` with ``file:line`` of the declaration, what is wrong, and what to do;
* names are identity across versions, so they are unique within an app, and renaming is a change that the store sees.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from types import UnionType
from typing import Any, Literal, TypeVar, overload

import msgspec

from millstream.agents import places
from millstream.agents.agent import Agent, AgentOptions, fingerprint
from millstream.agents.codecs import same_each_time
from millstream.agents.context import Context, Targets
from millstream.agents.durations import Duration, declared
from millstream.agents.places import wrong
from millstream.agents.reach import tools_in_reach
from millstream.agents.streams import SourceDeclaration, Stream, Streams, declared_codec, field_or_function, target_of
from millstream.agents.tools import Tool
from millstream.core.graph import Graph, SourceSpec, ToolSpec

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

Json = dict[str, Any]
Field = str | Callable[[Any], object]  # a field's name, or a function of the value

Handler = Callable[[Context[S], E], Coroutine[Any, Any, R | None]]
Waiting = Literal["hold", "release"]
OnError = Literal["park", "block"]
OnDoubt = Literal["hold", "park"]

MAX_PARTITIONS = 65_536  # the count is in every row and never changes for a store


class App:
    """The declared whole: sources, streams, agents and sinks under one name.

    Args:
        name: of the app; its data folder is named after it.
        lifespan: zero-argument, returns an async context manager; what it yields is ``ctx.resources`` and ``call.resources``.
        partitions: into how many parts keys are divided, a count from 1 to 65,536; fixed for the life of a store. A key is in part
            CRC-32 of its UTF-8 modulo the count, as librdkafka's ``consistent`` partitioner has it.

    What goes wrong with an event of one of the streams ``doubts``, ``failures`` and ``dead_letters``, or with what an agent makes
    of it, does not go into that stream again: it is kept and logged as everything else.

    Attributes:
        place: ``file:line`` of its declaration.
        doubts: a stream of the steps that came into doubt, as dicts.
        failures: a stream of the runs that failed, as dicts.
        dead_letters: a stream of the inputs that could not become events, as dicts.

    Raises:
        DeclarationError: the name, ``lifespan`` or ``partitions`` cannot be used.
    """

    def __init__(
        self, name: str, lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None, *, partitions: int = 64
    ) -> None:
        self.place = places.here()
        self.name = places.check_name(name, "an app", self.place)
        if type(partitions) is not int or not 1 <= partitions <= MAX_PARTITIONS:
            raise wrong(self.place, f"partitions={partitions!r} is no count", f"use a whole number from 1 to {MAX_PARTITIONS}")
        if lifespan is not None:
            _check_lifespan(lifespan, self.place)
        self.lifespan = lifespan
        self.partitions = partitions
        self._streams = Streams()
        self._sources: list[_Source] = []
        self._agents: dict[str, Agent[Any, Any, Any]] = {}
        self._reserved = [Stream[Json](self._streams, name, "emit", Json, place=self.place) for name in RESERVED]
        self.doubts, self.failures, self.dead_letters = self._reserved

    @overload
    def source(
        self,
        name: str,
        connector: SourceDeclaration,
        *,
        key: Field,
        id: Field | None = ...,
        dedupe: Duration = ...,
    ) -> Stream[Json]: ...
    @overload
    def source(
        self,
        name: str,
        connector: SourceDeclaration,
        *,
        key: str | Callable[[T], object],
        id: str | Callable[[T], object] | None = ...,
        type: type[T],
        dedupe: Duration = ...,
    ) -> Stream[T]: ...
    @overload
    def source(
        self,
        name: str,
        connector: SourceDeclaration,
        *,
        key: Field,
        id: Field | None = ...,
        type: UnionType,
        dedupe: Duration = ...,
    ) -> Stream[Any]: ...
    def source(
        self,
        name: str,
        connector: Any,
        *,
        key: Any,
        id: Any = None,
        type: Any = dict,
        dedupe: Duration = "7d",
    ) -> Stream[Any]:
        """A stream of events from outside: ``app.source("orders", jsonl("orders.jsonl"), key="customer", id="order_id")``.

        Args:
            name: identifies the source, and its position, across versions.
            connector: where they come from, such as ``jsonl(path)`` or ``stdin()``.
            key: a field's name or a function of the value; all events of a key are handled one at a time.
            id: likewise; two events with one id are one event. None: the source's name and the position.
            type: of the values: dict, a dataclass, TypedDict, msgspec.Struct or pydantic model. What does not fit it becomes a
                dead letter.
            dedupe: how long ids are kept: an event that comes again within it is counted, and not handled again.

        Raises:
            DeclarationError: nothing can be read from the connector, the type has no such field, or the name is taken.
        """
        where = places.here()
        places.check_name(name, "a source", where)
        if not callable(getattr(connector, "as_source", None)):
            raise wrong(where, f"{connector!r} is nothing to read from", 'use a source such as jsonl("in.jsonl") or stdin()')
        key_of = field_or_function(key, type, "key", where)
        id_of = None if id is None else field_or_function(id, type, "id", where)
        kept = declared(dedupe, "dedupe", where)
        stream: Stream[Any] = Stream(self._streams, name, "source", type, place=where)
        self._sources.append(_Source(stream, connector, key_of, id_of, kept))
        return stream

    @overload
    def stream(self, name: str, *, key: Field | None = ...) -> Stream[Json]: ...
    @overload
    def stream(self, name: str, type: type[T], key: str | Callable[[T], object] | None = ...) -> Stream[T]: ...
    @overload
    def stream(self, name: str, type: UnionType, key: Field | None = ...) -> Stream[Any]: ...
    def stream(self, name: str, type: Any = dict, key: Any = None) -> Stream[Any]:
        """A stream that agents put values into: ``ctx.emit(alerts, value)``.

        Args:
            name: identifies the stream across versions.
            type: of the values.
            key: a field's name or a function of the value; None: the key of the run that emits it.

        Raises:
            DeclarationError: the type has no such field, or the name is taken.
        """
        where = places.here()
        key_of = None if key is None else field_or_function(key, type, "key", where)
        return Stream(self._streams, places.check_name(name, "a stream", where), "emit", type, key=key_of, place=where)

    @overload
    def agent(  # type: ignore[overload-overlap]  # the first that fits is the one that is meant
        self,
        on: Stream[E] | Sequence[Stream[E]],
        *,
        name: str | None = ...,
        waiting: Waiting = ...,
        on_error: OnError = ...,
        on_doubt: OnDoubt = ...,
    ) -> Callable[[Handler[Json, E, R]], Agent[Json, E, R]]: ...
    @overload
    def agent(
        self,
        on: Stream[E] | Sequence[Stream[E]],
        state: type[S],
        *,
        name: str | None = ...,
        waiting: Waiting = ...,
        on_error: OnError = ...,
        on_doubt: OnDoubt = ...,
    ) -> Callable[[Handler[S, E, R]], Agent[S, E, R]]: ...
    @overload
    def agent(
        self,
        on: str | Sequence[Stream[Any] | str] | None = ...,
        *,
        name: str | None = ...,
        waiting: Waiting = ...,
        on_error: OnError = ...,
        on_doubt: OnDoubt = ...,
    ) -> Callable[[Handler[Json, E, R]], Agent[Json, E, R]]: ...
    @overload
    def agent(
        self,
        on: str | Sequence[Stream[Any] | str] | None = ...,
        *,
        state: type[S],
        name: str | None = ...,
        waiting: Waiting = ...,
        on_error: OnError = ...,
        on_doubt: OnDoubt = ...,
    ) -> Callable[[Handler[S, E, R]], Agent[S, E, R]]: ...
    def agent(
        self,
        on: Any = None,
        state: Any = dict,
        *,
        name: str | None = None,
        waiting: Waiting = "hold",
        on_error: OnError = "park",
        on_doubt: OnDoubt = "hold",
    ) -> Any:
        """Make an ``async def (ctx, event)`` the handler of an agent: ``@app.agent(on=orders, state=dict)``.

        Args:
            on: the stream, or streams, whose events it handles, as objects or names; None: only what is sent to it.
            state: its type, which is called without arguments for the state a key begins with.
            name: identifies the agent across versions (default: the function's name).
            waiting: while a run waits for a signal, timer or answer it holds its key, or releases it to the next run.
            on_error: a run that fails is parked and its key goes on, or it blocks its key until it is retried.
            on_doubt: a run with a step in doubt holds its key, or is parked.

        Raises:
            DeclarationError: the handler or an option cannot be used, or the name is taken.
        """
        where = places.here()
        if callable(on) and not isinstance(on, Stream):
            raise wrong(where, "@app.agent was used without options", "write @app.agent(on=...)")
        listened = tuple(on) if isinstance(on, list | tuple) else () if on is None else (on,)
        options = AgentOptions(listened, state, name, waiting, on_error, on_doubt)

        def declare(fn: Callable[..., Any]) -> Agent[Any, Any, Any]:
            known = self._agents.get(str(name or getattr(fn, "__name__", "")))
            if known is not None:
                raise wrong(places.place_of(fn), f"the agent {known.name} was declared before, at {known.place}", "give it name=")
            frame = places.caller()
            agent: Agent[Any, Any, Any] = Agent(fn, options, self._streams, {} if frame is None else frame.f_locals)
            self._agents[agent.name] = agent
            return agent

        return declare

    def graph(self) -> Graph:
        """Compile and validate everything that was declared. Runs and opens nothing; each call compiles anew.

        Raises:
            DeclarationError: declarations do not fit each other; names the place and the fix.
        """
        self._check_ends()
        streams = {name: stream.spec() for name, stream in self._streams.by_name.items()}
        events = {name: agent.event_codec() for name, agent in self._agents.items()}
        written = {name: spec.codec for name, spec in streams.items() if spec.op == "emit"}
        targets = Targets(
            streams={name: codec for name, codec in written.items() if name not in RESERVED},
            agents={name: (events[name], written[agent.output.name]) for name, agent in self._agents.items()},
        )
        graph = Graph(
            app=self.name,
            partitions=self.partitions,
            sources={source.stream.name: source.spec() for source in self._sources},
            streams=streams,
            agents={name: agent.spec(events[name], targets) for name, agent in self._agents.items()},
            sinks=dict(self._streams.sinks),
            tools=self._tools(),
            fingerprint="",
            lifespan=self.lifespan,
        )
        return msgspec.structs.replace(graph, fingerprint=_fingerprint(graph))

    def __repr__(self) -> str:
        return f"<app {self.name} {self.place}>"

    def _check_ends(self) -> None:
        """What one source or sink reads or writes is not another's."""
        read: dict[str, _Source] = {}
        for source in self._sources:
            target = target_of(source.connector)
            if target is None:
                continue
            other = read.setdefault(target, source)
            if other is not source and getattr(source.connector, "once", False):
                what = f"the sources {other.stream.name} ({other.stream.place}) and {source.stream.name} both read {target}"
                raise wrong(source.stream.place, what, "declare one, and filter() the streams that you want from it")
        written: dict[str, str] = {}
        for name, sink in self._streams.sinks.items():
            target, where = target_of(sink.connector), self._streams.sink_places[name]
            if target is None:
                continue
            if target in read:
                source = read[target]
                what = f"the sink writes to {target}, which the source {source.stream.name} ({source.stream.place}) reads"
                raise wrong(where, what, "write to another file: what is written would come in again")
            if target in written:
                raise wrong(
                    where, f"{target} is written by the sink at {written[target]} too", "merge() the streams, and sink that"
                )
            written[target] = where

    def _tools(self) -> dict[str, ToolSpec]:
        found: dict[str, Tool[..., Any]] = {}
        for agent in self._agents.values():
            for tool in tools_in_reach(agent.fn):
                known = found.setdefault(tool.name, tool)
                if known.fn is not tool.fn:
                    what = f"two tools are named {tool.name}, the other is at {known.place}"
                    raise wrong(tool.place, what, "give one of them name=: records and people know tools by name")
        return {name: tool.spec for name, tool in found.items()}


RESERVED = ("doubts", "failures", "dead_letters")


class _Source(msgspec.Struct, frozen=True):
    """A declared source. Its codec is made in ``graph()``: fields may have types that are defined further down."""

    stream: Stream[Any]
    connector: Any
    key: Callable[[Any], object]
    id: Callable[[Any], object] | None
    dedupe: int  # us

    def spec(self) -> SourceSpec:
        """The declaration as plain data.

        A line is kept as it came (``raw``) where reading it again gives the same value, which it does unless a missing field
        is filled in by a function (``default_factory=uuid4``): then what was read once is written down.
        """
        return SourceSpec(
            name=self.stream.name,
            connector=self.connector,
            codec=declared_codec(self.stream.value_type, f"source {self.stream.name}", self.stream.place),
            raw=same_each_time(self.stream.value_type),
            key=self.key,
            id=self.id,
            dedupe=self.dedupe,
        )


def _check_lifespan(lifespan: Any, where: str) -> None:
    if inspect.isasyncgenfunction(lifespan):
        raise wrong(where, f"lifespan={places.name_of(lifespan)} is a bare generator", "decorate it with @asynccontextmanager")
    if not callable(lifespan) or inspect.iscoroutinefunction(lifespan) or not places.takes(lifespan, (), {}):
        what = f"lifespan={places.name_of(lifespan)} is no function without parameters that gives an async context manager"
        raise wrong(where, what, "use `@asynccontextmanager async def lifespan():` with one yield")


def _fingerprint(graph: Graph) -> str:
    """Of everything declared: names, options, types, and the text of the modules whose functions are used."""
    declared = [
        [graph.app, graph.partitions],
        [[source.name, source.codec.name, source.raw, source.dedupe] for source in graph.sources.values()],
        [[stream.name, stream.op, stream.parents, stream.codec.name, _text(stream.fn)] for stream in graph.streams.values()],
        [[agent.name, agent.streams, agent.event.name, agent.state.name, agent.fingerprint] for agent in graph.agents.values()],
        [[agent.waiting, agent.on_error, agent.on_doubt] for agent in graph.agents.values()],
        [[sink.name, sink.stream, type(sink.connector).__qualname__] for sink in graph.sinks.values()],
        [[tool.name, repr(tool.policy), tool.result.name] for tool in graph.tools.values()],
    ]
    return hashlib.sha256(msgspec.json.encode(declared)).hexdigest()[:16]


def _text(fn: Callable[..., Any] | None) -> str:
    return "" if fn is None else fingerprint(fn)
