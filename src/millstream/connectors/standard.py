"""``stdin()`` and ``stdout()``: JSON lines through a pipe, for trying things out and for shells.

They cannot be read twice or read back, so they promise less than files do. Standard input: what was read and not consumed when
the process ends is lost (the source says ``redelivers = False``). Standard output: a row that was written and not recorded is
written again after a crash (at least once); it has no position.

It is at its end, and caught up, when its writer has closed it, and never before: the writer of a pipe, or whoever types, may just
be slow, and what came later would be lost.

Lines of stdin are numbered as in a file; each time that it is opened with a recorded position begins a new generation
(``"1:17"``), so that no position names two lines.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from millstream.connectors.lines import MAX_LINE, Splitter, declared_size
from millstream.connectors.lines_sink import REFUSED, reason, sink_error
from millstream.connectors.workers import Ahead, Worker
from millstream.engine.ports import Lines, SinkConnector, SourceConnector
from millstream.errors import SourceError

CHUNK_BYTES = 256 * 1024

_writing = threading.Lock()  # sinks of one process share standard output: their lines do not mix


class StandardInput(msgspec.Struct, frozen=True):
    """Standard input; made by ``stdin``."""

    max_line: int = declared_size(MAX_LINE, "max_line")  # bytes

    def as_source(self) -> SourceConnector:
        """A new connector that reads standard input to its end."""
        return StdinSource(self.max_line)

    @property
    def target(self) -> str:
        """What it reads, by name."""
        return "standard input"

    @property
    def once(self) -> bool:
        """Two sources of it would each get some of its lines."""
        return True


class StandardOutput(msgspec.Struct, frozen=True):
    """Standard output; made by ``stdout``."""

    def as_sink(self) -> SinkConnector:
        """A new connector that writes to standard output."""
        return StdoutSink()


def stdin(*, max_line: int | str = MAX_LINE) -> StandardInput:
    """JSON lines from standard input, to its end. What was not consumed when the process ends cannot be read again.

    Args:
        max_line: the longest line to read, as of ``jsonl``: bytes, or text with a unit.

    Raises:
        DeclarationError: ``max_line`` is not a size.
    """
    return StandardInput(declared_size(max_line, "stdin(): max_line"))


def stdout() -> StandardOutput:
    """JSON lines to standard output, at least once: after a crash the last lines may be written again."""
    return StandardOutput()


class StdinPosition(msgspec.Struct, frozen=True, gc=False):
    """How many lines were read, of which opening; recorded as a JSON object."""

    line: int
    generation: int


class StdinSource:
    """See the module's text. ``fd`` is for tests. One chunk is read ahead, and no more until it is used: the pipe fills up."""

    redelivers = False
    bounded = True

    def __init__(self, max_line: int, fd: int = 0) -> None:
        self._fd = fd
        self._max_line = max_line
        self._splitter = Splitter(max_line)
        self._worker = Worker("read stdin")
        self._chunks = Ahead(self._worker, self._chunk)
        self._at_end = False
        self.caught_up = False

    async def open(self, name: str, position: Any | None) -> None:
        self._splitter, self._at_end = Splitter(self._max_line), False
        self.caught_up = False
        if position is None:
            return
        try:
            last = msgspec.convert(position, StdinPosition)
        except msgspec.ValidationError as problem:
            raise SourceError(
                f"source {name!r}: its recorded position {position!r} is not one of stdin ({problem}): it was read from somewhere "
                f"else before. Give the source another name, or the connector that it had"
            ) from None
        self._splitter = Splitter(self._max_line, generation=last.generation + 1)

    async def read(self, limit: int) -> Lines:
        while True:
            batch = self._splitter.take(limit)
            if batch is not None:
                return Lines(batch.data, batch.positions, batch.rejected, self._position())
            if self._at_end:
                self.caught_up = True
                return Lines([], [], [], self._position(), ended=True)
            chunk = await self._chunks.take()
            if chunk:
                self._chunks.start()
                self._splitter.feed(chunk)
            else:
                self._splitter.finish()
                self._at_end = True

    async def close(self) -> None:
        self._chunks.drop()
        self._worker.stop()  # a read that waits for input goes on waiting: it cannot be interrupted, and holds nothing up

    def _position(self) -> dict[str, int]:
        return {"line": self._splitter.line, "generation": self._splitter.generation}

    def _chunk(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, CHUNK_BYTES)
            except BlockingIOError:  # another program has made the terminal or pipe non-blocking
                select.select([self._fd], [], [])
            except OSError as problem:
                raise SourceError(f"standard input cannot be read: {reason(problem)}") from problem


class StdoutSink:
    """See the module's text. ``fd`` is for tests."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._ahead = 0  # bytes of the next append that an append which was refused has written

    def paths(self) -> Sequence[str]:
        return []  # any number of sinks may share it

    def open(self, position: Any | None, pending: Iterable[bytes]) -> None:
        if position is not None:
            raise sink_error(
                f"the recorded position {position!r} is not one of standard output, which has none: this sink wrote elsewhere "
                f"before. Give the sink another name, or the connector that it had"
            )
        self._ahead = 0

    def append(self, chunks: Sequence[bytes]) -> None:
        data = memoryview(b"".join(chunks))
        with _writing:
            try:
                sys.stdout.flush()  # what the app printed before
            except (AttributeError, OSError, ValueError):
                pass  # the app's own printing; if outputs cannot be written either, the write says so
            self._write(data)

    def close(self) -> None:
        pass

    def _write(self, data: memoryview) -> None:
        done = min(self._ahead, len(data))
        while done < len(data):
            try:
                done += os.write(self._fd, data[done:])
            except BlockingIOError:  # another program has made the terminal or pipe non-blocking
                select.select([], [self._fd], [])
            except BrokenPipeError as problem:
                raise sink_error(
                    f"standard output was closed by its reader ({reason(problem)}); {len(data) - done:,} bytes of output were not "
                    f"written. They are kept, and written by the next run"
                ) from problem
            except OSError as problem:
                self._ahead = max(self._ahead, done)
                raise sink_error(
                    f"cannot write to standard output: {reason(problem)}", retryable=problem.errno in REFUSED
                ) from problem
        self._ahead = max(0, self._ahead - len(data))
