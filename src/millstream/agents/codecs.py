"""How values of a declared type become JSON and come back, without ever changing on the way.

Rules:

* the law: where ``encode(x)`` succeeds, ``decode(encode(x)) == x``. Every encoding is therefore decoded and compared before
  it counts [M: 0.25 us for a small value, 5 us for 8 KB]; what would come back as something else is refused here, where the
  value was made, instead of being found by the run that reads it a week later;
* what has no declared type (``dict``, ``Any``, no annotation) is plain JSON: text, numbers, booleans, None, lists, and dicts
  whose keys are text. A set, a datetime or an object is refused. The law has one exception: a plain tuple may become a list,
  because rows of every database driver are tuples; a run sees the decoded list, live and replayed;
* NaN and the infinities are refused everywhere: JSON has none, and msgspec would write null;
* a declared type is whatever msgspec can read back: Decimal, datetime, tuples, int keys, dataclasses, TypedDicts, Structs,
  enums, unions; and pydantic models, alone or inside these. Everything else is refused when it is declared;
* the text is canonical: keys sorted, sets sorted, no blanks. Equal values give equal text, also in another process;
* pydantic is never imported here: a type can only be one of its models where the user has imported it.
"""

from __future__ import annotations

import math
import sys
import typing
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any

import msgspec
import msgspec.inspect as inspection

from millstream.core.graph import UNTYPED, Codec

_type = type  # ``type`` is a parameter's name below, as it is in the public API


def codec(type: Any) -> Codec:
    """The codec of a declared type; ``Any`` and ``object`` stand for plain JSON.

    The codec's ``encode`` raises ``TypeError`` for what is not of the type or would come back changed, and ``ValueError`` for NaN
    and infinities; its ``decode`` raises ``ValueError`` for text that is not JSON or does not fit the type.

    Raises:
        TypeError: values of this type could not be read back; says which part, and what to use instead.
        NameError: a field's annotation names something that does not exist (yet).
    """
    try:
        hash(type)
    except TypeError:  # Annotated with a list, say
        return _build(type)
    return _cached(type)


def is_plain(type: Any) -> bool:
    """Is this a spelling of "no declared type"?"""
    return type is Any or type is object


