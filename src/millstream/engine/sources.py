"""Source pumps: read lines, make events of them, and give them to the core in batches, no faster than it takes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec

from millstream.core.facts import Arrived, EventBatch, Rejected
from millstream.core.graph import SourceSpec
from millstream.core.intake import LETTER_BYTES
from millstream.core.runs import dump
from millstream.core.tables import CUT, EVIDENCE, LINE
from millstream.core.text import key_text, shown, text_of
from millstream.engine.ports import Line, SourceConnector

BATCH = 256  # lines a read
HALF_A_PAIR = re.compile(rb'\\u[dD][89abAB][0-9a-fA-F]{2}"')  # msgspec looks for the other half behind the end


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
            if type(key) is not str or not key.isascii():
                key = key_text(key)
            id = f"{name}:{position}" if id_of is None else key_text(id_of(value), "id")
            payload = str(line, "utf-8") if raw else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the user's types, key and id functions may raise anything
            rejected.append(_refused(position, reason_of(error, line), line))
            continue
        values.append(value)
        payloads.append(payload)
        keys.append(key)
        ids.append(id)
        places.append(position)
    return EventBatch(values, payloads, keys, ids, [at] * len(values), places), rejected


def _refused(position: Any, reason: str, line: bytes) -> Rejected:
    """A line that is no event. Whole, it can be read again; what is not UTF-8 is escaped, for people."""
    if len(line) <= LETTER_BYTES:
        try:
            return Rejected(position, reason, line.decode(), len(line), LINE)
        except UnicodeDecodeError:
            return Rejected(position, reason, line.decode("utf-8", "backslashreplace"), len(line), EVIDENCE)
    return Rejected(position, reason, line[:LETTER_BYTES].decode("utf-8", "backslashreplace"), len(line), CUT)


def _unread(line: Line) -> Rejected:
    """What the connector did not take for a line (half of one, say) is none at the second reading either."""
    kept = EVIDENCE if line.size == len(line.data) else CUT
    return Rejected(line.position, line.reason, line.data.decode("utf-8", "backslashreplace"), line.size, kept)


def reason_of(error: BaseException, line: bytes) -> str:
    """Why what was read is no event."""
    if isinstance(error, KeyError):
        return f"missing field {shown(error.args[0])}" if error.args else "missing field"
    if isinstance(error, msgspec.ValidationError):
        return f"does not fit its declared type: {text_of(error)}"
    if isinstance(error, msgspec.DecodeError):
        why = text_of(error).removeprefix("JSON is malformed: ")
        if why == "Input data was truncated" and HALF_A_PAIR.search(line):
            why = "half of a surrogate pair is no Unicode text"
        return f"malformed JSON: {why}"
    if isinstance(error, UnicodeDecodeError):
        broken = _not_utf8(line)
        if broken is not None:  # the decoder's own error counts from the text value that it was in
            return f"not UTF-8: {broken.reason} at byte {broken.start} of the line"
    return f"{type(error).__name__}: {text_of(error)}"


def _not_utf8(line: bytes) -> UnicodeDecodeError | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error
    return None
