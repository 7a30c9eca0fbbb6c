"""The plain operators: pure functions of a batch, column by column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream.core.facts import EventBatch
from millstream.core.graph import UNTYPED, StreamSpec
from millstream.core.text import key_text


def select(batch: EventBatch, places: list[int]) -> EventBatch:
    return EventBatch(
        [batch.values[i] for i in places],
        [batch.payloads[i] for i in places],
        [batch.keys[i] for i in places],
        [batch.ids[i] for i in places],
        [batch.times[i] for i in places],
        [batch.positions[i] for i in places],
    )


def extend(batch: EventBatch, more: EventBatch) -> None:
    batch.values += more.values
    batch.payloads += more.payloads
    batch.keys += more.keys
    batch.ids += more.ids
    batch.times += more.times
    batch.positions += more.positions


def _filter(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    fn = op.fn
    places = [place for place, value in enumerate(batch.values) if fn(value)]
    return batch if len(places) == len(batch.values) else select(batch, places)


def _map(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    values = list(map(op.fn, batch.values))
    return EventBatch(values, [None] * len(values), batch.keys, batch.ids, batch.times, batch.positions)


def _flat_map(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    out = EventBatch([], [], [], [], [], [])
    for place, value in enumerate(batch.values):
        values = list(op.fn(value))
        count = len(values)
        out.values += values
        out.payloads += [None] * count
        out.keys += [batch.keys[place]] * count
        out.ids += [f"{batch.ids[place]}#{n}" for n in range(count)]
        out.times += [batch.times[place]] * count
        out.positions += [batch.positions[place]] * count
    return out


def _key_by(op: StreamSpec, batch: EventBatch) -> EventBatch:
    assert op.fn is not None
    keys = [key_text(op.fn(value)) for value in batch.values]
    return EventBatch(batch.values, batch.payloads, keys, batch.ids, batch.times, batch.positions)


OPERATORS: dict[str, Callable[[StreamSpec, EventBatch], EventBatch]] = {
    "filter": _filter,
    "map": _map,
    "flat_map": _flat_map,
    "key_by": _key_by,
}


# --- keeping what an operator was given -------------------------------------------------------------------------------------


def as_given(stream: StreamSpec, value: Any, payload: str | None) -> str:
    """JSON of a value of this stream, from which ``given`` makes the same value.

    Args:
        payload: its JSON, where that is known. It may be of another type (of a stream that was merged into this one), but it is
            preferred: an operator may have changed the value before it raised.

    Raises:
        TypeError, ValueError: there is none. (An encoder of the user's type may raise anything.)
    """
    if payload is not None:
        back = given(stream, payload)
        if type(back) is type(value) and (stream.codec.name != UNTYPED or _same(value, back)):
            return payload
    return stream.codec.encode(value)


def given(stream: StreamSpec, text: str) -> Any:
    """The value of this stream that ``as_given`` made the text of."""
    return stream.codec.decode(text)


def _same(value: Any, back: Any) -> bool:
    """Is what comes back from JSON what went in? A tuple may come back as a list, as everywhere where no type is declared."""
    if isinstance(back, dict):
        return type(value) is dict and value.keys() == back.keys() and all(_same(value[key], back[key]) for key in back)
    if isinstance(back, list):
        return type(value) in (list, tuple) and len(value) == len(back) and all(map(_same, value, back))
    return type(value) is type(back) and bool(value == back)
