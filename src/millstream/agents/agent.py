"""Agents, as declarations: a handler, the streams it listens to, and the type of its state.

Rules:

* the types come from the handler's annotations where they are there: its second parameter is the event's type and must agree
  with the streams, its return is the output's type; ``state=`` must agree with ``Context[...]``. What the annotations leave
  open the streams say, and what nobody says is plain JSON;
* two types agree where every value of the stream's is one of the handler's: the same type, a subclass, a member of the
  handler's union, any dict for ``dict``. Events are decoded as the stream's type, which is never less than what was asked;
* an agent's fingerprint is the text of the files that hold its handler, the functions that it calls, its tools, and the classes of
  its events, its state and what these functions are annotated with, as far as they stand in its folder or below. It says that a
  diverged run is worth another try, and is written into lineage; nothing else depends on it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import operator
import typing
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar

import msgspec

from millstream.agents import places
from millstream.agents.codecs import is_plain, name_of
from millstream.agents.context import Context, StateOf, Targets, misfit
from millstream.agents.places import MISSING, wrong
from millstream.agents.ports import Handle
from millstream.agents.reach import files_in_reach
from millstream.agents.streams import Stream, Streams, declared_codec, distinct
from millstream.core.graph import AgentSpec, Codec

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")


class AgentOptions(msgspec.Struct, frozen=True):
    """What was written in ``@app.agent(...)``, as it was written."""

    on: tuple[Stream[Any] | str, ...]
    state: Any
    name: str | None
    waiting: str
    on_error: str
    on_doubt: str


class Agent(Generic[S, E, R]):
    """A keyed handler with durable state. Calling it calls the handler, as a unit test would.

    Attributes:
        name: identifies it across versions.
        output: the stream of what its handler returns; None is not put into it.
        place: ``file:line`` of its declaration.
        fn: the handler.
    """

    __name__: str

    def __init__(
        self,
        fn: Callable[[Context[S], E], Coroutine[Any, Any, R | None]],
        options: AgentOptions,
        streams: Streams,
        scope: Mapping[str, Any],
    ) -> None:
        self.place = places.place_of(fn)
        name = options.name if options.name is not None else getattr(fn, "__name__", None)
        self.name = places.check_name(name, "an agent", self.place)
        self.fn = fn
        functools.update_wrapper(self, fn, updated=())
        self._title = f"agent {self.name}"
        self._options = options
        self._streams = streams
        self._check()
        self._event = self._annotation(self._parameters()[1], scope)
        returned = self._annotation("return", scope)
        self.output: Stream[R] = Stream(streams, f"{self.name}.output", "emit", _without_none(returned), place=self.place)
        self._check_state(scope)

    def __call__(self, ctx: Context[S], event: E) -> Coroutine[Any, Any, R | None]:
        return self.fn(ctx, event)

    def __repr__(self) -> str:
        return f"<{self._title} {self.place}>"

    def event_codec(self) -> Codec:
        """How the agent's events are decoded.

        Raises:
            DeclarationError: there is no such stream, the handler's annotation does not agree with it, or no codec can be made.
        """
        streams = [self._streams.named(stream, self.place) for stream in self._options.on]
        for number, stream in enumerate(streams):
            if stream in streams[:number]:
                raise wrong(self.place, f"{self._title} listens to {stream.name} twice", "name each stream once")
            if not agrees(stream.value_type, self._event):
                raise wrong(
                    self.place,
                    f"{self._title} expects {name_of(self._event)}, but the stream {stream.name} ({stream.place}) "
                    f"holds {name_of(stream.value_type)}",
                    "declare the stream with type=, or change the annotation of the handler's event",
                )
        types = distinct(stream.value_type for stream in streams)
        event_type = types[0] if len(types) == 1 else Any
        if not is_plain(self._event) and (is_plain(event_type) or is_any_dict(event_type)):
            event_type = self._event
        return declared_codec(event_type, f"{self._title}: its event", self.place)

    def spec(self, event: Codec, targets: Targets) -> AgentSpec:
        """The declaration as plain data, with the function that the engine calls for a run.

        Raises:
            DeclarationError: the state cannot be made without arguments, or cannot be recorded.
        """
        state = self._state()
        decode = event.decode
        fn = self.fn

        async def handler(handle: Handle) -> Any:
            text = handle.event.payload
            try:
                value = decode(text)
            except (ValueError, TypeError) as problem:
                what = f"the event does not fit {event.name}, which {self.name} handles"
                return await handle.diverge(misfit(what, problem, text))
            return await fn(Context(handle, state, targets), value)

        handler.__qualname__ = getattr(fn, "__qualname__", self.name)
        return AgentSpec(
            name=self.name,
            streams=tuple(self._streams.named(stream, self.place).name for stream in self._options.on),
            output=self.output.name,
            handler=handler,
            event=event,
            state=state.codec,
            initial=state.initial,
            fingerprint=fingerprint(fn, (*self._types_of_streams(), self._event, self._options.state)),
            waiting=self._options.waiting,
            on_error=self._options.on_error,
            on_doubt=self._options.on_doubt,
        )

    def _types_of_streams(self) -> Iterator[Any]:
        return (self._streams.named(stream, self.place).value_type for stream in self._options.on)

    def _check(self) -> None:
        if not inspect.iscoroutinefunction(self.fn):
            raise wrong(self.place, f"{self._title}: {places.name_of(self.fn)} is no async def", "use async def (ctx, event)")
        if not places.takes(self.fn, (None, None), {}) or len(self._parameters()) < 2:
            raise wrong(self.place, f"{self._title} is called with (ctx, event)", "give its handler these two parameters")
        places.check_choice(self._options.waiting, ("hold", "release"), "waiting", self.place)
        places.check_choice(self._options.on_error, ("park", "block"), "on_error", self.place)
        places.check_choice(self._options.on_doubt, ("hold", "park"), "on_doubt", self.place)

    def _parameters(self) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [parameter.name for parameter in inspect.signature(self.fn).parameters.values() if parameter.kind in kinds]

    def _annotation(self, name: str, scope: Mapping[str, Any]) -> Any:
        try:
            annotation = places.annotation(self.fn, name, scope)
        except NameError as missing:
            what = f"{self._title}: the annotation of {name} cannot be resolved: {missing}"
            raise wrong(self.place, what, "define or import it above, and not for type checkers alone") from None
        return Any if annotation is MISSING else annotation

    def _check_state(self, scope: Mapping[str, Any]) -> None:
        try:
            context = places.annotation(self.fn, self._parameters()[0], scope)
        except NameError:  # it tells us nothing that type checkers do not check
            return
        annotated = typing.get_args(context)[0] if typing.get_origin(context) is Context else Any
        if not agrees(self._options.state, annotated):
            state, context = name_of(self._options.state), name_of(annotated)
            raise wrong(
                self.place, f"{self._title} has state={state}, but its handler expects Context[{context}]", f"use state={context}"
            )

    def _state(self) -> StateOf:
        state = self._options.state
        kept = declared_codec(state, f"{self._title}: its state", self.place)
        what = f"{self._title}: the state begins as {name_of(state)}()"
        if not callable(state) or is_plain(state):
            raise wrong(self.place, f"{what}, which cannot be called", "use a class as state=")
        try:
            return StateOf(codec=kept, initial=state, initial_text=kept.encode(state()))
        except (TypeError, ValueError) as problem:
            raise wrong(self.place, f"{what}: {problem}", "give every field a default") from None


def agrees(given: Any, expected: Any) -> bool:
    """Is every value of the type ``given`` one of the type ``expected``, as far as we can tell? Untyped values are."""
    if is_plain(given) or is_plain(expected) or given == expected:
        return True
    if typing.get_origin(expected) is typing.Annotated:
        return agrees(given, typing.get_args(expected)[0])
    if typing.get_origin(given) in _UNIONS:
        return all(agrees(member, expected) for member in typing.get_args(given))
    if typing.get_origin(expected) in _UNIONS:
        return any(agrees(given, member) for member in typing.get_args(expected))
    given_class, expected_class = typing.get_origin(given) or given, typing.get_origin(expected) or expected
    if not isinstance(given_class, type) or not isinstance(expected_class, type):
        return False
    if is_any_dict(expected):
        return issubclass(given_class, dict)
    if is_any_dict(given):
        return issubclass(expected_class, dict | Mapping) and not typing.is_typeddict(expected)
    try:
        return expected_class is expected and issubclass(given_class, expected_class)
    except TypeError:  # a TypedDict or Protocol
        return False


def is_any_dict(kind: Any) -> bool:
    """``dict``, ``dict[str, Any]``, ``Mapping[str, Any]`` and their like."""
    if (typing.get_origin(kind) or kind) not in (dict, Mapping):
        return False
    key, value = typing.get_args(kind) or (Any, Any)
    return (key is str or is_plain(key)) and is_plain(value)


def fingerprint(fn: Callable[..., Any], types: Sequence[Any] = ()) -> str:
    """Of the text of the files that hold the function, what it calls, and these types; of its code where there is no text."""
    function = places.function_of(fn)
    if function is None:
        return _digest(f"{type(fn).__module__}.{type(fn).__qualname__}".encode())
    try:
        texts = [Path(path).read_bytes() for path in files_in_reach(fn, types)]
    except OSError:
        return _digest(function.__code__.co_code, repr(function.__code__.co_consts).encode())
    return _digest(*texts)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


_UNIONS = (typing.Union, UnionType)


def _without_none(returned: Any) -> Any:
    """The type of the values in ``X | None``; untyped where there are none."""
    if returned is None or returned is NoneType:
        return Any
    if typing.get_origin(returned) not in _UNIONS:
        return returned
    members = [member for member in typing.get_args(returned) if member is not NoneType]
    return functools.reduce(operator.or_, members)
