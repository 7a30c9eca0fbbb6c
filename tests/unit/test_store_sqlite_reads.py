"""What is asked of a SQLite store stays cheap. What it answers is in the suite that every store passes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from millstream.stores.sqlite import SqliteStore
from millstream.testing.conformance.stores import contents, sample


def test_no_read_scans_a_table_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: dict[str, str] = {}
    with closing(SqliteStore(tmp_path / "millstream.db", app="shop", partitions=64)) as store:
        read = store._rows

        def explained(sql: str, bindings: Any = ()) -> list[Any]:
            if sql not in ("BEGIN", "COMMIT"):
                plans[sql] = "\n".join(row[3] for row in read(f"EXPLAIN QUERY PLAN {sql}", bindings))
            return read(sql, bindings)

        monkeypatch.setattr(store, "_rows", explained)
        store.write(sample())
        contents(store)
        store.lines([("a", "b"), ("c", "d")], 3)
        store.line_after("a", "b", 1, 1)
        store.seen("a", ["b"])
        store.letters(1, 1)
        store.sleeping(["fulfil"])
        for status in ("queued", "running", "waiting", "in_doubt", "failed", "diverged"):
            list(store.runs(status=status))
    assert len(plans) > 25
    small = ("CLAUSE", "SCAN carray", "SCAN json_each", "SCAN mail", "SCAN doubts", "SCAN sources", "SCAN sinks", "SCAN meta")
    for sql, plan in plans.items():
        for line in plan.splitlines():
            assert "SCAN" not in line or any(text in line for text in small), f"{sql}\n{plan}"
