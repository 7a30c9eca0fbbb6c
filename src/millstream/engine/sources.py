"""Source pumps: read lines, make events of them, and give them to the core in batches, no faster than it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from millstream.core.facts import Arrived, EventBatch, Rejected
from millstream.core.graph import SourceSpec
from millstream.core.intake import LETTER_BYTES, key_text
from millstream.core.runs import dump
from millstream.engine.ports import Line, SourceConnector

BATCH = 256  # lines a read


class Pump:
    """One source.

    Args:
        seen: which of these ids the store knows.
        gate: set while sources may be read.
        nothing_new: called when a read gave nothing: the source may have caught up.
    """

    def __init__(
        self,
        spec: SourceSpec,
        connector: SourceConnector,
        position: Any | None,
        *,
        now: Callable[[], int],
        feed: Callable[[Arrived], None],
        seen: Callable[[str, list[str]], set[str]],
        gate: asyncio.Event,
        nothing_new: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.connector = connector
        self.position = position
        self.ended = False
        self.reading = False  # a read is under way; nothing of it is lost when it is cancelled
        self._now = now
        self._feed = feed
        self._seen = seen
        self._gate = gate
        self._nothing_new = nothing_new

    @property
    def caught_up(self) -> bool:
        """Everything that was there has been read."""
        return self.ended or self.connector.caught_up

    async def run(self) -> None:
        """Read until the end of a bounded source, or until cancelled.

        Raises:
            SourceError: the source cannot be read (any further).
        """
        await self.connector.open(self.spec.name, self.position)
        try:
            while not self.ended:
                await self._gate.wait()
                lines = await self.connector.read(BATCH)
                if lines.data or lines.rejected or lines.ended or lines.position != self.position:
                    self.position = lines.position
                    batch, rejected = events(self.spec, lines.data, lines.positions, self._now())
                    rejected = [_unread(line) for line in lines.rejected] + rejected
                    known = self._seen(self.spec.name, batch.ids) if self.spec.id is not None and batch.ids else set()
                    self._feed(Arrived(self._now(), self.spec.name, batch, rejected, dump(lines.position), known, lines.ended))
                else:
                    self._nothing_new()
                self.ended = lines.ended
                await asyncio.sleep(0)
        finally:
            await self.connector.close()


def events(spec: SourceSpec, data: list[bytes], positions: Any, at: int) -> tuple[EventBatch, list[Rejected]]:
    """Decode lines; what cannot be decoded, or has no key or id, is rejected with the reason."""
    values: list[Any] = []
    payloads: list[str | None] = []
    keys: list[str] = []
    ids: list[str] = []
    places: list[Any] = []
    rejected: list[Rejected] = []
    decode, key_of, id_of, raw, name = spec.codec.decode, spec.key, spec.id, spec.raw, spec.name
    for line, position in zip(data, positions, strict=True):
        try:
            value = decode(line)
            key = key_of(value)
            if type(key) is not str:
                key = key_text(key)
            id = f"{name}:{position}" if id_of is None else key_text(id_of(value))
            payload = str(line, "utf-8") if raw else None
        except Exception as error:  # the user's key or id function may raise anything
            rejected.append(Rejected(position, _reason(error), shown(line), len(line)))
            continue
        values.append(value)
        payloads.append(payload)
        keys.append(key)
        ids.append(id)
        places.append(position)
    return EventBatch(values, payloads, keys, ids, [at] * len(values), places), rejected


def shown(data: bytes) -> str:
    """The beginning of bad input as text; what is not UTF-8 is escaped."""
    return data[:LETTER_BYTES].decode("utf-8", "backslashreplace")


def _unread(line: Line) -> Rejected:
    return Rejected(line.position, line.reason, shown(line.data), line.size)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"missing field {error.args[0]!r}" if error.args else "missing field"
    if isinstance(error, msgspec.ValidationError):
        return f"does not fit its declared type: {error}"
    if isinstance(error, msgspec.DecodeError):
        return f"malformed JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start}"
    return f"{type(error).__name__}: {error}"
