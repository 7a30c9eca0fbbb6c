"""Faults of disks, on purpose: SQLite VFSes (sqlite.org/vfs.html) that a store is opened with as ``vfs=``.

``ForgetfulVFS`` is a disk that loses power. SIGKILL proves nothing about syncs, because the kernel still writes what it was
given; here, whatever was not synced may be gone. The model is that of the SQLite documentation (atomiccommit.html, section 2)
at its worst: since the last sync of a file each of its sectors may hold any of the contents that it was given, or the one
before, independently of every other (so in any order, and a page of 4 KB may be torn); the file may be as long as at any moment
since; what was never written in a range that the file grew by is zeros or noise; without a sync of their folder, a file that
was made may be missing and one that was deleted may be back. A write leaves bytes outside its range alone (SQLite's "powersafe
overwrite", its default). Shared memory (``-shm``) is memory and is always lost.

``FaultyVFS`` is a disk that says no: the n-th write, sync or read from now fails with a given SQLite result code.

Both count what they did, so that a test can assert that its fault happened. Real files lie underneath; a power loss writes what
would be left of them into another folder, to be opened there with the ordinary VFS.
"""

from __future__ import annotations

import collections
import itertools
import random
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import apsw
import msgspec

Operation = Literal["xRead", "xWrite", "xSync", "xTruncate", "xFileSize"]
Kind = Literal["db", "wal", "journal"]

_NEW_JOURNAL = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_numbers = itertools.count(1)
V = TypeVar("V", bound="_NamedVFS")


def kind_of(path: str) -> Kind:
    """Which of SQLite's files this is, by its name."""
    return "wal" if path.endswith("-wal") else "journal" if path.endswith("-journal") else "db"


def _path_of(name: str | apsw.URIFilename | None) -> str | None:
    return name.filename() if isinstance(name, apsw.URIFilename) else name


class _NamedVFS(apsw.VFS):
    """Registered under a name of its own while it is open; a context manager."""

    def __init__(self, kind: str) -> None:
        self.name = f"millstream-{kind}-{next(_numbers)}"
        super().__init__(self.name, "")

    def __enter__(self: V) -> V:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.unregister()


# -- power loss -----------------------------------------------------------------------------------------------------------


class PowerLost(apsw.IOError):
    """The power is gone: every operation fails from here on."""


class Loss(msgspec.Struct, frozen=True, gc=False):
    """What a power loss did."""

    unsynced: int  # sectors that were written and not synced
    forgotten: int  # of them, those that do not hold what was written last
    torn: int  # pages of 4 KB of which some sectors were forgotten and others not
    missing: list[str]  # files that were there and are not, by name
    returned: list[str]  # files that were deleted and are there, by name
    cut_short: int  # files that are shorter than they were


class _Image:
    """What the disk may hold of a file: everything since its last sync."""

    def __init__(self, size: int, entry: bool, before: bytes | None) -> None:
        self.sectors: dict[int, list[bytes]] = {}  # contents since the last sync, first the synced one
        self.sizes = [size]
        self.entry = entry  # is its name durable?
        self.before = before  # the durable content under this name, where a deletion or this file's making is not durable
        self.deleted = False

    def synced(self) -> None:
        self.sectors.clear()
        self.sizes = self.sizes[-1:]


