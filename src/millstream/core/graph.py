"""The declared whole as plain data: what the agents layer describes and the engine wires. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from millstream.core.effects import Policy

UNTYPED = "JSON"  # the name of the codec of values without a declared type: plain JSON


class Codec(msgspec.Struct, frozen=True, gc=False):
    """How values of one declared type become payloads and come back.

    ``encode`` gives canonical JSON text (sorted keys where order is not part of the type); ``decode`` takes JSON text (str or
    UTF-8 bytes). Both raise ``ValueError`` or ``TypeError`` (msgspec's errors are) with the place and the reason.
    """

    name: str
    encode: Callable[[Any], str]
    decode: Callable[[str | bytes], Any]


class ToolSpec(msgspec.Struct, frozen=True, gc=False):
    """A declared tool, or a function recorded by ``ctx.step``."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    policy: Policy
    result: Codec
    key: Callable[..., str] | None = None  # business key from the tool's arguments
    probe: Callable[..., Any] | None = None  # VERIFIED: async (call, *args, **kwargs) -> Done | NotDone | Unknown
    database: Callable[[], Any] | None = None  # TRANSACTIONAL: zero-argument, returns a DB-API connection
    raises: tuple[type[Exception], ...] = ()  # declared errors, rebuilt from their fields
    ambiguous: tuple[type[BaseException], ...] = ()  # further exception types after which it may have happened
    call_parameter: str | None = None  # where the ToolCall is injected
    connection_parameter: str | None = None  # where the Connection is injected


class SourceSpec(msgspec.Struct, frozen=True, gc=False):
    """A source: a connector, and how its lines become events."""

    name: str
    connector: Any  # engine.ports.SourceConnector
    codec: Codec
    raw: bool  # the line is the payload as it is (the type's own decoding gives the value)
    key: Callable[[Any], Any]
    id: Callable[[Any], Any] | None
    dedupe: int  # us


class StreamSpec(msgspec.Struct, frozen=True, gc=False):
    """A stream and the operator that makes it from its parents.

    ``op`` is one of ``source``, ``emit`` (a target for emit, an agent's output, an inbox stream), ``filter``, ``map``,
    ``flat_map``, ``key_by``, ``merge``.
    """

    name: str
    op: str
    codec: Codec  # of its values; plain JSON where no type is declared
    parents: tuple[str, ...] = ()
    fn: Callable[[Any], Any] | None = None
    key: Callable[[Any], Any] | None = None  # emit: the key of an emitted value where none is given


class SinkSpec(msgspec.Struct, frozen=True, gc=False):
    """A sink: a connector at the end of a stream."""

    name: str
    stream: str
    connector: Any  # engine.ports.SinkConnector


class AgentSpec(msgspec.Struct, frozen=True, gc=False):
    """A keyed handler with durable state."""

    name: str
    streams: tuple[str, ...]
    output: str  # name of its output stream
    handler: Callable[[Any], Any]  # given the engine's Handle of a run, returns the coroutine to drive
    event: Codec
    state: Codec
    initial: Callable[[], Any]
    fingerprint: str
    waiting: str = "hold"  # "hold" | "release"
    on_error: str = "park"  # "park" | "block"
    on_doubt: str = "hold"  # "hold" | "park"


class Graph(msgspec.Struct, frozen=True, gc=False):
    """The declared whole."""

    app: str
    partitions: int
    sources: dict[str, SourceSpec]
    streams: dict[str, StreamSpec]
    agents: dict[str, AgentSpec]
    sinks: dict[str, SinkSpec]
    tools: dict[str, ToolSpec]
    fingerprint: str
    lifespan: Callable[[], Any] | None = None  # async context manager yielding resources
