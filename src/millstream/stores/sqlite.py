"""The store on one machine: a SQLite file in WAL mode, written by one thread and read by another.

Durability. ``journal_mode=WAL`` and ``synchronous=FULL``: COMMIT appends the changed pages and a commit frame to the WAL and
syncs it, so a commit that returned survives power loss. Two connections, one for the committer's thread and one for the
engine's: in WAL mode a reader sees the last commit before its transaction began and neither waits for the other.

What a failed write means. The rules of ``write``, and why they hold (sqlite.org: lang_transaction.html section 3, rescode.html,
wal.html; src/wal.c, sqlite3WalFrames):

* A transaction is in the WAL once its commit frame is; frames without one are nothing to every reader and to recovery. Until
  COMMIT runs no commit frame is handed to the file, so an error before it followed by a ROLLBACK leaves nothing.
* COMMIT writes all frames in order, the commit frame last, then syncs. SQLITE_FULL comes from a write (a sync that runs out of
  space is SQLITE_IOERR_FSYNC), so the commit frame was not written whole and its checksum does not hold. Should the bytes that
  were in its place complete it by chance, then a crash makes the commit durable that was about to be written again: the same
  outcome as a crash between COMMIT and its acknowledgement, because a refused commit is retried as it is and never overtaken.
* SQLITE_BUSY and SQLITE_LOCKED come before anything is written.
* So FULL, BUSY and LOCKED (and running out of memory before COMMIT), after which the connection is back in autocommit mode, are
  ``CommitRefused``. Every SQLITE_IOERR, a damaged file, any other error of COMMIT, and a rollback that cannot be proven, are
  ``CommitFailed``: the frames may be on disk although this process's view of the WAL ends before them.
* After ``CommitFailed`` nothing is written or synced again, at close neither: after a failed fsync Linux marks the pages clean,
  and a second one would report a success that is none (danluu.com/fsyncgate, LWN 752063). The next process reads what is there.
* What cannot be stored at all (a lone surrogate, an integer beyond 64 bits, an append of a key that is there) is a mistake of the
  caller: it is rolled back and raised as ``StoreError``, because to try the same commit again would never help.

Checkpoints are ours and not SQLite's automatic ones, which ignore their errors. One runs before a commit, once ``WAL_PAGES``
have been written since the last: an acknowledgement is never delayed or made uncertain by it. They are PASSIVE: they copy what
no reader still needs and never wait. A full disk there is harmless (the WAL keeps the pages); an I/O error is not.

The tables are in ``sqlite_schema``, the queries in ``sqlite_reads``; ``sqlite_statements`` has what writes many rows at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from millstream.core.tables import Commit, Table
from millstream.errors import CommitFailed, CommitRefused, StoreError
from millstream.stores.sqlite_reads import SqliteReads, described
from millstream.stores.sqlite_schema import check, create, renew_views
from millstream.stores.sqlite_statements import padded, write_sql

SQLITE_LEAST = "3.51.3"
"""Has carray, and not the WAL-reset bug (sqlite.org/wal.html#walresetbug)."""

WAL_PAGES = 4000  # 16 MB between checkpoints, each of about 15 ms
WAL_BYTES_KEPT = 64 << 20  # what a burst left is given back
CACHE_KIB = 8192  # a connection's page cache, at most
BUSY_MS = 5000  # how long to wait for another process that writes to the file

_REFUSALS = (apsw.FullError, apsw.BusyError, apsw.LockedError)
_NO_MEMORY = (apsw.NoMemError, MemoryError)
_FAULTS = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.ProtocolError,
    apsw.InternalError,
    apsw.ThreadingViolationError,
)