class ForgetfulVFS(_NamedVFS):
    """A disk that forgets what was not synced when the power goes.

    Attributes:
        name: to open a store with.
        operations: writes, truncations, syncs and deletions so far.
        counts: the same by name, and ``lost`` for those refused since the power went.
    """

    def __init__(self, seed: int, *, sector: int = 512) -> None:
        """A disk whose losses are drawn from ``seed``.

        Args:
            sector: bytes that are written whole or not at all.
        """
        super().__init__("forgetful")
        self.operations = 0
        self.counts: collections.Counter[str] = collections.Counter()
        self._sector = sector
        self._random = random.Random(seed)
        self._cut_at: int | None = None
        self._dark = False
        self._images: dict[str, _Image] = {}

    def cut_after(self, operations: int) -> None:
        """Let the power go in the middle of the operation that is this many from now (1: the next)."""
        self._cut_at = self.operations + operations

    @property
    def dark(self) -> bool:
        """Is the power gone?"""
        return self._dark

    def power_loss(self, into: Path, *, keep: float | None = None) -> Loss:
        """Write what the disk holds after a power loss at this moment into the folder ``into``.

        Args:
            keep: chance that an unsynced sector holds what was written last, 0.0 to forget all that was not synced;
                None: drawn, and every fourth time each 0.0 and 1.0 (what a SIGKILL leaves).
        """
        self._dark = True
        into.mkdir(parents=True, exist_ok=True)
        if keep is None:
            keep = self._random.choice([0.0, 1.0, self._random.random(), self._random.random()])
        unsynced = forgotten = torn = short = 0
        missing, returned = [], []
        for path, image in sorted(self._images.items()):
            name = Path(path).name
            if image.deleted or (not image.entry and self._random.random() >= keep):
                if image.before is not None and self._random.random() >= keep:
                    (into / name).write_bytes(image.before)
                    returned.append(name)
                elif not image.deleted:
                    missing.append(name)
                continue
            content, lost = self._left_of(Path(path).read_bytes(), image, keep)
            (into / name).write_bytes(content)
            unsynced += len(image.sectors)
            forgotten += len(lost)
            per_page = max(1, 4096 // self._sector)
            written = collections.Counter(sector // per_page for sector in image.sectors)
            gone = collections.Counter(sector // per_page for sector in lost)
            torn += sum(0 < gone[page] < count for page, count in written.items())
            short += len(content) < image.sizes[-1]
        return Loss(unsynced, forgotten, torn, missing, returned, short)

    def _left_of(self, content: bytes, image: _Image, keep: float) -> tuple[bytes, set[int]]:
        size = image.sizes[0] if keep == 0.0 else self._random.choice(image.sizes)
        if self._random.random() < keep:
            size = image.sizes[-1]
        left = bytearray(content[:size].ljust(size, b"\0"))
        lost = set()
        for sector, versions in sorted(image.sectors.items()):
            start = sector * self._sector
            version = versions[0] if keep == 0.0 else self._random.choice(versions[:-1])
            if self._random.random() < keep:
                version = versions[-1]
            if version != versions[-1] or start >= size:
                lost.add(sector)
            noise = self._random.randbytes(self._sector) if self._random.random() < 0.5 else bytes(self._sector)
            end = min(start + self._sector, size)
            if end > start:
                left[start:end] = (version + noise[len(version) :])[: end - start]
        return bytes(left), lost

    # what SQLite calls

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = _path_of(name)
        self._refuse_in_the_dark()
        there = path is not None and Path(path).exists()
        file = _ForgetfulFile(self, name, flags)
        if path is not None:
            old = self._images.get(path)
            if old is None or old.deleted:
                size = Path(path).stat().st_size
                file.image = self._images[path] = _Image(size, there, None if old is None else old.before)
            else:
                file.image = old
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        cut = self._operate("xDelete")
        image = self._images.get(filename)
        if image is not None:
            if image.entry:
                image.before = Path(filename).read_bytes()
            image.deleted = True
        super().xDelete(filename, syncdir)
        if cut:
            raise PowerLost("the power went during a deletion")
        if syncdir:
            self._folder_synced()

    def _folder_synced(self) -> None:
        for image in self._images.values():
            image.before = None
            image.entry = not image.deleted

    def _operate(self, operation: str) -> bool:
        """Count an operation; True: the power goes in the middle of it."""
        self._refuse_in_the_dark()
        self.operations += 1
        self.counts[operation] += 1
        if self.operations == self._cut_at:
            self._dark = True
            self.counts["cut"] += 1
        return self._dark

    def _refuse_in_the_dark(self) -> None:
        if self._dark:
            self.counts["lost"] += 1
            raise PowerLost("the power is gone")


class _ForgetfulFile(apsw.VFSFile):
    def __init__(self, vfs: ForgetfulVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        self.image = _Image(0, False, None)  # of a file without a name: nobody can find it afterwards
        # The unix VFS syncs the folder with the first sync of a journal or WAL that it opened to be created (UNIXFILE_DIRSYNC).
        self._syncs_folder = bool(flags[0] & _NEW_JOURNAL) and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: Any, offset: int) -> None:
        cut = self._vfs._operate("xWrite")
        written = bytes(data)
        size = super().xFileSize()
        start, before = self._around(offset, offset + len(written), size)
        super().xWrite(written, offset)
        after = bytearray(before.ljust(offset - start, b"\0"))
        after[offset - start : offset - start + len(written)] = written
        self._remember(start, before, bytes(after), max(size, offset + len(written)))
        if cut:
            raise PowerLost("the power went during a write")

    def xTruncate(self, newsize: int) -> None:
        cut = self._vfs._operate("xTruncate")
        size = super().xFileSize()
        start, before = self._around(newsize, size, size)
        super().xTruncate(newsize)
        self._remember(start, before, before[: newsize - start], newsize)
        if cut:
            raise PowerLost("the power went during a truncation")

    def xSync(self, flags: int) -> None:
        if self._vfs._operate("xSync"):
            raise PowerLost("the power went before a sync had ended")
        super().xSync(flags)
        self.image.synced()
        if self._syncs_folder:
            self._syncs_folder = False
            self._vfs._folder_synced()

    def xRead(self, amount: int, offset: int) -> bytes:
        self._vfs._refuse_in_the_dark()
        return super().xRead(amount, offset)

    def xFileSize(self) -> int:
        self._vfs._refuse_in_the_dark()
        return super().xFileSize()

    def _around(self, start: int, end: int, size: int) -> tuple[int, bytes]:
        """The whole sectors that a change of ``start`` to ``end`` touches: where they begin and what they hold."""
        sector = self._vfs._sector
        first = start // sector * sector
        amount = min(-(-end // sector) * sector, size) - first
        return first, super().xRead(amount, first) if amount > 0 else b""

    def _remember(self, start: int, before: bytes, after: bytes, size: int) -> None:
        sector, sectors = self._vfs._sector, self.image.sectors
        for begin in range(0, max(len(before), len(after)), sector):
            versions = sectors.setdefault((start + begin) // sector, [before[begin : begin + sector]])
            versions.append(after[begin : begin + sector])
        self.image.sizes.append(size)


# -- refusals -------------------------------------------------------------------------------------------------------------


class _Fault:
    def __init__(self, operation: Operation, code: int, on: Kind | None, nth: int, times: int, short: bool) -> None:
        self.operation = operation
        self.code = code
        self.on = on
        self.skip = nth - 1
        self.times = times
        self.short = short


class FaultyVFS(_NamedVFS):
    """A disk that fails on command.

    Attributes:
        name: to open a store with.
        counts: operations by name that were asked for.
        failed: the same of those that were made to fail.
    """

    def __init__(self) -> None:
        super().__init__("faulty")
        self.counts: collections.Counter[str] = collections.Counter()
        self.failed: collections.Counter[str] = collections.Counter()
        self._faults: list[_Fault] = []

    def fail(
        self,
        operation: Operation,
        code: int,
        *,
        on: Kind | None = None,
        nth: int = 1,
        times: int = 1,
        short: bool = False,
    ) -> None:
        """Make an operation fail.

        Args:
            operation: the VFS method.
            code: SQLite result code that it fails with, such as ``apsw.SQLITE_FULL`` or ``apsw.SQLITE_IOERR_FSYNC``.
            on: only of this file.
            nth: the n-th such operation from now (1: the next).
            times: how many in a row, from that one.
            short: of a write, do the first half of it first.
        """
        self._faults.append(_Fault(operation, code, on, nth, times, short))

    def heal(self) -> None:
        """Forget all faults that have not happened."""
        self._faults.clear()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _FaultyFile(self, name, flags)

    def _due(self, operation: Operation, kind: Kind) -> _Fault | None:
        """Count an operation, and find the fault that befalls it."""
        self.counts[operation] += 1
        for fault in self._faults:
            if fault.operation != operation or fault.on not in (None, kind):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times == 0:
                self._faults.remove(fault)
            self.failed[operation] += 1
            return fault
        return None


class _FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        self._kind = kind_of(_path_of(name) or "")

    def _may(self, operation: Operation) -> None:
        fault = self._vfs._due(operation, self._kind)
        if fault is not None:
            raise apsw.exception_for(fault.code)

    def xWrite(self, data: Any, offset: int) -> None:
        fault = self._vfs._due("xWrite", self._kind)
        if fault is not None:
            if fault.short:
                super().xWrite(bytes(data)[: len(data) // 2], offset)
            raise apsw.exception_for(fault.code)
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._may("xRead")
        return super().xRead(amount, offset)

    def xSync(self, flags: int) -> None:
        self._may("xSync")
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:
        self._may("xTruncate")
        super().xTruncate(newsize)

    def xFileSize(self) -> int:
        self._may("xFileSize")
        return super().xFileSize()
