"""The plain operators: pure functions of a batch, column by column."""

from __future__ import annotations

from collections.abc import Callable

from millstream.core.facts import EventBatch
from millstream.core.graph import StreamSpec
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
