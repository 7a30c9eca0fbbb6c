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

Writing. A statement releases the GIL for each row that it is stepped through, and beside a busy engine thread each release can
cost the switch interval (5 ms). So rows go many to a statement, padded with NULLs up to one of five sizes (a prepared statement
each): up to 256 rows of a table are one step. Measured with 64 agent requests a commit (544 rows, synchronous=OFF): CPU a
request, and the median commit beside a thread of pure Python that has a core of its own: executemany 35 us, 350 to 850 ms;
multi-row VALUES in chunks of 64, 16, 4, 1: 31 us, 65 ms; JSON text through json_each 85 us, 40 ms; padded 31 us, 38 ms. (All take 2
to 15 ms when the two threads happen to share a core.) Upserts, because REPLACE also deletes and inserts index entries (+7 us).

Reading. A statement is compiled once (``SQLITE_DBCONFIG_ENABLE_QPSG``). SQLite would look at what is bound to it where the choice
of a partial index could depend on that, and compile it anew each time: of 130 us for the head of a line, 100 were that.

Schema. Columns, types and keys come from ``core.tables``, and an existing file must match them. An integer key is the rowid.
A composite key with a payload is a rowid table with a unique index: in a WITHOUT ROWID table, rows over 1 KB spill into
overflow pages (states of 3 KB: 49 us a request against 31). Secondary indexes are partial where they can be; all of them cost 2 us.
What a run waits for is JSON, and its first items are indexed as expressions: 3 us for a run that waits, next to nothing for others.
"""

from __future__ import annotations

import array
import functools
import itertools
import os
import time
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from millstream.core.facts import KeyLine, RunHistory
from millstream.core.tables import (
    DOUBTS,
    EVENTS,
    LETTERS,
    MAIL,
    META,
    RECORDS,
    RUNS,
    SINKS,
    SOURCES,
    STATES,
    TABLES,
    Commit,
    DoubtRow,
    EventRow,
    LetterRow,
    MailRow,
    RecordRow,
    RunRow,
    SinkRow,
    SourceRow,
    StateRow,
    Table,
    Wait,
)
from millstream.errors import CommitFailed, CommitRefused, StoreError, StoreVersion

SCHEMA = 1
"""Version of the tables, in ``PRAGMA user_version``; raised with every change of them (a test pins their text)."""

APPLICATION = 0x4D53_5452
"""``PRAGMA application_id`` of a Millstream store: "MSTR"."""

SQLITE_LEAST = "3.51.3"
"""Has carray, and not the WAL-reset bug (sqlite.org/wal.html#walresetbug)."""

PAGE_BYTES = 4096  # 8 to 32 KB pages: up to twice the CPU a request, for 10 % less disk
WAL_PAGES = 4000  # 16 MB between checkpoints, each of about 15 ms
WAL_BYTES_KEPT = 64 << 20  # what a burst left is given back
CACHE_KIB = 8192  # a connection's page cache, at most
BUSY_MS = 5000  # how long to wait for another process that writes to the file
SIZES = (1, 4, 16, 64, 256)  # rows a statement
PAGE_ROWS = 5000  # rows read at a time where a caller asked for all
WAITS = 3  # so many waits of a run are in an index each; runs with more of them are looked through
AGENTS_AT_MOST = 1000  # that handle one event, and that ``handling`` finds
WAITING = "('waiting', 'in_doubt')"  # the statuses of a run that waits
OPEN = "status NOT IN ('done', 'cancelled')"  # said in a query, it lets the partial index of such runs be used


def _waits(number: int, run: str = "") -> tuple[str, str, str]:
    """Of what a run waits for, this one: that it is a signal, its name, and what it must be about.

    (``json_extract``, and not ``->>``: no SQLite before 3.38 could open a file that has that in an index.)
    """
    kind, name, about = [f"json_extract({run}awaits, '$[{number}][{item}]')" for item in (1, 2, 3)]
    return f"{run}awaits IS NOT NULL AND {kind} = 'receive'", name, about


def _waits_for_more(run: str = "") -> str:
    return f"{run}awaits IS NOT NULL AND json_extract({run}awaits, '$[{WAITS}][1]') IS NOT NULL"


def _waits_indexes() -> Iterator[tuple[str, str]]:
    """Who waits for a signal: found by what it waits for, first, second and so on."""
    for number in range(WAITS):
        receives, name, about = _waits(number)
        yield f"runs_waits_{number}", f"runs(agent, key, {name}, {about}) WHERE {receives}"
    yield "runs_waits_more", f"runs(agent, key) WHERE {_waits_for_more()}"


INDEXES = {
    "runs_line": "runs(agent, key, turn) WHERE turn IS NOT NULL",
    "runs_turn": "runs(turn) WHERE turn IS NOT NULL",
    "runs_wake": "runs(wake) WHERE wake IS NOT NULL",
    "runs_open": f"runs(status, agent, key) WHERE {OPEN}",
    "records_run": "records(run)",
    **dict(_waits_indexes()),
    "mail_name": "mail(agent, key, name, run)",
    "mail_about": "mail(agent, key, name, run, about) WHERE about IS NOT NULL",
    "events_cause": "events(cause) WHERE cause IS NOT NULL",
    "seen_at": "seen(source, at)",
}

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

R = TypeVar("R")


# -- the schema, from the tables of the core ------------------------------------------------------------------------------


def columns(table: Table) -> list[tuple[str, str, bool]]:
    """Name, SQL type and "may be NULL" of each column, from the annotations of the table's row type.

    Raises:
        TypeError: an annotation is not int, str, or one of them or None.
    """
    hints = typing.get_type_hints(table.row)
    found = []
    for name in table.row._fields:
        hint = hints[name]
        parts = set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}
        kinds = parts - {types.NoneType}
        if kinds not in ({int}, {str}):
            raise TypeError(f"{table.row.__name__}.{name}: a column is int, str, or one of them or None, not {hint}")
        found.append((name, "INTEGER" if kinds == {int} else "TEXT", types.NoneType in parts))
    return found