class SqliteStore(SqliteReads):
    """``engine.ports.Store`` on a SQLite file. The caller holds the lock of its folder (``stores.folder``)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        app: str | None,
        partitions: int | None,
        vfs: str | None = None,
        read_only: bool = False,
    ) -> None:
        """Open the store at ``path``, or make a new one there.

        Args:
            app: name of the app that the store belongs to; None (only of an existing file): whichever it is.
            partitions: into how many the key space is cut, never changed afterwards; None as above.
            vfs: name of a registered apsw VFS, for tests of faults.
            read_only: look, even while an engine runs; ``write`` is then an error.

        Raises:
            StoreVersion: written by a newer Millstream, for another app, or with another number of partitions.
            StoreError: not there (``read_only``), not a Millstream store, damaged, or not to be opened.
        """
        super().__init__(os.fspath(path))
        self._vfs = vfs
        self._failed: str | None = None
        self._flushed = 0  # pages written to the WAL up to the last complete checkpoint
        self._writer: apsw.Connection | None = None
        if _version(apsw.sqlite_lib_version()) < _version(SQLITE_LEAST):
            found = f"apsw was built with SQLite {apsw.sqlite_lib_version()}"
            raise StoreError(f"{found}, and {SQLITE_LEAST} is needed (older ones can damage a WAL); install apsw from PyPI")
        try:
            if read_only:
                self._reader = self._connect(apsw.SQLITE_OPEN_READONLY)
                check(self.path, self._reader, app, partitions)
            else:
                self._refuse_remains()
                self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
                self._prepare(self._writer, app, partitions)
                self._reader = self._connect(apsw.SQLITE_OPEN_READWRITE)
                self._reader.execute("PRAGMA query_only = ON")
        except BaseException as error:
            self._close_connections()
            if isinstance(error, apsw.Error):
                raise self._unopened(error) from error
            raise

    # opening

    def _refuse_remains(self) -> None:
        """SQLite takes a file under 512 bytes for an empty one, and deletes the WAL beside it."""
        size, wal = _file_bytes(self.path), _file_bytes(f"{self.path}-wal")
        if 0 < size < 512:
            raise StoreError(f"{self.path}: not a SQLite file ({size} bytes); restore a backup or use another data folder")
        if size == 0 and wal > 0:
            raise StoreError(f"{self.path}: missing or empty, but {wal} bytes of it are in {self.path}-wal; restore a backup")

    def _connect(self, flags: int) -> apsw.Connection:
        connection = apsw.Connection(self.path, flags=flags, vfs=self._vfs, statementcachesize=256)
        connection.set_busy_timeout(BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY")
        return connection

    def _prepare(self, writer: apsw.Connection, app: str | None, partitions: int | None) -> None:
        # EXTRA, until the WAL is on: a rollback journal's deletion is durable too, so that it cannot come back and undo us.
        writer.execute("PRAGMA synchronous = EXTRA")
        if not writer.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall() and not writer.pragma("application_id"):
            create(self.path, writer, app, partitions)
        check(self.path, writer, app, partitions)
        mode = writer.pragma("journal_mode", "wal")
        if mode != "wal":
            raise StoreError(f"{self.path}: journal mode stays {mode}, the file system cannot hold a SQLite WAL; use a local disk")
        writer.execute(f"PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        renew_views(writer)

    def _unopened(self, error: apsw.Error) -> StoreError:
        match error:
            case apsw.NotADBError():
                what = "it is not a SQLite file, or its beginning was overwritten; restore a backup or use another data folder"
            case apsw.CorruptError():
                what = "the file is damaged; restore a backup"
            case apsw.CantOpenError() if not Path(self.path).exists():
                what = "there is no store here; check the data folder, or run the app once to make one"
            case apsw.CantOpenError() | apsw.PermissionsError() | apsw.ReadOnlyError() | apsw.AuthError():
                what = "check that this user may read and write the file and its folder"
            case apsw.BusyError() | apsw.LockedError():
                what = "another process holds the file; end it, or try again"
            case apsw.FullError():
                what = f"the disk is full ({_free(self.path)}); free some space"
            case _:
                what = "see whether the disk and its file system are sound (a SQLite WAL needs a local one)"
        return StoreError(f"{self.path}: the store cannot be opened: {described(error)}; {what}")

    # writing, from the committer's thread

    def write(self, commit: Commit) -> None:
        """Make the commit durable, all of it or nothing.

        Raises:
            CommitRefused: nothing of it is written (disk full, busy); the same commit may be written again.
            CommitFailed: the outcome is unknown; the process must end. Every later write raises it too.
            StoreError: it cannot be stored as it is, now or later; nothing of it is written.
        """
        writer = self._writer
        if writer is None:
            raise StoreError(f"{self.path}: the store is closed or was opened to be read only; nothing can be written")
        if self._failed is not None:
            raise CommitFailed(self._failed)
        if not commit.puts and not commit.appends:
            return
        if writer.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0] - self._flushed >= WAL_PAGES:
            self._checkpoint(writer)
        place = "BEGIN"
        try:
            writer.execute("BEGIN IMMEDIATE")
            for table, rows in commit.appends.items():
                place = table.name
                self._put(writer, "insert", table, rows)
            for table, puts in commit.puts.items():
                place = table.name
                rows = [row for row in puts.values() if row is not None]
                self._put(writer, "upsert", table, rows)
                if len(rows) < len(puts):
                    self._delete(writer, table, [key for key, row in puts.items() if row is None])
        except Exception as error:
            raise self._before_commit(writer, error, f"commit {commit.number}, {place}") from error
        try:
            writer.execute("COMMIT")
        except Exception as error:
            raise self._at_commit(writer, error, f"commit {commit.number}") from error

    def _put(self, writer: apsw.Connection, verb: str, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        for count, size, values in padded(rows, len(table.row._fields)):
            writer.execute(write_sql(verb, table, size), values)
            if writer.changes() != count:  # a row with NULL for its key looks like padding
                raise ValueError(f"{count} rows were given and {writer.changes()} have a key")

    def _delete(self, writer: apsw.Connection, table: Table, keys: Sequence[tuple[Any, ...]]) -> None:
        for _, size, values in padded(keys, table.key):
            writer.execute(write_sql("delete", table, size), values)

    def _before_commit(self, writer: apsw.Connection, error: Exception, where: str) -> StoreError:
        if not _rolled_back(writer):
            return self._fail(f"{where}: {described(error)}, and the rollback failed too")
        if isinstance(error, _REFUSALS + _NO_MEMORY):
            return self._refused(error, where)
        if isinstance(error, _FAULTS):
            return self._fail(f"{where}: {described(error)}")
        return StoreError(f"{self.path}: {where}: {described(error)}; nothing of it was written, and it can never be: a bug")

    def _at_commit(self, writer: apsw.Connection, error: Exception, where: str) -> StoreError:
        if isinstance(error, _REFUSALS) and _rolled_back(writer):
            return self._refused(error, where)
        return self._fail(f"{where}: {described(error)}")

    def _refused(self, error: Exception, where: str) -> CommitRefused:
        match error:
            case apsw.FullError():
                what = f"free some space ({_free(self.path)}, quotas aside)"
            case apsw.BusyError() | apsw.LockedError():
                what = f"another process has been writing to it for {BUSY_MS / 1000:g} s; end it"
            case _:
                what = "memory is exhausted"
        said = f"{described(error)}; nothing of it was written; {what}, and the same commit may be tried again"
        return CommitRefused(f"{self.path}: {where}: {said}")

    def _fail(self, what: str) -> CommitFailed:
        self._failed = (
            f"{self.path}: {what}; whether the commit is on disk is unknown, so nothing more is written: "
            "check the disk, then start again, which recovers from what is there"
        )
        self._leave_wal()
        return CommitFailed(self._failed)

    def _checkpoint(self, writer: apsw.Connection) -> None:
        written = writer.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]
        try:
            in_wal, copied = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except _REFUSALS:
            return  # the WAL holds what could not be copied; tried again before the next commit
        except apsw.Error as error:
            raise self._fail(f"checkpoint: {described(error)}") from error
        if in_wal == copied:
            self._flushed = written

    # closing

    def close(self) -> None:
        """Copy the WAL into the file and close it. After ``CommitFailed`` the file is left as it is. Never raises."""
        if self._writer is not None and self._failed is None:
            try:
                self._writer.set_busy_timeout(100)
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                pass  # somebody reads: the WAL stays, and is as good
            except apsw.Error:
                self._leave_wal()
        self._close_connections()

    def _leave_wal(self) -> None:
        """Keep the last close from checkpointing (and syncing) by itself."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _close_connections(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                try:
                    connection.close(force=True)
                except apsw.Error:
                    pass  # what is durable is durable, and the next process recovers the rest
        self._reader = self._writer = None

    def size(self) -> int:
        """Bytes on disk: the file and its WAL."""
        return sum(_file_bytes(self.path + suffix) for suffix in ("", "-wal"))


def _rolled_back(writer: apsw.Connection) -> bool:
    try:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
        return not writer.in_transaction
    except Exception:
        return False


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _free(path: str) -> str:
    try:
        stat = os.statvfs(Path(path).parent)
    except OSError:
        return "free space unknown"
    return f"{stat.f_bavail * stat.f_frsize:,} bytes free"


def _file_bytes(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