def name_of(type: Any) -> str:
    """How the type is written, without its module: for messages and fingerprints."""
    if is_plain(type):
        return "Any"
    if type is None or type is NoneType:
        return "None"
    if type is ...:
        return "..."
    arguments = typing.get_args(type)
    origin = typing.get_origin(type)
    if origin is typing.Annotated:
        return name_of(arguments[0])
    if origin is typing.Union or origin is UnionType:
        return " | ".join(map(name_of, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments:
        return f"{name_of(origin)}[{', '.join(map(name_of, arguments))}]"
    return getattr(type, "__qualname__", None) or str(type)


def encode_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Canonical JSON of ``[args, kwargs]``: what is matched on replay and shown to people.

    It is never decoded, so whatever has a canonical form will do.

    Raises:
        TypeError: an argument cannot be recorded; names it.
        ValueError: an argument holds NaN, an infinity, or text that is not Unicode; names it.
    """
    try:
        data = _encoder.encode((args, kwargs))
    except TypeError:
        try:
            data = _encode_with_keys((args, kwargs))
        except TypeError:
            for place, value in _arguments(args, kwargs):
                _refuse_unencodable(value, place)
            raise
    if b"null" in data:
        for place, value in _arguments(args, kwargs):
            _refuse_not_finite(value, place)
    return data.decode()


def same_each_time(type: Any) -> bool:
    """Does decoding the same text again give an equal value? Not where a function of the user's fills in what is missing."""
    return all(factory in (list, dict, set, frozenset, tuple, bytearray) for factory in _factories(type, set()))


# Building: once a type.


@lru_cache(maxsize=1024)
def _cached(type: Any) -> Codec:
    return _build(type)


def _build(type: Any) -> Codec:
    if is_plain(type):
        return _checked(UNTYPED, _encoder.encode, msgspec.json.Decoder().decode)
    if _is_model(type):
        return _pydantic(type)
    try:
        return _msgspec(type)
    except TypeError:
        if any(map(_is_model, _parts(type))):
            return _pydantic(type)  # a union of models, say, which msgspec does not know how to tell apart
        raise


def _msgspec(type: Any) -> Codec:
    name = name_of(type)
    try:
        info = inspection.type_info(type)
        decoder = msgspec.json.Decoder(type, dec_hook=_into)
    except (TypeError, ValueError) as problem:
        raise TypeError(f"{name} cannot be read back from JSON: {problem}") from None
    for place, part in _walk(info):
        at = f"{name}{place}" if place else "it"
        if isinstance(part, inspection.CustomType):
            if part.cls is not object and not _is_model(part.cls):
                known = "a dataclass, TypedDict, msgspec.Struct, pydantic model or built-in type"
                raise TypeError(f"{name} cannot be read back from JSON: {at} is {part.cls.__qualname__}; use {known}")
        elif isinstance(part, inspection.DictType) and not _can_be_key(part.key_type):
            raise TypeError(f"{name} cannot be read back from JSON: keys of {at} are neither text nor numbers; use pairs")
    return _checked(name, _encoder.encode, decoder.decode)


def _pydantic(type: Any) -> Codec:
    pydantic: Any = sys.modules["pydantic"]
    try:
        adapter = pydantic.TypeAdapter(type)
    except pydantic.errors.PydanticUserError as problem:
        raise TypeError(f"{name_of(type)} cannot be read back from JSON: {problem}") from None

    def encode(value: Any) -> bytes:
        return _encoder.encode(adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings=False))

    return _checked(name_of(type), encode, adapter.validate_json)


def _checked(name: str, write: Callable[[Any], bytes], read: Callable[[str | bytes], Any]) -> Codec:
    """What is written is read back at once, to see that it is the same. Mostly it is then handed to somebody who reads it: that
    one is given what was read, once (one tuple, because threads write too)."""
    last: tuple[str, Any] | None = None

    def decode(text: str | bytes) -> Any:
        nonlocal last
        kept = last
        if kept is not None and kept[0] is text:
            last = None
            return kept[1]
        return read(text)

    def encode(value: Any) -> str:
        nonlocal last
        try:
            data = write(value)
        except TypeError:
            try:
                data = _encode_with_keys(value)
            except TypeError:
                _refuse_unencodable(value, "$")
                raise
        try:
            back = read(data)
        except ValueError as problem:
            _refuse_not_finite(value, "$")
            raise TypeError(f"{_shown(value)} does not fit {name}: {problem}") from None
        if back != value:
            _refuse_changed(value, back, "$")
        text = data.decode()
        last = text, back
        return text

    return Codec(name=name, encode=encode, decode=decode)


def _can_be_key(info: inspection.Type) -> bool:
    if isinstance(info, inspection.UnionType):
        return all(map(_can_be_key, info.types))
    return isinstance(info, _KEYS)


_KEYS = (
    inspection.AnyType,
    inspection.StrType,
    inspection.IntType,
    inspection.FloatType,
    inspection.EnumType,
    inspection.LiteralType,
    inspection.UUIDType,
    inspection.DateTimeType,
    inspection.DateType,
    inspection.TimeType,
    inspection.TimeDeltaType,
    inspection.DecimalType,
    inspection.BytesType,
)


def _walk(info: Any) -> Iterator[tuple[str, inspection.Type]]:
    """Every part of a type with its place (``.items.price``), each once: types may hold themselves."""
    seen: set[int] = set()
    left = [("", info)]
    while left:
        place, part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, inspection.Type):
            yield place, part
        elif isinstance(part, inspection.Field):
            place = f"{place}.{part.name}"
        if isinstance(part, inspection.Type | inspection.Field):
            left += [(place, getattr(part, name)) for name in part.__struct_fields__ if not name.startswith("default")]
        elif isinstance(part, tuple):
            left += [(place, item) for item in part]


def _parts(type: Any) -> Iterator[Any]:
    yield type
    for part in typing.get_args(type):
        yield from _parts(part)


