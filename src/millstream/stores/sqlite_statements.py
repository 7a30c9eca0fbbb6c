"""Statements that write, or look up, many rows of a SQLite store at once.

A statement releases the GIL for each row that it is stepped through, and beside a busy engine thread each release can
cost the switch interval (5 ms). So rows go many to a statement, padded with NULLs up to one of five sizes (a prepared statement
each): up to 256 rows of a table are one step. Measured with 64 agent requests a commit (544 rows, synchronous=OFF): CPU a
request, and the median commit beside a thread of pure Python that has a core of its own: executemany 35 us, 350 to 850 ms;
multi-row VALUES in chunks of 64, 16, 4, 1: 31 us, 65 ms; JSON text through json_each 85 us, 40 ms; padded 31 us, 38 ms. (All take 2
to 15 ms when the two threads happen to share a core.) Upserts, because REPLACE also deletes and inserts index entries (+7 us).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from millstream.core.tables import Table

SIZES = (1, 4, 16, 64, 256)  # rows a statement


@functools.cache
def write_sql(verb: str, table: Table, size: int) -> str:
    """Insert, upsert or delete up to ``size`` rows; rows whose first column is NULL are padding."""
    fields, keys = table.row._fields, table.row._fields[: table.key]
    if verb == "delete":
        key = ", ".join(f'"{name}"' for name in keys)
        return f"DELETE FROM {table.name} WHERE ({key}) IN ({values_sql(len(keys), size)})"
    sql = f"INSERT INTO {table.name} ({names_sql(table)}) SELECT * FROM ({values_sql(len(fields), size)}) WHERE column1 IS NOT NULL"
    if verb == "upsert":
        key = ", ".join(f'"{name}"' for name in keys)
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in fields[table.key :])
        sql += f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
    return sql


@functools.cache
def names_sql(table: Table, prefix: str = "") -> str:
    """The columns of a table, in order."""
    return ", ".join(f'{prefix}"{name}"' for name in table.row._fields)


def values_sql(width: int, size: int) -> str:
    """``size`` rows of ``width`` parameters."""
    row = "({})".format(",".join("?" * width))
    return "VALUES " + ",".join([row] * size)


def padded(rows: Sequence[Sequence[Any]], width: int) -> Iterator[tuple[int, int, list[Any]]]:
    """The rows in chunks, as (rows in the chunk, size of the statement, values with NULLs up to that size)."""
    for start in range(0, len(rows), SIZES[-1]):
        chunk = rows[start : start + SIZES[-1]]
        size = next(size for size in SIZES if size >= len(chunk))
        values = list(itertools.chain.from_iterable(chunk))
        values.extend(itertools.repeat(None, width * (size - len(chunk))))
        yield len(chunk), size, values
