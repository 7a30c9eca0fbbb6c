"""A file of lines as an endless source: what is appended to it, through rotations, for as long as somebody writes.

New data is noticed by looking again a few times a second. A line counts when its newline is there. The rules for what happens
to log files:

* **At first**: the file under the path, from its start; what was rotated before is not read.
* **Missing**: waited for. (The folder must exist: a wrong path should not wait for ever.)
* **Renamed**, with a new file in its place (another inode): the old one is read on through the open handle until the new one
  is not empty *and then* the old one is at its end. A writer writes to the new file only after it has finished with the old
  one, so this order leaves nothing behind and needs no grace period. Then the next file is read from 0: the one that was
  rotated right after the old one, where more than one rotation has happened meanwhile.
* **Cut** (copytruncate: shorter than read, or its first bytes are others): begun again at 0, with a rejected line as evidence:
  what was written between the last look and the cut cannot be seen any more.
* **After a restart** the recorded inode is looked for in the same folder (``orders.jsonl.1``, ``orders.jsonl-20260131``), it is
  finished first, then those rotated after it. If it is gone, a rejected line says how far it was read.

Rotated files are ordered by their names (``.2`` is older than ``.1``, dates ascend), where the file that was read is among
them; else by their modification time. Other siblings (``.bak``, ``.gz``) are never read.

Every file is a generation of its own, which keeps the positions of lines apart (see ``lines``).
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from millstream.connectors.lines import Splitter
from millstream.connectors.lines_source import (
    HEAD_BYTES,
    FilePosition,
    LinesFile,
    fingerprint,
    kind,
    open_file,
    reason,
    recorded_position,
)
from millstream.connectors.workers import Ahead, Worker
from millstream.engine.ports import Line, Lines
from millstream.errors import SourceError

POLL_SECONDS = 0.2

_NUMBERED = re.compile(r"\.(\d{1,4})")
_DATED = re.compile(r"[.-](\d{4}-?\d\d-?\d\d[-\d_.:T]*)")


# What was seen: bytes of the open file; its end; another file, opened now; evidence of what may be lost; or nothing new.
Look = bytes | Literal["ended", "opened"] | Line | None


async def _poll() -> None:
    await asyncio.sleep(POLL_SECONDS)


class FollowSource:
    """See the module's text. ``pause`` is awaited when there is nothing new."""

    redelivers = True
    bounded = False

    def __init__(self, path: str, max_line: int, pause: Callable[[], Awaitable[None]] = _poll) -> None:
        self._path = path
        self._max_line = max_line
        self._pause = pause
        self._worker = Worker(f"follow {path}")
        self._tail: _Tail | None = None
        self._looks: Ahead[Look] | None = None
        self.caught_up = False  # the last look found nothing new, and every whole line was given

    async def open(self, name: str, position: Any | None) -> None:
        recorded = recorded_position(name, position)
        try:
            tail = await self._worker.submit(lambda: _Tail(name, os.path.abspath(self._path), self._max_line, recorded))
        except BaseException:
            self._worker.stop()
            raise
        self._tail, self._looks, self.caught_up = tail, Ahead(self._worker, tail.look), False

    async def read(self, limit: int) -> Lines:
        tail, looks = self._tail, self._looks
        assert tail is not None
        assert looks is not None
        while True:
            splitter = tail.splitter
            batch = splitter.take(limit) if splitter is not None else None
            if batch is not None:
                return Lines(batch.data, batch.positions, batch.rejected, msgspec.to_builtins(tail.position()))
            seen = await looks.take()  # the thread touches the tail only in here
            if seen is None:
                if not self.caught_up:
                    self.caught_up = True
                    return Lines([], [], [], msgspec.to_builtins(tail.position()))
                await self._pause()
                continue
            self.caught_up = False
            if isinstance(seen, Line):
                return Lines([], [], [seen], msgspec.to_builtins(tail.position()))
            elif splitter is not None and seen == "ended":
                splitter.finish()
            elif splitter is not None and isinstance(seen, bytes):
                splitter.feed(seen)

    async def close(self) -> None:
        if self._tail is not None and self._looks is not None:
            self._looks.drop()
            closed = self._worker.submit(self._tail.close)  # behind a look that is under way
            self._tail = self._looks = None
            await closed
        self._worker.stop()


