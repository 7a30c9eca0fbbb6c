"""Sources and sinks in memory: what an app reads and writes in a test, as durable as a file would be.

They are declarations, as ``jsonl(path)`` is: ``app.source("orders", MemorySource(), ...)`` and ``stream.sink(MemorySink())``.
What they hold outlives any engine that is opened on them, so an engine that dies and is started again goes on from its recorded
position, as it would with a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from millstream.engine.ports import Lines, SinkConnector, SourceConnector
from millstream.errors import SinkError, SourceError, UsageError


class MemorySource:
    """Items to be read, in order. It redelivers, and has no end until ``end`` is called.

    Args:
        items: the first ones; see ``put``.

    Attributes:
        ended: whether ``end`` was called.
    """

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items: list[bytes] = []
        self.ended = False
        self._readers: set[_Reader] = set()
        self.put(*items)

    def put(self, *items: Any) -> None:
        """Add items at the end, for whoever reads: ``bytes`` as they are, anything else as its JSON. From the loop's thread.

        Args:
            items: ``bytes``, plain JSON, dataclasses, structs or pydantic models.

        Raises:
            UsageError: the source has ended, or JSON cannot hold the item.
        """
        if self.ended:
            raise UsageError("this MemorySource was ended: nothing can be put into it any more")
        self.items += [item if isinstance(item, bytes) else json_of(item) for item in items]
        self._tell()

    def end(self) -> None:
        """Nothing more will come: whoever has read all of it has come to its end."""
        self.ended = True
        self._tell()

    def as_source(self) -> SourceConnector:
        """A new connector that reads the items; any number may."""
        return _Reader(self)

    def _tell(self) -> None:
        for reader in list(self._readers):
            if reader.loop.is_closed():
                self._readers.discard(reader)  # of a process that died
            else:
                reader.bounded = self.ended
                reader.more.set()


class _Reader:
    redelivers = True

    def __init__(self, source: MemorySource) -> None:
        self.bounded = source.ended
        self.caught_up = False
        self.more = asyncio.Event()
        self._source = source
        self._place = 0  # items that were read

    async def open(self, name: str, position: Any | None) -> None:
        count = len(self._source.items)
        if position is not None and not (type(position) is int and 0 <= position <= count):
            raise SourceError(
                f"source {name}: the recorded position {position!r} is none of this MemorySource, which has {count} items"
            )
        self._place = position or 0
        self.caught_up = False
        self.loop = asyncio.get_running_loop()
        self._source._readers.add(self)

    async def read(self, limit: int) -> Lines:
        source = self._source
        while self._place >= len(source.items) and not source.ended:
            if not self.caught_up:
                self.caught_up = True
                return Lines([], [], [], self._place or None)  # nothing new to record
            self.more.clear()
            await self.more.wait()
        self.caught_up = source.ended and self._place + limit >= len(source.items)
        first, self._place = self._place, min(self._place + limit, len(source.items))
        ended = source.ended and self._place == len(source.items)
        return Lines(source.items[first : self._place], range(first + 1, self._place + 1), [], self._place, ended)

    async def close(self) -> None:
        self._source._readers.discard(self)


class MemorySink:
    """Lines that were written. An engine that was killed and opens it again finds what it had written, recorded or not.

    Attributes:
        data: all bytes that were written.
    """

    def __init__(self) -> None:
        self.data = b""
        self._writer: _Writer | None = None

    def lines(self) -> list[bytes]:
        """Without their newlines."""
        return self.data.splitlines()

    def values(self) -> list[Any]:
        """The lines as plain JSON."""
        return [msgspec.json.decode(line) for line in self.lines()]

    def as_sink(self) -> SinkConnector:
        """A new connector that writes here; one at a time, and the last one to open takes over from a dead one."""
        return _Writer(self)


class _Writer:
    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink
        self._ahead = b""  # of what is appended next: what is there already

    def paths(self) -> Sequence[str]:
        return [f"memory:{id(self._sink)}"]

    def open(self, position: Any | None, pending: Iterable[bytes]) -> int:
        data = self._sink.data
        if position is None:
            position = len(data)
        if type(position) is not int or not 0 <= position <= len(data):
            raise _refused(f"the recorded position {position!r} is none of this MemorySink, which holds {len(data)} bytes")
        beyond, rest = data[position:], iter(pending)
        covered = b""
        while len(covered) < len(beyond) and (chunk := next(rest, None)) is not None:
            covered += chunk
        if not covered.startswith(beyond):
            raise _refused(f"the MemorySink holds {beyond!r} behind position {position}, which this app has not written")
        self._ahead = beyond
        self._sink._writer = self
        return position

    def append(self, chunks: Sequence[bytes]) -> int:
        sink = self._sink
        if sink._writer is not self:
            raise _refused("this connector does not hold the MemorySink (any more): it was closed, or another one was opened")
        text = b"".join(chunks)
        there = min(len(self._ahead), len(text))
        self._ahead, text = self._ahead[there:], text[there:]
        sink.data += text
        return len(sink.data) - len(self._ahead)

    def close(self) -> None:
        if self._sink._writer is self:
            self._sink._writer = None


def _refused(message: str) -> SinkError:
    error = SinkError(message)
    error.retryable = False
    return error


def json_of(item: Any) -> bytes:
    """A value as a line: of plain JSON, dataclasses, structs, pydantic models.

    Raises:
        UsageError: it has no JSON form.
    """
    try:
        return msgspec.json.encode(item, enc_hook=_plain)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"{item!r} cannot be written as JSON: {problem}; give bytes to have something else read") from None


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__qualname__} has no JSON form")