@functools.cache
def _names(table: Table, prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in table.row._fields)


def _table_sql(table: Table) -> str:
    rowid = table.key == 1 and columns(table)[0][1] == "INTEGER"
    payload = "codec" in table.row._fields
    lines = []
    for index, (name, kind, nullable) in enumerate(columns(table)):
        constraint = " PRIMARY KEY" if rowid and index == 0 else "" if nullable else " NOT NULL"
        lines.append(f'"{name}" {kind}{constraint}')
    if not rowid:
        lines.append("PRIMARY KEY ({})".format(", ".join(f'"{name}"' for name in table.row._fields[: table.key])))
    if table is RUNS:  # the id that people and the CLI use
        text = "partition || '-' || (run >> 32) || '-' || (run & 4294967295)"
        lines.append(f'"id" TEXT GENERATED ALWAYS AS ({text}) VIRTUAL')
    options = "STRICT" if rowid or payload else "STRICT, WITHOUT ROWID"
    return "CREATE TABLE {} (\n  {}\n) {}".format(table.name, ",\n  ".join(lines), options)


def _time_sql(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1e6, 'unixepoch') AS \"{column.rpartition('.')[2]}\""


def schema() -> dict[str, str]:
    """The CREATE statement of every table and index, by name."""
    found = {table.name: _table_sql(table) for table in TABLES}
    found.update((name, f"CREATE INDEX {name} ON {what}") for name, what in INDEXES.items())
    return found


def _views() -> dict[str, str]:
    """For people with a SQL shell; not part of the schema's version, and made again when they differ."""
    times = ", ".join(map(_time_sql, ("created", "started", "finished", "wake")))
    runs = f'SELECT id, agent, "key", status, generation, {times}, awaits, error FROM runs'
    steps = (
        f"SELECT runs.id, records.record, {_time_sql('records.at')}, records.kind, records.step, records.tool, records.effect, "
        'records.attempt, records."key" AS idempotency_key, records.args, records.result, records.error, records.note '
        "FROM records JOIN runs ON runs.run = records.run"
    )
    states = (
        'SELECT s.agent, s."key", s.version, runs.id AS run, coalesce(s.payload, records.result) AS state '
        "FROM states s LEFT JOIN records ON records.record = s.record LEFT JOIN runs ON runs.run = s.run"
    )
    views = {"runs_view": runs, "records_view": steps, "states_view": states}
    return {name: f"CREATE VIEW {name} AS {sql}" for name, sql in views.items()}


@functools.cache
def _write_sql(verb: str, table: Table, size: int) -> str:
    """Insert, upsert or delete up to ``size`` rows; rows whose first column is NULL are padding."""
    fields, keys = table.row._fields, table.row._fields[: table.key]
    if verb == "delete":
        key = ", ".join(f'"{name}"' for name in keys)
        return f"DELETE FROM {table.name} WHERE ({key}) IN ({_values(len(keys), size)})"
    sql = f"INSERT INTO {table.name} ({_names(table)}) SELECT * FROM ({_values(len(fields), size)}) WHERE column1 IS NOT NULL"
    if verb == "upsert":
        key = ", ".join(f'"{name}"' for name in keys)
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in fields[table.key :])
        sql += f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
    return sql


def _values(width: int, size: int) -> str:
    row = "({})".format(",".join("?" * width))
    return "VALUES " + ",".join([row] * size)


