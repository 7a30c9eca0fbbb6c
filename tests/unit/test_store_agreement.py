"""Two stores, one meaning: any sequence of commits reads the same from SQLite and from memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream.core.runs import dump
from millstream.core.tables import (
    DOUBTS,
    EVENTS,
    LETTERS,
    MAIL,
    META,
    OUTPUTS,
    RECORDS,
    RUNS,
    SEEN,
    SINKS,
    SOURCES,
    STATES,
    Commit,
    MetaRow,
    SeenRow,
    SinkRow,
    SourceRow,
    Table,
)
from millstream.stores.memory import MemoryStore
from millstream.stores.sqlite import SqliteStore
from millstream.testing.conformance.stores import WAITS, contents, doubt, event, letter, mail, output, record, run, state

numbers = st.integers(1, 6)
keys = st.sampled_from(["ada", "bob", "a\0b"])
maybe = st.none() | st.integers(0, 9)
statuses = st.sampled_from(["queued", "running", "waiting", "in_doubt", "failed", "diverged", "done", "cancelled"])
waits = st.sampled_from([("a#1", "ask", "o", "b"), *WAITS])
awaits = st.none() | st.lists(waits, max_size=6).map(dump)

puts: st.SearchStrategy[tuple[Table, Any]] = st.one_of(
    st.tuples(
        st.just(RUNS),
        st.builds(
            lambda n, k, t, s, w, a: run(n, key=k, turn=t, status=s, wake=w, awaits=a),
            numbers,
            keys,
            maybe,
            statuses,
            maybe,
            awaits,
        ),
    ),
    st.tuples(st.just(STATES), st.builds(lambda k, v: state(k, version=v), keys, numbers)),
    st.tuples(
        st.just(MAIL),
        st.builds(
            lambda n, k, r, about, what: mail(n, key=k, run=r, about=about, name=what[0], kind=what[1]),
            numbers,
            keys,
            maybe,
            st.sampled_from([None, "x", "y"]),
            st.sampled_from([("approval", "signal"), ("ask", "signal"), ("a#1", "reply"), ("approval", "reply")]),
        ),
    ),
    st.tuples(st.just(DOUBTS), st.builds(lambda n, s, t: doubt(n, s, since=t), numbers, keys, numbers)),
    st.tuples(st.just(SEEN), st.builds(SeenRow, keys, keys, numbers, numbers)),
    st.tuples(st.just(SOURCES), st.builds(SourceRow, keys, st.none() | keys, numbers, numbers, numbers, numbers)),
    st.tuples(st.just(OUTPUTS), st.builds(lambda n, k: output(n, sink=k), numbers, keys)),
    st.tuples(st.just(SINKS), st.builds(SinkRow, keys, numbers, st.none() | keys)),
    st.tuples(st.just(LETTERS), st.builds(letter, numbers)),
    st.tuples(st.just(META), st.builds(MetaRow, keys, st.just("1"))),
)
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "delete"]), puts), max_size=12)


@given(commits=st.lists(st.tuples(steps, st.integers(0, 3)), min_size=1, max_size=6))
def test_sqlite_and_memory_read_the_same(commits: list[tuple[list[tuple[str, tuple[Table, Any]]], int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = SqliteStore(Path(folder) / "millstream.db", app="suite", partitions=64)
        meta = {name: value for name, value in sqlite.meta().items() if name in ("schema", "store_id", "created")}
        memory = MemoryStore(app="suite")
        first = Commit(0)
        first.append(EVENTS, event(1))
        for name, value in meta.items():
            first.put(META, MetaRow(name, value))
        appended = 1
        for store in (sqlite, memory):
            store.write(first)
        for number, (rows, appends) in enumerate(commits, 1):
            made = Commit(number)
            for what, (table, row) in rows:
                if what == "put":
                    made.put(table, row)
                else:
                    made.delete(table, row[: table.key])
            for _ in range(appends):
                appended += 1
                made.append(EVENTS, event(appended, cause=appended % 4))
                made.append(RECORDS, record(appended, appended % 4))
            for store in (sqlite, memory):
                store.write(made)
            assert contents(sqlite) == contents(memory)
        sqlite.close()
