"""A file of lines as a bounded source: read once from its start, or on from a recorded position, to its end.

The position that is recorded says how far the file was consumed (``offset`` in bytes, ``line``), and ``head``, a fingerprint of
its first 4 KB (of those that were consumed): a file that was exchanged or cut since is an error, never read from the middle of
a line of another file. It is found by content and not by inode, since a file that is copied, restored or written again with
more lines at its end can be read on.

The end of the file ends the source; a last line without newline counts. A file that has grown since is read on from there.

Reads go through a thread, a chunk ahead: while one chunk is processed, the next is read. At most two chunks (and a line
that is longer than that) are in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

import msgspec

from millstream.connectors.lines import Splitter
from millstream.connectors.workers import Ahead, Worker
from millstream.engine.ports import Lines
from millstream.errors import SourceError

CHUNK_BYTES = 256 * 1024
HEAD_BYTES = 4096  # of the file, for the fingerprint


class FilePosition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far a file was consumed; recorded as a JSON object."""

    offset: int
    line: int
    head: str  # fingerprint of the first min(offset, HEAD_BYTES) bytes
    inode: int
    mtime: int = 0  # ns, of the file when it was last looked at; orders rotated files where their names do not
    generation: int = 0  # files that were consumed before it under this path
    unterminated: bool = False  # its last line was taken without a newline


class LinesFile:
    """One open file and what of it was read and taken. ``read`` and ``close`` block; ``splitter`` gives the lines."""

    def __init__(self, path: str, fd: int, position: FilePosition | None, max_line: int, generation: int) -> None:
        status = os.fstat(fd)
        self.path = path
        self.fd = fd
        self.inode = status.st_ino
        self.mtime = status.st_mtime_ns
        self.offset = position.offset if position is not None else 0  # of the next read
        self.head = b"" if position is None else os.pread(fd, min(position.offset, HEAD_BYTES), 0)
        self.splitter = Splitter(
            max_line,
            offset=self.offset,
            line=position.line if position is not None else 0,
            generation=generation,
            unterminated=position is not None and position.unterminated,
        )
        self._fingerprint: str | None = None  # once it no longer changes

    def read(self) -> bytes:
        """The next chunk; empty at the end of the file."""
        chunk = os.pread(self.fd, CHUNK_BYTES, self.offset)
        self.offset += len(chunk)
        missing = HEAD_BYTES - len(self.head)
        if missing:
            self.head += chunk[:missing]
        return chunk

    def position(self) -> FilePosition:
        """Behind the last line that was taken."""
        splitter = self.splitter
        return FilePosition(
            splitter.offset,
            splitter.line,
            self._head_of(splitter.offset),
            self.inode,
            self.mtime,
            splitter.generation,
            splitter.unterminated,
        )

    def _head_of(self, offset: int) -> str:
        if offset < HEAD_BYTES:
            return fingerprint(self.head[:offset])
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.head)
        return self._fingerprint

    def close(self) -> None:
        os.close(self.fd)


class LinesSource:
    """See the module's text."""

    redelivers = True
    bounded = True

    def __init__(self, path: str, max_line: int) -> None:
        self._path = path
        self._max_line = max_line
        self._worker = Worker(f"read {path}")
        self._file: LinesFile | None = None
        self._chunks: Ahead[bytes] | None = None
        self._at_end = False
        self.caught_up = False

    async def open(self, name: str, position: Any | None) -> None:
        recorded = recorded_position(name, position)
        try:
            file = await self._worker.submit(lambda: open_at(name, os.path.abspath(self._path), recorded, self._max_line))
        except BaseException:
            self._worker.stop()
            raise
        self._file, self._chunks, self._at_end = file, Ahead(self._worker, lambda: _chunk(file)), False
        self.caught_up = False
        self._chunks.start()

    async def read(self, limit: int) -> Lines:
        file, chunks = self._file, self._chunks
        assert file is not None
        assert chunks is not None
        while True:
            batch = file.splitter.take(limit)
            if batch is not None:
                return Lines(batch.data, batch.positions, batch.rejected, msgspec.to_builtins(file.position()))
            if self._at_end:
                self.caught_up = True
                return Lines([], [], [], msgspec.to_builtins(file.position()), ended=True)
            chunk = await chunks.take()
            if chunk:
                chunks.start()
                file.splitter.feed(chunk)
            else:
                file.splitter.finish()
                self._at_end = True

    async def close(self) -> None:
        if self._chunks is not None:
            self._chunks.drop()
        if self._file is not None:
            closed = self._worker.submit(self._file.close)  # behind a read that is under way
            self._file = self._chunks = None
            await closed
        self._worker.stop()