def _padded(rows: Sequence[Sequence[Any]], width: int) -> Iterator[tuple[int, int, list[Any]]]:
    """The rows in chunks, as (rows in the chunk, size of the statement, values with NULLs up to that size)."""
    for start in range(0, len(rows), SIZES[-1]):
        chunk = rows[start : start + SIZES[-1]]
        size = next(size for size in SIZES if size >= len(chunk))
        values = list(itertools.chain.from_iterable(chunk))
        values.extend(itertools.repeat(None, width * (size - len(chunk))))
        yield len(chunk), size, values


@functools.cache
def _selected(table: Table, prefix: str = "") -> str:
    return f"SELECT {_names(table, prefix)}" + ("" if prefix else f" FROM {table.name}")


_IN_NUMBERS = "IN (SELECT value FROM carray(?1))"
_LINE = f'{_selected(RUNS)} WHERE agent = ? AND "key" = ? AND turn > ? AND turn IS NOT NULL ORDER BY turn, run LIMIT ?'
_STATES = "SELECT {}, coalesce(s.payload, r.result) FROM states s LEFT JOIN records r ON r.record = s.record".format(
    ", ".join(f's."{name}"' for name in STATES.row._fields[:-1])
)
_STATE = f'{_STATES} WHERE s.agent = ? AND s."key" = ?'
_EVENT_COLUMNS = len(EVENTS.row._fields)


@functools.cache
def _states_sql(size: int) -> str:
    return f'{_STATES} WHERE (s.agent, s."key") IN ({_values(2, size)})'


@functools.cache
def _lines_sql(size: int) -> str:
    """The heads of many lines: for each key the first runs by turn, in any order."""
    line = 'x.agent = k.column1 AND x."key" = k.column2 AND x.turn IS NOT NULL'
    head = f"SELECT x.run FROM runs x WHERE {line} ORDER BY x.turn, x.run LIMIT ?"
    return f"{_selected(RUNS, 'r.')} FROM ({_values(2, size)}) k CROSS JOIN runs r ON r.run IN ({head})"


@functools.cache
def _mailed_sql(size: int) -> str:
    there = 'SELECT 1 FROM mail WHERE agent = k.column1 AND "key" = k.column2'
    return f"SELECT k.column1, k.column2 FROM ({_values(2, size)}) k WHERE EXISTS ({there})"


def _receivers_sql() -> str:
    """For just this (rank 0) or for any (rank 1); a run that waits for several things can be found by several of them."""
    place = f'r.agent = ?1 AND r."key" = ?2 AND +r.status IN {WAITING}'
    found = [
        f"SELECT * FROM (SELECT {rank} AS rank, r.run FROM runs r WHERE {place} AND {fits} AND {receives} ORDER BY r.run LIMIT ?5)"
        for receives, name, about in (_waits(number, "r.") for number in range(WAITS))
        for rank, fits in enumerate((f"{name} = ?3 AND {about} = ?4", f"{name} = ?3 AND {about} IS NULL"))
    ]
    fits = "w.value ->> 1 = 'receive' AND w.value ->> 2 = ?3 AND (w.value ->> 3 = ?4 OR w.value ->> 3 IS NULL)"
    found.append(
        "SELECT min(w.value ->> 3 IS NULL), r.run FROM runs r CROSS JOIN json_each(r.awaits) w "
        f"WHERE {place} AND {_waits_for_more('r.')} AND {fits} GROUP BY r.run"
    )
    first = f"SELECT run, min(rank) AS rank FROM ({' UNION ALL '.join(found)}) GROUP BY run ORDER BY 2, 1 LIMIT ?5"
    return f"{_selected(RUNS, 'r.')} FROM ({first}) f CROSS JOIN runs r ON r.run = f.run ORDER BY f.rank, f.run"


def _awaited_sql() -> str:
    """Mail that somebody waits for. (A column's affinity would keep the index of an expression from being used: the pluses.)"""
    place, waits = 'r.agent = m.agent AND r."key" = m."key"', f"+r.status IN {WAITING}"
    fits = "w.value ->> 1 = 'receive' AND w.value ->> 2 = m.name AND (w.value ->> 3 IS NULL OR w.value ->> 3 = m.about)"
    runs = [
        f"runs r WHERE {place} AND {name} = +m.name AND {about} {wanted} AND {receives}"
        for receives, name, about in (_waits(number, "r.") for number in range(WAITS))
        for wanted in ("= +m.about", "IS NULL")
    ]
    runs.append(f"runs r, json_each(r.awaits) w WHERE {place} AND {_waits_for_more('r.')} AND {fits}")
    anybody = " OR ".join(f"EXISTS (SELECT 1 FROM {run} AND {waits})" for run in runs)
    fits = f"CASE m.kind WHEN 'reply' THEN w.value ->> 1 = 'ask' AND w.value ->> 0 = m.name ELSE {fits} END"
    it = f"EXISTS (SELECT 1 FROM runs r, json_each(r.awaits) w WHERE r.run = m.run AND {place} AND {waits} AND {fits})"
    return (
        f"{_selected(MAIL, 'm.')} FROM mail m WHERE m.mail > ? AND CASE WHEN m.run IS NULL THEN {anybody} ELSE {it} END "
        "ORDER BY m.mail LIMIT ?"
    )


