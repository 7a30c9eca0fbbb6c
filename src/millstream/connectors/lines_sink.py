"""A file of lines as a sink: output that is neither lost, nor written twice, nor taken back.

The position that is recorded is ``{path, inode, offset}``: up to ``offset`` the file was synced with every output row that is
recorded as written. The rules:

* **Appending**: the bytes go behind those that are known to be there, then ``fdatasync``, then the new position. Before each
  append the file must be as it was left: the same one under the path, and not longer or shorter.
* **Recovery**: a crash leaves more in the file than is recorded. What is there is compared with ``pending``, the outputs that
  were to follow, and kept as far as it agrees. A remainder that differs is cut off only if it is what a power failure leaves:
  no longer than ``pending``, and bytes that are either right or zero, or a piece without a newline. A whole line of somebody
  else is never cut: others may have read it. That is an error with both numbers, and nothing is touched.
* **A refused write** (disk full) may have written a part: the part stays, and the next append, which begins with the same
  bytes, goes on behind it. So kept bytes after a crash and after a refusal are one thing: ``_ahead``.
* **A failed sync** is never tried again: the kernel may take the pages for clean and report success the second time. For the
  same reason what recovery keeps is written again in place, the same bytes: what can be read need not be on disk.
* **One writer**: a kernel lock (flock) on the file itself, gone with the process.

A file that is there before the first output is appended to; its last line must be whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from millstream.errors import SinkError

COMPARE_BYTES = 1 << 20  # read back at a time
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN}  # nothing is broken: it will do later


class SinkPosition(msgspec.Struct, frozen=True, gc=False):
    """How far a file is written and synced; recorded as a JSON object."""

    path: str
    inode: int
    offset: int


class LinesSink:
    """See the module's text."""

    def __init__(self, path: str) -> None:
        self._declared = path
        self._path = path
        self._fd: int | None = None
        self._inode = 0
        self._offset = 0  # as recorded
        self._ahead = 0  # bytes of the outputs to come that are in the file already
        self._broken: str | None = None  # why nothing can be appended any more

    def paths(self) -> Sequence[str]:
        return [os.path.realpath(self._declared)]

    def open(self, position: Any | None, pending: Iterable[bytes]) -> dict[str, Any]:
        recorded = _recorded(position)
        self.close()
        self._path = os.path.abspath(self._declared)
        fd = self._take_hold(recorded)
        try:
            status = os.fstat(fd)
            if recorded is None:
                offset, ahead = self._first(fd, status.st_size), 0
            else:
                offset = recorded.offset
                ahead = self._recover(fd, status, recorded, pending)
            # From here on appending only: what another program wrote without asking is noticed, never written over.
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._inode, self._offset, self._ahead, self._broken = fd, status.st_ino, offset, ahead, None
        return self._position()

    def append(self, chunks: Sequence[bytes]) -> dict[str, Any]:
        fd = self._fd
        if fd is None:
            raise sink_error(f"{self._path} is not open")
        if self._broken is not None:
            raise sink_error(f"{self._broken} (nothing was written since)")
        self._unchanged(fd)
        data = b"".join(chunks)
        kept = min(self._ahead, len(data))
        if kept and not _agrees(fd, self._offset, data, kept):
            raise self._break(
                f"{self._path} has {kept:,} bytes behind byte {self._offset:,} that are not the outputs to write there; "
                f"nothing was written"
            )
        self._write(fd, memoryview(data)[kept:])
        try:
            _sync(fd)
        except OSError as problem:
            raise self._break(
                f"{self._path} could not be synced: {reason(problem)}. Whether its last {len(data):,} bytes are on disk is "
                f"unknown; they are written again when it is opened again"
            ) from problem
        self._offset += len(data)
        self._ahead -= len(data)
        return self._position()

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)  # and with it the lock

    def _position(self) -> dict[str, Any]:
        return {"path": self._path, "inode": self._inode, "offset": self._offset}

    def _take_hold(self, recorded: SinkPosition | None) -> int:
        """Open and lock the file; create it only if it was never written."""
        folder = os.path.dirname(self._path)
        # Not blocking, so that a FIFO without a reader is refused below instead of waited for.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_CREAT if recorded is None else 0)
        try:
            fd = os.open(self._path, flags, 0o666)
        except FileNotFoundError:
            if not os.path.isdir(folder):
                raise sink_error(f"the folder {folder} does not exist, for the output {self._path}. Create it") from None
            assert recorded is not None
            raise sink_error(
                f"{self._path} does not exist, but {recorded.offset:,} bytes were written to it (inode {recorded.inode}). "
                + _put_back(recorded)
            ) from None
        except IsADirectoryError:
            raise sink_error(f"the output {self._path} is a directory. Name a file in it") from None
        except OSError as problem:
            raise sink_error(f"the output {self._path} cannot be opened: {reason(problem)}") from problem
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise sink_error(
                    f"the output {self._path} is not a regular file (a pipe or device): what was written there cannot be read "
                    f"back after a crash. Write to it with stdout(): millstream run ... > PATH"
                )
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(fd)
            if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise sink_error(f"the output {self._path} cannot be locked: {reason(problem)}") from problem
            raise sink_error(
                f"the output {self._path} is being written by another process (or another sink). Stop that one, or write to "
                f"another path: two writers would mix their lines"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _first(self, fd: int, size: int) -> int:
        """Begin behind what is there. The name of a new file must survive a power failure as its content does."""
        if size and (last := os.pread(fd, 1, size - 1)) != b"\n":
            raise sink_error(
                f"{self._path} has {size:,} bytes, and the last of them is {last!r} instead of a newline: the first output would "
                f"become a part of that line. End or remove the line, or write to another path"
            )
        try:
            os.fsync(fd)
            folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as problem:
            raise sink_error(f"{self._path} could not be created durably: {reason(problem)}") from problem
        return size

    def _recover(self, fd: int, status: os.stat_result, recorded: SinkPosition, pending: Iterable[bytes]) -> int:
        """How many bytes of ``pending`` are in the file behind the recorded offset, once a torn remainder is cut off."""
        if status.st_ino != recorded.inode:
            raise sink_error(
                f"{self._path} is another file than the one that was written: inode {status.st_ino} with {status.st_size:,} bytes; "
                f"recorded is {recorded.path}, inode {recorded.inode}, with {recorded.offset:,}. " + _put_back(recorded)
            )
        if status.st_size < recorded.offset:
            raise sink_error(
                f"{self._path} has {status.st_size:,} bytes, but {recorded.offset:,} were written and synced: it was cut. "
                + _put_back(recorded)
            )
        extra = status.st_size - recorded.offset
        same, length, torn = _compare(fd, recorded.offset, extra, pending)
        if same < extra:
            self._cut(fd, recorded.offset, extra, same, length, torn)
        if same:
            self._write_again(fd, recorded.offset, same)
        return same

    def _cut(self, fd: int, offset: int, extra: int, same: int, length: int, torn: bool) -> None:
        """Cut the file behind the bytes that agree, if what differs is torn output and nothing else."""
        behind = (
            f"{self._path} has {extra:,} bytes behind the {offset:,} that are recorded as written, {same:,} of which are "
            f"outputs of this app"
        )
        rescue = (
            f"If nobody needs the rest, cut it off (truncate -s {offset + same} {self._path}); otherwise move it "
            f"elsewhere first. Nothing was changed"
        )
        if length < extra:
            raise sink_error(
                f"{behind}; only {length:,} bytes of output are still to be written: another program wrote there. {rescue}"
            )
        if not torn:
            raise sink_error(f"{behind}; behind them are whole lines that another program wrote. {rescue}")
        try:
            os.ftruncate(fd, offset + same)
            os.fsync(fd)
        except OSError as problem:
            raise sink_error(f"the torn end of {self._path} cannot be cut off: {reason(problem)}") from problem

    def _write_again(self, fd: int, offset: int, size: int) -> None:
        """Write bytes of the file over themselves, so that the next sync has them to write."""
        try:
            for begin in range(offset, offset + size, COMPARE_BYTES):
                piece = memoryview(os.pread(fd, min(COMPARE_BYTES, offset + size - begin), begin))
                done = 0
                while done < len(piece):
                    done += os.pwrite(fd, piece[done:], begin + done)
        except OSError as problem:
            raise sink_error(f"the end of {self._path} cannot be written again: {reason(problem)}") from problem

    def _unchanged(self, fd: int) -> None:
        """Raises if the file is not as the last append left it."""
        expected = self._offset + self._ahead
        size = os.fstat(fd).st_size
        if size != expected:
            raise self._break(
                f"{self._path} has {size:,} bytes, but {expected:,} were written: another program "
                f"{'wrote to it' if size > expected else 'cut it'} meanwhile; nothing was written. One output file has one writer"
            )
        try:
            inode = os.stat(self._path).st_ino
        except OSError as problem:
            raise self._break(f"{self._path} was moved or deleted while it was written ({reason(problem)}). Put it back") from None
        if inode != self._inode:
            raise self._break(
                f"{self._path} was exchanged while it was written: it now is inode {inode}, written was inode {self._inode}. "
                f"Put the file back; rotate outputs only while Millstream is stopped, by giving the sink another path and name"
            )

    def _write(self, fd: int, data: memoryview) -> None:
        begin = self._ahead
        while data:
            try:
                written = os.write(fd, data)
            except OSError as problem:
                text = (
                    f"cannot write to {self._path}: {reason(problem)}; {self._ahead - begin:,} bytes were written, {len(data):,} "
                    f"are left"
                )
                if problem.errno not in REFUSED:
                    raise self._break(text) from problem
                raise sink_error(f"{text}. They are written when that is possible again", retryable=True) from problem
            self._ahead += written
            data = data[written:]

    def _break(self, text: str) -> SinkError:
        self._broken = text
        return sink_error(text)


def sink_error(text: str, *, retryable: bool = False) -> SinkError:
    """``retryable``: nothing is unknown, and the same chunks may be appended again."""
    error = SinkError(text)
    setattr(error, "retryable", retryable)  # noqa: B010  (not declared on SinkError)
    return error


def reason(problem: OSError) -> str:
    """The system's own words and number."""
    return f"{problem.strerror} (errno {problem.errno})"


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync leaves the data in the drive's cache there
    else:
        os.fdatasync(fd)


def _recorded(position: Any | None) -> SinkPosition | None:
    if position is None:
        return None
    try:
        return msgspec.convert(position, SinkPosition)
    except msgspec.ValidationError as problem:
        raise sink_error(
            f"the recorded position {position!r} is not one of a file ({problem}): this sink wrote elsewhere before. Give the "
            f"sink another name, or the connector that it had"
        ) from None


def _put_back(recorded: SinkPosition) -> str:
    return f"Put that file back at {recorded.path}, or give the sink another path and another name to begin a new file"


def _compare(fd: int, offset: int, extra: int, pending: Iterable[bytes]) -> tuple[int, int, bool]:
    """Compare the ``extra`` bytes of the file behind ``offset`` with the outputs.

    Returns how many of the first bytes agree; how long the outputs are (at most ``extra``, so that no more of them is taken
    than needed); and whether what differs is what a power failure leaves: every byte is right or zero, or there is no newline.
    """
    same = length = 0
    agrees = torn = True
    newline = False
    for begin, wanted in _pieces(pending, extra):
        length = begin + len(wanted)
        found = os.pread(fd, len(wanted), offset + begin)
        if found == wanted:
            if agrees:
                same = length
            elif b"\n" in found:
                newline = True
            continue
        first = next(i for i in range(len(wanted)) if found[i : i + 1] != wanted[i : i + 1])
        if agrees:
            same, agrees = begin + first, False
        newline = newline or b"\n" in found[first:]
        torn = torn and all(byte in (0, right) for byte, right in zip(found[first:], wanted[first:], strict=False))
    return same, length, torn or not newline


def _pieces(pending: Iterable[bytes], extra: int) -> Iterator[tuple[int, bytes]]:
    """The first ``extra`` bytes of the outputs in pieces, each with where it begins."""
    begin = 0
    for chunk in pending:
        for start in range(0, len(chunk), COMPARE_BYTES):
            if begin == extra:
                return
            piece = chunk[start : start + min(COMPARE_BYTES, extra - begin)]
            yield begin, piece
            begin += len(piece)


def _agrees(fd: int, offset: int, data: bytes, size: int) -> bool:
    same, _, _ = _compare(fd, offset, size, [data])
    return same == size
