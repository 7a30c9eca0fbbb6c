"""The tables of a SQLite store: what they are, making them in an empty file, and refusing a file whose tables are others.

Columns, types and keys come from ``core.tables``, and an existing file must match them. An integer key is the rowid.
A composite key with a payload is a rowid table with a unique index: in a WITHOUT ROWID table, rows over 1 KB spill into
overflow pages (states of 3 KB: 49 us a request against 31). Secondary indexes are partial where they can be; all of them cost 2 us.
What a run waits for is JSON, and its first items are indexed as expressions: 3 us for a run that waits, next to nothing for others.

Views are for people with a SQL shell. They are no part of the schema's version, and are made again where they differ.
"""

from __future__ import annotations

import time
import types
import typing
import uuid
from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

from millstream.core.tables import META, RUNS, TABLES, Table
from millstream.errors import StoreError, StoreVersion

SCHEMA = 1
"""Version of the tables, in ``PRAGMA user_version``; raised with every change of them (a test pins their text)."""

APPLICATION = 0x4D53_5452
"""``PRAGMA application_id`` of a Millstream store: "MSTR"."""

PAGE_BYTES = 4096  # 8 to 32 KB pages: up to twice the CPU a request, for 10 % less disk
OPEN = "status NOT IN ('done', 'cancelled')"  # said in a query, it lets the partial index of such runs be used
WAITS = 3  # so many waits of a run are in an index each; runs with more of them are looked through


def waits_for(number: int, run: str = "") -> tuple[str, str, str]:
    """Of what a run waits for, this one: that it is a signal, its name, and what it must be about.

    (``json_extract``, and not ``->>``: no SQLite before 3.38 could open a file that has that in an index.)
    """
    kind, name, about = [f"json_extract({run}awaits, '$[{number}][{item}]')" for item in (1, 2, 3)]
    return f"{run}awaits IS NOT NULL AND {kind} = 'receive'", name, about


def waits_for_more(run: str = "") -> str:
    return f"{run}awaits IS NOT NULL AND json_extract({run}awaits, '$[{WAITS}][1]') IS NOT NULL"


def _waits_indexes() -> Iterator[tuple[str, str]]:
    """Who waits for a signal: found by what it waits for, first, second and so on."""
    for number in range(WAITS):
        receives, name, about = waits_for(number)
        yield f"runs_waits_{number}", f"runs(agent, key, {name}, {about}) WHERE {receives}"
    yield "runs_waits_more", f"runs(agent, key) WHERE {waits_for_more()}"


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


# -- their text ------------------------------------------------------------------------------------------------------------


def schema() -> dict[str, str]:
    """The CREATE statement of every table and index, by name."""
    found = {table.name: _table_sql(table) for table in TABLES}
    found.update((name, f"CREATE INDEX {name} ON {what}") for name, what in INDEXES.items())
    return found


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


def _views() -> dict[str, str]:
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


def _time_sql(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1e6, 'unixepoch') AS \"{column.rpartition('.')[2]}\""


# -- in a file -------------------------------------------------------------------------------------------------------------


def create(path: str, writer: apsw.Connection, app: str | None, partitions: int | None) -> None:
    """Tables and meta in one transaction, with a rollback journal: a file that died in between is still an empty one.

    Raises:
        StoreError: the app or its partitions are not given.
    """
    if app is None or partitions is None:
        raise StoreError(f"{path}: there is no store yet, and to make one the app and its partitions must be given")
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


def check(path: str, connection: apsw.Connection, app: str | None, partitions: int | None) -> None:
    """Are these the tables of this version, of this app, cut into so many partitions? None: into whichever.

    Raises:
        StoreVersion, StoreError: they are not; or it is no store.
    """
    if connection.pragma("application_id") != APPLICATION:
        raise StoreError(f"{path}: a SQLite file, but not a Millstream store; name another data folder")
    version = connection.pragma("user_version")
    if version != SCHEMA:
        what = "install that version or a later one" if version > SCHEMA else "open it with the version that wrote it"
        raise StoreVersion(f"{path}: the store has schema {version}, this Millstream knows schema {SCHEMA}; {what}")
    have = _pairs(connection, "SELECT name, sql FROM sqlite_schema WHERE type <> 'view'")
    for name, sql in schema().items():
        if have.get(name) != sql:
            raise StoreVersion(
                f"{path}: {name} is not as in schema {SCHEMA} of this Millstream: {_difference(have.get(name), sql)}; "
                "a development version wrote it, or a hand: restore a backup or use another data folder"
            )
    meta = _pairs(connection, f"SELECT name, value FROM {META.name}")
    for name, given in (("app", app), ("partitions", partitions)):
        found = msgspec.json.decode(meta[name])
        if given is not None and found != given:
            raise StoreVersion(
                f"{path}: the store was made with {name} {found!r}, and is opened with {name} {given!r}; "
                f"both are fixed when a store is made: give {name} {found!r} or use another data folder"
            )


def renew_views(writer: apsw.Connection) -> None:
    """Make the views that are not as they should be."""
    have = _pairs(writer, "SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
    for name, sql in _views().items():
        if have.get(name) != sql:
            writer.execute(f"BEGIN IMMEDIATE; DROP VIEW IF EXISTS {name}; {sql}; COMMIT")


def _difference(found: str | None, expected: str) -> str:
    there, here = [text.splitlines() for text in (found or "", expected)]
    extra = " ".join(line.strip() for line in there if line not in here)
    missing = " ".join(line.strip() for line in here if line not in there)
    return f"found {extra or 'nothing'!r} where {missing or 'nothing'!r} is expected"


def _pairs(connection: apsw.Connection, sql: str) -> dict[Any, Any]:
    pairs: list[Any] = connection.execute(sql).fetchall()
    return dict(pairs)