def _mail_for_sql(about: bool) -> str:
    """Signals to a key, and to a run of it."""
    fits = "name = ?3 AND kind = 'signal'" + (" AND about = ?7" if about else "")
    where = f'agent = ?1 AND "key" = ?2 AND {fits} AND mail > ?5'
    both = [
        f"SELECT * FROM ({_selected(MAIL)} WHERE {where} AND {to} ORDER BY mail LIMIT ?6)" for to in ("run IS NULL", "run = ?4")
    ]
    return " UNION ALL ".join(both) + " ORDER BY mail LIMIT ?6"


_RECEIVERS = _receivers_sql()
_AWAITED = _awaited_sql()
_MAIL_FOR, _MAIL_FOR_ABOUT = _mail_for_sql(False), _mail_for_sql(True)
_REPLIES = (
    f"{_selected(MAIL)} WHERE agent = ?1 AND \"key\" = ?2 AND name = ?3 AND run = ?4 AND kind = 'reply' AND mail > ?5 "
    "ORDER BY mail LIMIT ?6"
)


@functools.cache
def _seen_sql(size: int) -> str:
    return "SELECT id FROM seen WHERE source = ? AND id IN ({})".format(",".join("?" * size))


def _numbers(numbers: Iterable[int]) -> apsw.CArrayBinding:
    return apsw.carray(array.array("q", numbers))


# -- the store ------------------------------------------------------------------------------------------------------------


