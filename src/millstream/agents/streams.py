"""Streams and their plain operators, as declarations: each method describes one more stream and runs nothing.

Rules:

* a stream has a name that is its identity across versions: given with ``name=``, or made from its parent's name and its
  operator (``orders.filter``, then ``orders.filter:2``);
* an operator's function is pure and plain: it sees one value, waits for nothing and remembers nothing. What must wait or
  remember is an agent;
* the type of the values follows the declaration: ``map`` and ``flat_map`` take it from ``type=`` or from the function's return
  annotation; without either the values are untyped.
"""

from __future__ import annotations

import functools
import inspect
import operator
import typing
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Generic, Protocol, TypeVar, overload

from millstream.agents import places
from millstream.agents.codecs import codec, is_plain, name_of
from millstream.agents.places import wrong
from millstream.core.graph import Codec, SinkSpec, StreamSpec
from millstream.engine.ports import SinkConnector, SourceConnector
from millstream.errors import DeclarationError

T = TypeVar("T")
U = TypeVar("U")


class SourceDeclaration(Protocol):
    """What names an input without opening it, such as ``jsonl("orders.jsonl")``.

    It may have ``target``, a name of what is read that is the same for every spelling of it (a sink to it is refused), and
    ``once``, true where two sources of one target would take each other's events (they are refused).
    """

    def as_source(self) -> SourceConnector: ...


class SinkDeclaration(Protocol):
    """What names an output without opening it, such as ``jsonl("receipts.jsonl")``.

    It may have ``target``, as a source (two sinks to one are refused), and ``unfit_as_sink``: why nothing can be written to it.
    """

    def as_sink(self) -> SinkConnector: ...