def _chunk(file: LinesFile) -> bytes:
    try:
        chunk = file.read()
        size = file.offset if chunk else os.fstat(file.fd).st_size
    except OSError as problem:
        raise SourceError(f"{file.path} cannot be read at byte {file.offset:,}: {reason(problem)}") from problem
    if size < file.offset:
        raise SourceError(
            f"{file.path} was cut while it was read: {file.offset:,} bytes were read, it now has {size:,}. "
            f"A file that its writer cuts or rotates is read with jsonl(..., follow=True)"
        )
    return chunk


def open_at(name: str, path: str, position: FilePosition | None, max_line: int) -> LinesFile:
    """Open the file behind a recorded position.

    Raises:
        SourceError: it is not there, not a file, shorter than consumed, or another file.
    """
    try:
        file = open_file(name, path, position, max_line, position.generation if position is not None else 0)
    except FileNotFoundError:
        raise SourceError(
            f"source {name!r}: {path} does not exist. Create it, correct the path, or wait for it with jsonl(..., follow=True)"
        ) from None
    if position is not None:
        try:
            _same_file(name, file, position)
        except BaseException:
            file.close()
            raise
    return file


def _same_file(name: str, file: LinesFile, position: FilePosition) -> None:
    begin_again = "Put the file back, or read the new one under another source name (its lines are then new events)"
    size = os.fstat(file.fd).st_size
    if size < position.offset:
        raise SourceError(
            f"source {name!r}: {file.path} has {size:,} bytes, but {position.offset:,} bytes ({position.line:,} lines) of it "
            f"were consumed: it was cut or exchanged. {begin_again}"
        )
    found = fingerprint(file.head)
    if found != position.head:
        raise SourceError(
            f"source {name!r}: {file.path} is another file than the one of which {position.offset:,} bytes were consumed: its "
            f"first {len(file.head):,} bytes have the fingerprint {found}, recorded is {position.head}. {begin_again}"
        )
    if position.offset and not position.unterminated and (before := os.pread(file.fd, 1, position.offset - 1)) != b"\n":
        raise SourceError(
            f"source {name!r}: {file.path} was changed in what was consumed of it: line {position.line:,} ended at byte "
            f"{position.offset:,}, where {before!r} stands now instead of a newline. {begin_again}"
        )


def open_file(name: str, path: str, position: FilePosition | None, max_line: int, generation: int) -> LinesFile:
    """Open a file without comparing it with the position.

    Raises:
        FileNotFoundError: there is none.
        SourceError: it is not a regular file, or cannot be opened.
    """
    try:
        # Not blocking, so that a FIFO without a writer is refused below instead of waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise SourceError(f"source {name!r}: {path} cannot be opened: {reason(problem)}") from problem
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise SourceError(f"source {name!r}: {path} is {kind(mode)}")
        file = LinesFile(path, fd, position, max_line, generation)
    except BaseException:
        os.close(fd)
        raise
    return file


def recorded_position(name: str, position: Any | None) -> FilePosition | None:
    """Raises ``SourceError`` where the position is not one of a file."""
    if position is None:
        return None
    try:
        return msgspec.convert(position, FilePosition)
    except msgspec.ValidationError as problem:
        raise SourceError(
            f"source {name!r}: its recorded position {position!r} is not one of a file ({problem}): it was read from somewhere "
            f"else before. Give the source another name, or the connector that it had"
        ) from None


def kind(mode: int) -> str:
    """What is no regular file, and what to do."""
    if stat.S_ISDIR(mode):
        return "a directory, not a file. Name one file in it; several files are several sources"
    return (
        "not a regular file (a pipe, device or socket) and cannot be read again from a position. "
        "Read it with stdin(): millstream run ... < PATH"
    )


def fingerprint(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def reason(problem: OSError) -> str:
    """The system's own words and number."""
    return f"{problem.strerror} (errno {problem.errno})"