class SqliteStore:
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
        self.path = os.fspath(path)
        self._vfs = vfs
        self._failed: str | None = None
        self._flushed = 0  # pages written to the WAL up to the last complete checkpoint
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        if _version(apsw.sqlite_lib_version()) < _version(SQLITE_LEAST):
            found = f"apsw was built with SQLite {apsw.sqlite_lib_version()}"
            raise StoreError(f"{found}, and {SQLITE_LEAST} is needed (older ones can damage a WAL); install apsw from PyPI")
        try:
            if read_only:
                self._reader = self._connect(apsw.SQLITE_OPEN_READONLY)
                self._check(self._reader, app, partitions)
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
        self._snapshot = _Snapshot(self._rows)

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
            self._create(writer, app, partitions)
        self._check(writer, app, partitions)
        mode = writer.pragma("journal_mode", "wal")
        if mode != "wal":
            raise StoreError(f"{self.path}: journal mode stays {mode}, the file system cannot hold a SQLite WAL; use a local disk")
        writer.execute(f"PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        have = _pairs(writer, "SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
        for name, sql in _views().items():
            if have.get(name) != sql:
                writer.execute(f"BEGIN IMMEDIATE; DROP VIEW IF EXISTS {name}; {sql}; COMMIT")

    def _create(self, writer: apsw.Connection, app: str | None, partitions: int | None) -> None:
        """Tables and meta in one transaction, with a rollback journal: a file that died in between is still an empty one."""
        if app is None or partitions is None:
            raise StoreError(f"{self.path}: there is no store yet, and to make one the app and its partitions must be given")
        facts: dict[str, Any] = {
            "schema": SCHEMA,
            "store_id": uuid.uuid4().hex,
            "app": app,
            "partitions": partitions,
            "created": time.time_ns() // 1000,
        }
        writer.execute(f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL")
        writer.execute("BEGIN IMMEDIATE")
        for sql in schema().values():
            writer.execute(sql)
        for name, value in facts.items():
            writer.execute(f"INSERT INTO {META.name} VALUES (?, ?)", (name, msgspec.json.encode(value).decode()))
        writer.execute(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}")
        writer.execute("COMMIT")

    def _check(self, connection: apsw.Connection, app: str | None, partitions: int | None) -> None:
        if connection.pragma("application_id") != APPLICATION:
            raise StoreError(f"{self.path}: a SQLite file, but not a Millstream store; name another data folder")
        version = connection.pragma("user_version")
        if version != SCHEMA:
            what = "install that version or a later one" if version > SCHEMA else "open it with the version that wrote it"
            raise StoreVersion(f"{self.path}: the store has schema {version}, this Millstream knows schema {SCHEMA}; {what}")
        have = _pairs(connection, "SELECT name, sql FROM sqlite_schema WHERE type <> 'view'")
        for name, sql in schema().items():
            if have.get(name) != sql:
                raise StoreVersion(
                    f"{self.path}: {name} is not as in schema {SCHEMA} of this Millstream: {_difference(have.get(name), sql)}; "
                    "a development version wrote it, or a hand: restore a backup or use another data folder"
                )
        meta = _pairs(connection, f"SELECT name, value FROM {META.name}")
        for name, given in (("app", app), ("partitions", partitions)):
            found = msgspec.json.decode(meta[name])
            if given is not None and found != given:
                raise StoreVersion(
                    f"{self.path}: the store was made with {name} {found!r}, and is opened with {name} {given!r}; "
                    f"both are fixed when a store is made: give {name} {found!r} or use another data folder"
                )

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
        return StoreError(f"{self.path}: the store cannot be opened: {_said(error)}; {what}")

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
        for count, size, values in _padded(rows, len(table.row._fields)):
            writer.execute(_write_sql(verb, table, size), values)
            if writer.changes() != count:  # a row with NULL for its key looks like padding
                raise ValueError(f"{count} rows were given and {writer.changes()} have a key")

    def _delete(self, writer: apsw.Connection, table: Table, keys: Sequence[tuple[Any, ...]]) -> None:
        for _, size, values in _padded(keys, table.key):
            writer.execute(_write_sql("delete", table, size), values)

    def _before_commit(self, writer: apsw.Connection, error: Exception, where: str) -> StoreError:
        if not _rolled_back(writer):
            return self._fail(f"{where}: {_said(error)}, and the rollback failed too")
        if isinstance(error, _REFUSALS + _NO_MEMORY):
            return self._refused(error, where)
        if isinstance(error, _FAULTS):
            return self._fail(f"{where}: {_said(error)}")
        return StoreError(f"{self.path}: {where}: {_said(error)}; nothing of it was written, and it can never be: a bug")

    def _at_commit(self, writer: apsw.Connection, error: Exception, where: str) -> StoreError:
        if isinstance(error, _REFUSALS) and _rolled_back(writer):
            return self._refused(error, where)
        return self._fail(f"{where}: {_said(error)}")

    def _refused(self, error: Exception, where: str) -> CommitRefused:
        match error:
            case apsw.FullError():
                what = f"free some space ({_free(self.path)}, quotas aside)"
            case apsw.BusyError() | apsw.LockedError():
                what = f"another process has been writing to it for {BUSY_MS / 1000:g} s; end it"
            case _:
                what = "memory is exhausted"
        said = f"{_said(error)}; nothing of it was written; {what}, and the same commit may be tried again"
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
            raise self._fail(f"checkpoint: {_said(error)}") from error
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

    # reading, from the engine's thread

    def _rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        reader = self._reader
        if reader is None:
            raise StoreError(f"{self.path}: the store is closed")
        try:
            return reader.execute(sql, bindings).fetchall()
        except apsw.CorruptError as error:
            raise StoreError(f"{self.path}: the file is damaged: {_said(error)}; restore a backup") from error
        except apsw.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {_said(error)}; see whether the disk is sound") from error

    def _made(self, make: Callable[[Any], R], sql: str, bindings: Sequence[Any] = ()) -> list[R]:
        return list(map(make, self._rows(sql, bindings)))

    def meta(self) -> dict[str, str]:
        """Facts about the store by name, as JSON text; among them store_id, app, partitions, created (us) and schema."""
        return dict(self._rows("SELECT name, value FROM meta"))

    def lines(self, keys: Sequence[tuple[str, str]], limit: int) -> list[KeyLine]:
        """For each (agent, key), in the order given: its state, the first ``limit`` runs of its line, and whether it has mail."""
        if len(keys) == 1:
            return [self._one_line(*keys[0], limit)]
        states: dict[tuple[str, str], StateRow] = {}
        heads: dict[tuple[str, str], list[RunRow]] = {}
        mailed: set[tuple[str, str]] = set()
        with self._snapshot:
            for _, size, values in _padded(list(dict.fromkeys(keys)), 2):
                for state in self._made(StateRow._make, _states_sql(size), values):
                    states[state.agent, state.key] = state
                for run in self._made(RunRow._make, _lines_sql(size), [*values, limit + 1]):
                    heads.setdefault((run.agent, run.key), []).append(run)
                mailed.update(self._rows(_mailed_sql(size), values))
        found = []
        for key in keys:
            head = heads.get(key, [])
            if len(head) > 1:
                head = sorted(head, key=_turn)
            found.append(KeyLine(*key, states.get(key), head[:limit], len(head) > limit, key in mailed))
        return found

    def _one_line(self, agent: str, key: str, limit: int) -> KeyLine:
        with self._snapshot:
            states = self._rows(_STATE, (agent, key))
            head = self._rows(_LINE, (agent, key, -1, limit + 1))
            mailed = self._rows('SELECT 1 FROM mail WHERE agent = ? AND "key" = ? LIMIT 1', (agent, key))
        state = StateRow._make(states[0]) if states else None
        return KeyLine(agent, key, state, list(map(RunRow._make, head[:limit])), len(head) > limit, bool(mailed))

    def line_after(self, agent: str, key: str, turn: int, limit: int) -> list[RunRow]:
        """The next runs of a line, behind ``turn``."""
        return self._made(RunRow._make, _LINE, (agent, key, turn, limit))

    def scan_lines(self, after: int, limit: int) -> list[RunRow]:
        """Runs in line of all keys by turn, behind turn ``after``."""
        return self._made(
            RunRow._make, f"{_selected(RUNS)} WHERE turn > ? AND turn IS NOT NULL ORDER BY turn, run LIMIT ?", (after, limit)
        )

    def histories(self, runs: Sequence[int]) -> list[RunHistory]:
        """Of those of these runs that exist, in the order given.

        Raises:
            StoreError: the event of one of them is missing.
        """
        if not runs:
            return []
        numbers = (_numbers(runs),)
        records: dict[int, list[RecordRow]] = {run: [] for run in runs}
        with self._snapshot:
            both = self._rows(
                f"{_selected(EVENTS, 'e.')}, {_names(RUNS, 'r.')} FROM runs r LEFT JOIN events e ON e.event = r.event "
                f"WHERE r.run {_IN_NUMBERS}",
                numbers,
            )
            journal = self._made(RecordRow._make, f"{_selected(RECORDS)} WHERE run {_IN_NUMBERS} ORDER BY run, record", numbers)
        for record in journal:
            records[record.run].append(record)
        found: dict[int, RunHistory] = {}
        for row in both:
            run_row = RunRow._make(row[_EVENT_COLUMNS:])
            if row[0] is None:
                raise StoreError(
                    f"{self.path}: event {run_row.event} of run {run_row.run} is missing; the file was changed: restore a backup"
                )
            number = run_row.run
            found[number] = RunHistory(run_row, EventRow._make(row[:_EVENT_COLUMNS]), records[number])
        return [found[number] for number in runs if number in found]

    def run(self, run: int) -> RunRow | None:
        """One run, or None."""
        rows = self._rows(f"{_selected(RUNS)} WHERE run = ?", (run,))
        return RunRow._make(rows[0]) if rows else None

    def waiting(self, agent: str, key: str, limit: int) -> list[RunRow]:
        """Runs of (agent, key) whose status is waiting or in_doubt, oldest first, in line or not."""
        return self._made(
            RunRow._make,
            f'{_selected(RUNS)} WHERE {OPEN} AND status IN {WAITING} AND agent = ? AND "key" = ? ORDER BY run LIMIT ?',
            (agent, key, limit),
        )

    def receivers(self, agent: str, key: str, name: str, about: str | None, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs of (agent, key) that wait for such a signal: first those that wait for just this ``about``."""
        return self._made(RunRow._make, _RECEIVERS, (agent, key, name, about, limit))

    def mail(self, after: int, limit: int, *, awaited: bool = False) -> list[MailRow]:
        """Mail behind number ``after``, in order; ``awaited``: only what a waiting or in-doubt run waits for."""
        sql = _AWAITED if awaited else f"{_selected(MAIL)} WHERE mail > ? ORDER BY mail LIMIT ?"
        return self._made(MailRow._make, sql, (after, limit))

    def mail_for(self, run: int, agent: str, key: str, wait: Wait, after: int, limit: int) -> list[MailRow]:
        """What a run of (agent, key) that waits for this could be given: mail behind number ``after``, in order."""
        step, kind, name, about = wait
        if kind == "ask":
            return self._made(MailRow._make, _REPLIES, (agent, key, step, run, after, limit))
        if about is None:
            return self._made(MailRow._make, _MAIL_FOR, (agent, key, name, run, after, limit))
        return self._made(MailRow._make, _MAIL_FOR_ABOUT, (agent, key, name, run, after, limit, about))

    def wakes(self, until: int, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs whose ``wake`` is not later than ``until`` (us), earliest first."""
        return self._made(
            RunRow._make,
            f"{_selected(RUNS)} WHERE wake <= ? AND wake IS NOT NULL AND +status IN {WAITING} ORDER BY wake, run LIMIT ?",
            (until, limit),
        )

    def sleeping(self, agents: Sequence[str]) -> bool:
        """Is there a waiting run of these agents that waits for its ``wake`` alone?"""
        sql = (
            "SELECT 1 FROM runs WHERE wake IS NOT NULL AND awaits IS NULL AND +status = 'waiting' "
            "AND +agent IN (SELECT value FROM json_each(?)) LIMIT 1"
        )
        return bool(self._rows(sql, (msgspec.json.encode(agents).decode(),)))

    def agents(self) -> list[str]:
        """Names of the agents that have runs."""
        return [name for (name,) in self._rows("SELECT DISTINCT agent FROM runs ORDER BY agent")]

    def askers(self) -> list[RunRow]:
        """Waiting and in-doubt runs that wait for an ``ask``: their ``awaits`` has an item of that kind."""
        return self._made(
            RunRow._make,
            f"{_selected(RUNS)} WHERE {OPEN} AND status IN {WAITING} AND instr(awaits, '\"ask\"') > 0 "
            "AND EXISTS (SELECT 1 FROM json_each(awaits) WHERE value ->> 1 = 'ask') ORDER BY run",
        )

    def seen(self, source: str, ids: Sequence[str]) -> set[str]:
        """Those of the ids that were seen."""
        found: set[str] = set()
        for _, size, values in _padded([(id,) for id in ids], 1):
            found.update(id for (id,) in self._rows(_seen_sql(size), [source, *values]))
        return found

    def forget_seen(self, source: str, before: int, limit: int) -> list[str]:
        """Ids of a source that were seen before that time (us), oldest first."""
        rows = self._rows("SELECT id FROM seen WHERE source = ? AND at < ? ORDER BY at, id LIMIT ?", (source, before, limit))
        return [id for (id,) in rows]

    def backlog_bytes(self) -> int:
        """Bytes of the payloads of events whose runs are queued."""
        sql = (
            "SELECT coalesce(sum(octet_length(e.payload)), 0) FROM runs r CROSS JOIN events e ON e.event = r.event "
            "WHERE r.status = 'queued' AND r.status NOT IN ('done', 'cancelled')"
        )
        return int(self._rows(sql)[0][0])

    def sources(self) -> list[SourceRow]:
        """How far each source has been consumed, by name."""
        return self._made(SourceRow._make, f"{_selected(SOURCES)} ORDER BY source")

    def sinks(self) -> list[SinkRow]:
        """How far each sink has been written, by name."""
        return self._made(SinkRow._make, f"{_selected(SINKS)} ORDER BY sink")

    def outputs(self, sink: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Rows of a sink behind row ``after`` as (row, text): each text is whole lines, each ended by a newline."""
        sql = (
            'SELECT o."row", CASE WHEN o.event IS NULL THEN o.payload ELSE e.payload || char(10) END '
            'FROM outputs o LEFT JOIN events e ON e.event = o.event WHERE o.sink = ? AND o."row" > ? ORDER BY o."row" LIMIT ?'
        )
        found: list[tuple[int, str]] = self._rows(sql, (sink, after, limit))
        for row, text in found:
            if text is None:
                raise StoreError(f"{self.path}: output {row} of sink {sink} has no text; the file was changed: restore a backup")
        return found

    def last_output(self, sink: str) -> int:
        """The number of the last output row of a sink; 0 when there is none."""
        return int(self._rows('SELECT coalesce(max("row"), 0) FROM outputs WHERE sink = ?', (sink,))[0][0])

    def doubts(self) -> list[DoubtRow]:
        """The in-doubt inbox, oldest first."""
        return self._made(DoubtRow._make, f"{_selected(DOUBTS)} ORDER BY since, run, step")

    def letters(self, after: int, limit: int) -> list[LetterRow]:
        """Dead letters behind number ``after``, in order."""
        return self._made(LetterRow._make, f"{_selected(LETTERS)} WHERE letter > ? ORDER BY letter LIMIT ?", (after, limit))

    def runs(
        self, *, status: str | None = None, agent: str | None = None, key: str | None = None, limit: int | None = None
    ) -> Iterator[RunRow]:
        """Runs, newest first; read in pages, so that a slow caller does not keep the WAL from being checkpointed."""
        chosen = {name: value for name, value in (("status", status), ("agent", agent), ('"key"', key)) if value is not None}
        where = "".join(f" AND {name} = ?" for name in chosen)
        if status is not None and status not in ("done", "cancelled"):
            where += f" AND {OPEN}"
        sql = f"{_selected(RUNS)} WHERE run < ?{where} ORDER BY run DESC LIMIT ?"
        bound, left = (1 << 63) - 1, limit
        while left is None or left > 0:
            page = self._made(RunRow._make, sql, (bound, *chosen.values(), PAGE_ROWS if left is None else min(left, PAGE_ROWS)))
            yield from page
            if len(page) < PAGE_ROWS:
                return
            bound = page[-1].run
            left = None if left is None else left - len(page)

    def open_runs(self) -> dict[str, int]:
        """How many runs there are of each status but done and cancelled."""
        return dict(self._rows(f"SELECT status, count(*) FROM runs WHERE {OPEN} GROUP BY status"))

    def diverged_since(self, at: int) -> int:
        """How many runs have diverged since ``at`` (us), and are not tried again yet."""
        sql = f"SELECT count(*) FROM runs WHERE {OPEN} AND status = 'diverged' AND finished >= ?"
        return int(self._rows(sql, (at,))[0][0])

    def cancellations(self, runs: Sequence[int]) -> list[RecordRow]:
        """What these runs recorded of being cancelled, in order."""
        sql = f"{_selected(RECORDS)} WHERE run {_IN_NUMBERS} AND kind = 'cancelled' ORDER BY record"
        return self._made(RecordRow._make, sql, (_numbers(runs),))

    def doubt_count(self) -> int:
        """How many steps are in doubt."""
        return int(self._rows("SELECT count(*) FROM doubts")[0][0])

    def doubts_of(self, run: int) -> list[DoubtRow]:
        """The steps of a run that are in doubt, oldest first."""
        return self._made(DoubtRow._make, f"{_selected(DOUBTS)} WHERE run = ? ORDER BY since, step", (run,))

    def states(self, agent: str, limit: int) -> list[str]:
        """Keys of an agent that have a state, in order."""
        return [key for (key,) in self._rows('SELECT "key" FROM states WHERE agent = ? ORDER BY "key" LIMIT ?', (agent, limit))]

    def changes(self, run: int) -> list[RecordRow]:
        """What a run recorded of the states that it left, in order."""
        return self._made(RecordRow._make, f"{_selected(RECORDS)} WHERE run = ? AND kind = 'changed' ORDER BY record", (run,))

    def handling(self, event: int) -> list[RunRow]:
        """The runs that handle an event. Runs are numbered right behind their event, so no index is needed."""
        return self._made(
            RunRow._make,
            f"{_selected(RUNS)} WHERE run > ?1 AND run <= ?1 + {AGENTS_AT_MOST} AND event = ?1 ORDER BY run",
            (event,),
        )

    def state(self, agent: str, key: str) -> StateRow | None:
        """The durable state of (agent, key), or None."""
        rows = self._rows(_STATE, (agent, key))
        return StateRow._make(rows[0]) if rows else None

    def events(self, events: Sequence[int], at_most: int | None = None) -> list[EventRow]:
        """Those of these events that exist and whose payload has at most so many bytes, in the order given."""
        if not events:
            return []
        sql = f"{_selected(EVENTS)} WHERE event {_IN_NUMBERS}"
        if at_most is None:
            rows = self._made(EventRow._make, sql, (_numbers(events),))
        else:
            rows = self._made(EventRow._make, f"{sql} AND octet_length(payload) <= ?2", (_numbers(events), at_most))
        found = {row.event: row for row in rows}
        return [found[number] for number in events if number in found]

    def emitted(self, run: int) -> list[EventRow]:
        """What a run emitted and sent, in order."""
        return self._made(EventRow._make, f"{_selected(EVENTS)} WHERE cause = ? AND cause IS NOT NULL ORDER BY event", (run,))


class _Snapshot:
    """Several reads of one moment, as a context. Not re-entrant."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Callable[[str], list[Any]]) -> None:
        self._rows = rows

    def __enter__(self) -> None:
        self._rows("BEGIN")

    def __exit__(self, *error: object) -> None:
        self._rows("COMMIT")


def _difference(found: str | None, expected: str) -> str:
    there, here = [text.splitlines() for text in (found or "", expected)]
    extra = " ".join(line.strip() for line in there if line not in here)
    missing = " ".join(line.strip() for line in here if line not in there)
    return f"found {extra or 'nothing'!r} where {missing or 'nothing'!r} is expected"


def _pairs(connection: apsw.Connection, sql: str) -> dict[Any, Any]:
    pairs: list[Any] = connection.execute(sql).fetchall()
    return dict(pairs)


def _turn(run: RunRow) -> tuple[int, int]:
    assert run.turn is not None
    return run.turn, run.run


def _rolled_back(writer: apsw.Connection) -> bool:
    try:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
        return not writer.in_transaction
    except Exception:
        return False


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _said(error: BaseException) -> str:
    code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0))
    what = f"{type(error).__name__} ({code})" if code else type(error).__name__
    return f"{what}: {error}" if str(error) else what


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