class _Tail:
    """Which file is read, and what comes after it. Everything here blocks and runs in the source's thread."""

    def __init__(self, name: str, path: str, max_line: int, position: FilePosition | None) -> None:
        self._name = name
        self._path = path
        self._max_line = max_line
        self._recorded = position  # until the first file is open
        self._file: LinesFile | None = None
        self._finished = False  # ``_file`` was read to its end, and another one follows it
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise SourceError(f"source {name!r}: the folder {folder} does not exist. Create it, or correct the path")
        self._status()

    @property
    def splitter(self) -> Splitter | None:
        return self._file.splitter if self._file is not None else None

    def position(self) -> FilePosition | None:
        return self._file.position() if self._file is not None else self._recorded

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def look(self) -> Look:
        """What is new. Called when every line of what it gave before was taken."""
        try:
            if self._file is not None:
                return self._next(self._file) if self._finished else self._more(self._file)
            return self._open(self._path, None, 0) if self._recorded is None else self._resume(self._recorded)
        except OSError as problem:
            raise SourceError(f"source {self._name!r}: {self._path} cannot be followed: {reason(problem)}") from problem

    def _more(self, file: LinesFile) -> Look:
        """Read on in the open file."""
        replaced = self._successor(file.inode, file.mtime)[0] is not None  # seen before the read that finds the end
        consumed = file.offset
        chunk = file.read()
        status = os.fstat(file.fd)
        if status.st_size < file.offset or os.pread(file.fd, len(file.head), 0) != file.head:
            return self._cut(file, consumed, status.st_size)
        file.mtime = status.st_mtime_ns
        if chunk:
            return chunk
        if not replaced:
            return None
        self._finished = True
        return "ended"

    def _cut(self, file: LinesFile, consumed: int, size: int) -> Line:
        """The open file was cut: begin it again."""
        rest, partial = file.splitter.partial, file.splitter.abandon()
        self._file = LinesFile(file.path, file.fd, None, self._max_line, file.splitter.generation + 1)
        return self._evidence(
            f"{file.path} was cut (copytruncate?) after {consumed:,} bytes of it had been read, and has {size:,} now; it is read "
            f"again from its start. What was written between the last look and the cut is missing here",
            partial,
            rest,
        )

    def _next(self, finished: LinesFile) -> Look:
        """Go on to the file behind the finished one; that one is held open so long, or its inode could be given away."""
        path, inode = self._successor(finished.inode, finished.mtime)
        return self._open(path, inode, finished.splitter.generation + 1) if path is not None else None

    def _open(self, path: str, inode: int | None, generation: int) -> Look:
        """Open a file at its start. If it was renamed meanwhile, the next look finds it by its new name."""
        try:
            file = open_file(self._name, path, None, self._max_line, generation)
        except FileNotFoundError:
            return None
        if inode is not None and file.inode != inode:
            file.close()
            return None
        self.close()
        self._file, self._finished = file, False
        return "opened"

    def _resume(self, last: FilePosition) -> Look:
        """After a restart: the file that was being read, wherever it is by now."""
        candidates = self._candidates()
        same = [path for path, status in candidates if status.st_ino == last.inode]
        others = [path for path, status in candidates if status.st_ino != last.inode]
        for path in same + others:
            try:
                file = open_file(self._name, path, last, self._max_line, last.generation)
            except FileNotFoundError:  # renamed meanwhile: look again
                return None
            except SourceError:
                if path in same:
                    raise
                continue
            if path in same and file.inode != last.inode:  # likewise
                file.close()
                return None
            known = path in same or len(file.head) == HEAD_BYTES  # a copy (a restored backup) only by a whole fingerprint
            if known and os.fstat(file.fd).st_size >= last.offset and fingerprint(file.head) == last.head:
                self._file = file
                return "opened"
            file.close()
        return self._lost(last, cut=self._path in same) if candidates else None

    def _lost(self, last: FilePosition, cut: bool) -> Look:
        """The file that was being read cannot be read on: say so, and go on with what came after it."""
        path: str | None
        inode: int | None
        if cut:
            path, inode = self._path, last.inode
            what = f"{path} (inode {inode}) was cut or exchanged while it was not watched"
        else:
            path, inode = self._successor(0, last.mtime)  # 0: its inode may be another file's by now
            what = f"the file that was {self._path} (inode {last.inode}) is gone, also from among the rotated files beside it"
        if path is None or self._open(path, inode, last.generation + 1) is None:
            return None
        return self._evidence(
            f"{what}: {last.offset:,} bytes ({last.line:,} lines) of it were read, what followed could not be found. Reading goes "
            f"on at the start of {path}"
        )

    def _evidence(self, text: str, data: bytes = b"", size: int = 0) -> Line:
        assert self._file is not None
        return Line(self._file.splitter.position(0), data, text, size)

    def _successor(self, inode: int, mtime: int) -> tuple[str, int] | tuple[None, None]:
        """The file to read after this one, and its inode; None while this one may still be written to."""
        status = self._status()
        if status is not None and status.st_ino == inode:
            return None, None
        candidates = self._candidates()
        inodes = [status.st_ino for _, status in candidates]
        if inode in inodes:
            later = candidates[inodes.index(inode) + 1 :]
        else:
            later = [(path, status) for path, status in candidates if status.st_mtime_ns >= mtime or path == self._path]
        if not later:
            return None, None
        path, status = later[0]
        if path == self._path and status.st_size == 0:
            return None, None  # its writer has not begun it: it may still hold the old one
        return path, status.st_ino

    def _status(self) -> os.stat_result | None:
        """Of the file under the path; None when there is none."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"source {self._name!r}: {self._path} is {kind(status.st_mode)}")
        return status

    def _candidates(self) -> list[tuple[str, os.stat_result]]:
        """The rotated files beside the path, oldest first, and the file under the path."""
        folder, name = os.path.split(self._path)
        rotated = [(order, entry) for entry in os.listdir(folder) if (order := _rotation(entry, name)) is not None]
        paths = [os.path.join(folder, entry) for _, entry in sorted(rotated)]
        found = []
        for path in [*paths, self._path]:
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((path, status))
        return found


def _rotation(entry: str, name: str) -> tuple[int, str] | None:
    """Where a rotated file stands among the others, older ones first; None: it is none of ``name``."""
    if not entry.startswith(name):
        return None
    suffix = entry[len(name) :]
    if match := _NUMBERED.fullmatch(suffix):
        return -int(match[1]), ""
    if _DATED.fullmatch(suffix):
        return 0, suffix
    return None