def _factories(type: Any, seen: set[Any]) -> Iterator[Any]:
    """The default factories of all fields in reach."""
    if _is_model(type):
        if type not in seen:
            seen.add(type)
            for field in getattr(type, "__pydantic_fields__", {}).values():
                if field.default_factory is not None:
                    yield field.default_factory
                for part in _parts(field.annotation):
                    yield from _factories(part, seen)
        return
    try:
        info = inspection.type_info(type)
    except (TypeError, ValueError):
        for part in typing.get_args(type):
            yield from _factories(part, seen)
        return
    for _, part in _walk(info):
        for field in getattr(part, "fields", ()):
            if field.default_factory is not msgspec.NODEFAULT:
                yield field.default_factory
        if isinstance(part, inspection.CustomType) and _is_model(part.cls):
            yield from _factories(part.cls, seen)


# What msgspec does not know by itself: pydantic models, ``object``, and subclasses of text and numbers.


def _is_model(type: Any) -> bool:
    return isinstance(type, _type) and hasattr(type, "__pydantic_validator__")


def _from(value: Any) -> Any:
    if _is_model(type(value)) and hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, round_trip=True, warnings=False)
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(f"{type(value).__qualname__} cannot be encoded")


def _into(type: Any, value: Any) -> Any:
    return value if type is object else type.model_validate_json(_encoder.encode(value))


_encoder = msgspec.json.Encoder(enc_hook=_from, order="sorted")


def _encode_with_keys(value: Any) -> bytes:
    """For dicts whose keys are not all text, which the sorting encoder does not take."""
    return _encoder.encode(msgspec.to_builtins(value, str_keys=True, enc_hook=_from, order="sorted"))


# Refusing, with the place: the slow path, where something is already known to be wrong, or may be.


def _refuse_changed(value: Any, back: Any, place: str) -> None:
    """Find what came back changed; values that merely do not compare equal to their like are let through."""
    if value is back:
        return
    _refuse_not_finite_number(value, place)
    if isinstance(value, dict) and isinstance(back, dict):
        for key, item in value.items():
            if key not in back:
                why = "the type has no such key" if isinstance(key, str) else "JSON's keys are text; declare the dict's type"
                raise TypeError(f"{place} would come back without its key {_shown(key)}: {why}")
            _refuse_changed(item, back[key], f"{place}[{key!r}]")
    elif isinstance(value, list | tuple) and isinstance(back, list) and type(value) in (list, tuple):
        for index, (item, other) in enumerate(zip(value, back, strict=True)):
            _refuse_changed(item, other, f"{place}[{index}]")
    elif type(value) is type(back):
        for (where, item), (_, other) in zip(_children(value, place), _children(back, place), strict=False):
            _refuse_changed(item, other, where)
    elif value != back:
        plain = type(back) in (str, int, float, bool, list, dict, NoneType)
        fix = _FIX if plain else f"give a {type(back).__qualname__}"
        raise TypeError(f"{place} is {_shown(value)}, which would come back from JSON as {_shown(back)}; {fix}")


def _refuse_unencodable(value: Any, place: str) -> None:
    """Find the innermost part that has no encoding at all."""
    try:
        _encode_with_keys(value)
    except TypeError as problem:
        for where, child in _children(value, place):
            _refuse_unencodable(child, where)
        if isinstance(value, dict):
            raise TypeError(f"{place} has keys that are neither text nor numbers; use text keys or a list of pairs") from None
        raise TypeError(f"{place} is {_shown(value)}, which JSON cannot hold ({problem}); {_FIX}") from None


def _refuse_not_finite(value: Any, place: str) -> None:
    _refuse_not_finite_number(value, place)
    for where, child in _children(value, place):
        _refuse_not_finite(child, where)


def _refuse_not_finite_number(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}: JSON has no such number; use None or text")


def _children(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{place}[{key!r}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield f"{place}[{index}]", item
    else:
        kind = type(value)
        fields: Any = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None)
        for field in fields or getattr(kind, "__pydantic_fields__", ()):
            if hasattr(value, field):
                yield f"{place}.{field}", getattr(value, field)


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(args, 1):
        yield f"argument {number}", value
    for name, value in kwargs.items():
        yield f"argument {name!r}", value


_FIX = "use text, a number, a list or a dict, or declare the type"


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__qualname__})"