class Stream(Generic[T]):
    """A named, typed sequence of events. Made by ``App.source``, ``App.stream``, an agent's ``output``, and other streams.

    Attributes:
        name: its identity across versions.
        value_type: what its values are; ``Any`` where nothing is declared.
        place: ``file:line`` of its declaration.
    """

    __slots__ = ("name", "value_type", "place", "_op", "_parents", "_fn", "_key", "_streams")

    def __init__(
        self,
        streams: Streams,
        name: str,
        op: str,
        value_type: Any,
        *,
        parents: tuple[Stream[Any], ...] = (),
        fn: Callable[[Any], Any] | None = None,
        key: Callable[[Any], Any] | None = None,
        place: str,
    ) -> None:
        self.name = name
        self.value_type = value_type
        self.place = place
        self._op = op
        self._parents = parents
        self._fn = fn
        self._key = key
        self._streams = streams
        streams.add(self)

    def filter(self, condition: Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """The values for which ``condition(value)`` is true.

        Args:
            condition: a plain function of one value: it waits for nothing and remembers nothing.
            name: identifies the stream across versions; by default made of this one's name and the operator's.

        Raises:
            DeclarationError: the condition is not a plain function of one value, or the name is taken.
        """
        return self._derived("filter", condition, self.value_type, name)

    @overload
    def map(self, fn: Callable[[T], U], type: type[U] | None = ..., *, name: str | None = ...) -> Stream[U]: ...
    @overload
    def map(self, fn: Callable[[T], object], type: UnionType, *, name: str | None = ...) -> Stream[Any]: ...
    def map(self, fn: Callable[[T], Any], type: Any = None, *, name: str | None = None) -> Stream[Any]:
        """``fn(value)`` of every value.

        Args:
            fn: a plain function of one value: it waits for nothing and remembers nothing.
            type: of the results; by default what ``fn`` is annotated to return.
            name: identifies the stream across versions; by default made of this one's name and the operator's.

        Raises:
            DeclarationError: ``fn`` is not a plain function of one value, its annotation cannot be resolved, or the name is taken.
        """
        return self._derived("map", fn, _returned(fn) if type is None else type, name)

    @overload
    def flat_map(self, fn: Callable[[T], Iterable[U]], type: type[U] | None = ..., *, name: str | None = ...) -> Stream[U]: ...
    @overload
    def flat_map(self, fn: Callable[[T], Iterable[object]], type: UnionType, *, name: str | None = ...) -> Stream[Any]: ...
    def flat_map(self, fn: Callable[[T], Iterable[Any]], type: Any = None, *, name: str | None = None) -> Stream[Any]:
        """Each item of ``fn(value)`` of every value, in order.

        Args:
            fn: as of ``map``; it gives any number of items.
            type: of the items; by default that of the ``list``, ``Iterable`` or ``Iterator`` that ``fn`` is annotated to return.
            name: identifies the stream across versions; by default made of this one's name and the operator's.

        Raises:
            DeclarationError: as ``map``.
        """
        return self._derived("flat_map", fn, _item(_returned(fn)) if type is None else type, name)

    def key_by(self, key: str | Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """The same values under another key.

        Args:
            key: a field's name, or a plain function of the value.
            name: identifies the stream across versions; by default made of this one's name and the operator's.

        Raises:
            DeclarationError: the type has no such field, it is not a plain function of one value, or the name is taken.
        """
        return self._derived("key_by", field_or_function(key, self.value_type, "key", places.here()), self.value_type, name)

    def merge(self, *others: Stream[U], name: str | None = None) -> Stream[T | U]:
        """The values of this and the other streams. The order is kept per key within each of them, not between them.

        Args:
            others: streams of the same app, each once.
            name: identifies the stream across versions; by default made of this one's name and the operator's.

        Raises:
            DeclarationError: there is no other, one is of another app or given twice, or the name is taken.
        """
        where = places.here()
        for number, other in enumerate(others):
            if not isinstance(other, Stream) or other._streams is not self._streams:
                raise wrong(where, f"{self.name}.merge cannot take {other!r}", "give streams of the same app")
            if other is self or other in others[:number]:
                raise wrong(where, f"{self.name}.merge is given {other.name} twice", "give each stream once")
        if not others:
            raise wrong(where, f"{self.name}.merge has nothing to merge with", "give other streams")
        merged = _union([self.value_type, *(other.value_type for other in others)])
        return self._derived("merge", None, merged, name, parents=(self, *others))

    def sink(self, connector: SinkDeclaration, *, name: str | None = None) -> None:
        """Write every value to ``connector``, such as ``jsonl("receipts.jsonl")``, as one line of JSON.

        Args:
            connector: what names the output, such as ``jsonl(path)`` or ``stdout()``.
            name: identifies the sink, and how far it was written, across versions; by default the stream's name and ``.sink``.

        Raises:
            DeclarationError: nothing can be written to it, or the name is taken.
        """
        where = places.here()
        if not callable(getattr(connector, "as_sink", None)):
            raise wrong(where, f"{connector!r} is nothing to write to", 'use a sink such as jsonl("out.jsonl") or stdout()')
        unfit = getattr(connector, "unfit_as_sink", None)
        if unfit is not None:
            raise DeclarationError(f"{where}: {unfit}")
        self._streams.add_sink(self, connector, name, where)

    def spec(self) -> StreamSpec:
        """The declaration as plain data.

        Raises:
            DeclarationError: values of its type could not be recorded.
        """
        parents = tuple(parent.name for parent in self._parents)
        return StreamSpec(name=self.name, op=self._op, parents=parents, fn=self._fn, codec=self.codec(), key=self._key)

    def codec(self) -> Codec:
        """How its values are recorded; plain JSON where no type is declared, and what that cannot hold is a dead letter.

        Raises:
            DeclarationError: values of its type could not be recorded.
        """
        return declared_codec(self.value_type, f"stream {self.name}", self.place)

    def __repr__(self) -> str:
        return f"<stream {self.name} of {name_of(self.value_type)} {self.place}>"

    def _derived(self, op: str, fn: Any, value_type: Any, name: str | None, parents: tuple[Stream[Any], ...] = ()) -> Stream[Any]:
        where = places.here()
        if fn is not None:
            _check_function(fn, f"{self.name}.{op}", where)
        name = self._streams.free_name(f"{self.name}.{op}") if name is None else places.check_name(name, "a stream", where)
        return Stream(self._streams, name, op, value_type, parents=parents or (self,), fn=fn, place=where)


class Streams:
    """All streams and sinks of one app, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Stream[Any]] = {}
        self.sinks: dict[str, SinkSpec] = {}
        self.sink_places: dict[str, str] = {}

    def add(self, stream: Stream[Any]) -> None:
        known = self.by_name.setdefault(stream.name, stream)
        if known is not stream:
            raise wrong(
                stream.place, f"the stream {stream.name} was declared before, at {known.place}", "give one of them another name"
            )

    def add_sink(self, stream: Stream[Any], connector: Any, name: str | None, where: str) -> None:
        if name is None:
            name = _first_free(f"{stream.name}.sink", self.sinks)
        elif places.check_name(name, "a sink", where) in self.sinks:
            raise wrong(
                where, f"the sink {name} of stream {self.sinks[name].stream} was declared before", "give one of them another name"
            )
        self.sinks[name] = SinkSpec(name=name, stream=stream.name, connector=connector)
        self.sink_places[name] = where

    def free_name(self, wanted: str) -> str:
        return _first_free(wanted, self.by_name)

    def named(self, stream: Stream[Any] | str, where: str) -> Stream[Any]:
        """The stream meant by an object or a name.

        Raises:
            DeclarationError: there is none of that name, or it belongs to another app.
        """
        if isinstance(stream, Stream):
            if stream._streams is not self:
                raise wrong(where, f"the stream {stream.name} ({stream.place}) belongs to another app", "use one of this app")
            return stream
        if not isinstance(stream, str):
            raise wrong(where, f"{stream!r} is not a stream", "give a stream or its name")
        if stream not in self.by_name:
            raise wrong(where, f"there is no stream {stream!r}", f"use one of {', '.join(sorted(self.by_name))}")
        return self.by_name[stream]


def field_or_function(key: str | Callable[[Any], object], value_type: Any, option: str, where: str) -> Callable[[Any], object]:
    """What gives the key, or id, of a value: a function as it is, or one that takes the field of that name.

    Raises:
        DeclarationError: the type has no such field, or it is not a plain function of one value.
    """
    if not isinstance(key, str):
        _check_function(key, option, where)
        return key
    kinds = [typing.get_origin(kind) or kind for kind in _members(value_type)]
    for kind in kinds:
        fields = _fields(kind)
        if fields is not None and key not in fields and not hasattr(kind, key):
            known = f"use one of {', '.join(fields)}, or a function" if fields else "use a function of the value"
            raise wrong(where, f"{option}={key!r}: {name_of(kind)} has no such field", known)
    held = [_field_type(kind, key) for kind in _members(value_type)]
    if not any(map(_can_be_key, held)):
        what = f"{option}={key!r}: {name_of(value_type)} holds {' or '.join(map(name_of, distinct(held)))} there"
        raise wrong(where, f"{what}, which is no key", f'use text or whole numbers, or a function: {option}=lambda value: f"..."')
    if all(_is_mapping(kind) for kind in kinds):
        return operator.itemgetter(key)
    if all(_fields(kind) for kind in kinds):
        return operator.attrgetter(key)
    return functools.partial(_field, key)


def target_of(connector: Any) -> str | None:
    """What a declared connector reads or writes; None where it does not say."""
    return getattr(connector, "target", None)


def declared_codec(value_type: Any, what: str, where: str) -> Codec:
    """The codec of a type that was declared at ``where``.

    Raises:
        DeclarationError: values of this type could not be recorded.
    """
    try:
        return codec(value_type)
    except TypeError as problem:
        raise DeclarationError(f"{where}: {what}: {problem}") from None
    except NameError as missing:
        raise wrong(
            where, f"{what}: a field of {name_of(value_type)} has an unknown type: {missing}", "import or define it"
        ) from None


def _check_function(fn: object, what: str, where: str) -> None:
    if not callable(fn) or isinstance(fn, str):
        raise wrong(where, f"{what}: {fn!r} is not a function", "give a function of one value")
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise wrong(
            where, f"{what}: an operator waits for nothing, but this is an async function", "use a def, or an agent with tools"
        )
    if not places.takes(fn, (None,), {}):
        raise wrong(where, f"{what}: {places.name_of(fn)} cannot be called with one value", "give a function of one value")


def _returned(fn: Callable[..., Any]) -> Any:
    frame = places.caller()
    try:
        annotation = places.annotation(fn, "return", None if frame is None else frame.f_locals)
    except NameError as missing:
        raise wrong(
            places.here(), f"the return annotation cannot be resolved: {missing}", "define it above, or give type="
        ) from None
    return Any if annotation is places.MISSING else annotation


def _item(value_type: Any) -> Any:
    """Of ``list[X]``, ``Iterable[X]``, ``Iterator[X]``, ``Generator[X, ...]`` and their like: X."""
    origin, arguments = typing.get_origin(value_type), typing.get_args(value_type)
    if origin is tuple:
        return arguments[0] if len(arguments) == 2 and arguments[1] is ... else Any
    if not isinstance(origin, type) or not issubclass(origin, Iterable) or issubclass(origin, Mapping) or not arguments:
        return Any
    return arguments[0] if len(arguments) == 1 or issubclass(origin, Generator | Iterator) else Any


def _union(types: list[Any]) -> Any:
    """The type of values that are of one of these; ``Any`` where nobody could tell them apart again."""
    different = distinct(types)
    if len(different) == 1:
        return different[0]
    if any(map(is_plain, different)):
        return Any
    try:
        union: Any = functools.reduce(operator.or_, different)
        codec(union)
    except (TypeError, NameError):
        return Any
    return union


def distinct(types: Iterable[Any]) -> list[Any]:
    """Each type once, in order. (Not a set: an Annotated type may hold what has no hash.)"""
    found: list[Any] = []
    for kind in types:
        if kind not in found:
            found.append(kind)
    return found


def _members(value_type: Any) -> list[Any]:
    origin = typing.get_origin(value_type)
    if origin is typing.Annotated:
        return _members(typing.get_args(value_type)[0])
    return list(typing.get_args(value_type)) if origin is typing.Union or origin is UnionType else [value_type]


def _is_mapping(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _fields(kind: Any) -> tuple[str, ...] | None:
    """The names of its fields; None where any name may be one."""
    if is_plain(kind):
        return None
    if typing.is_typeddict(kind):
        return tuple(sorted(kind.__required_keys__ | kind.__optional_keys__))
    if _is_mapping(kind):
        return None
    for names in ("__struct_fields__", "__dataclass_fields__", "__pydantic_fields__", "_fields"):
        if hasattr(kind, names):
            return tuple(getattr(kind, names))
    return ()


def _field_type(kind: Any, name: str) -> Any:
    """What the field holds; ``Any`` where nobody can tell (yet)."""
    origin = typing.get_origin(kind) or kind
    if _is_mapping(origin) and not typing.is_typeddict(origin):
        arguments = typing.get_args(kind)
        return arguments[1] if len(arguments) == 2 else Any
    frame = places.caller()
    try:
        return typing.get_type_hints(origin, localns=None if frame is None else frame.f_locals).get(name, Any)
    except Exception:  # it is defined further down, say
        return Any


def _can_be_key(held: Any) -> bool:
    """May a value of this type be text or a whole number? Only what certainly may not is told apart: float, bool, lists."""
    if typing.get_origin(held) is typing.Literal:
        return any(isinstance(value, str | int) and not isinstance(value, bool) for value in typing.get_args(held))
    members = _members(held)
    if members != [held]:
        return any(map(_can_be_key, members))
    kind = typing.get_origin(held) or held
    if is_plain(held) or not isinstance(kind, type):  # Any is a class, from 3.11 on
        return True
    return issubclass(kind, str | int) and kind is not bool


def _field(name: str, value: Any) -> object:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)


def _first_free(wanted: str, taken: Mapping[str, object]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}:{number}"
    return name
