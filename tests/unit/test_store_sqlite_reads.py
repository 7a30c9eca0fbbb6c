"""What is asked of a SQLite store stays cheap. What it answers is in the suite that every store passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from millstream.core.runs import dump
from millstream.core.tables import MAIL, RUNS
from millstream.stores.sqlite import SqliteStore
from millstream.stores.sqlite_schema import WAITS
from millstream.testing.conformance.stores import commit, contents, mail, run, sample


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "millstream.db", app="shop", partitions=64)) as opened:
        yield opened


def test_no_read_scans_a_table_that_grows(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: dict[str, str] = {}
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
    small = (
        "CLAUSE",
        "SCAN carray",
        "SCAN json_each",
        "SCAN (subquery",
        "SCAN f",
        "SCAN w ",
        "SCAN doubts",
        "SCAN sources",
        "SCAN sinks",
        "SCAN meta",
    )
    for sql, plan in plans.items():
        for line in plan.splitlines():
            assert "SCAN" not in line or any(text in line for text in small), f"{sql}\n{plan}"


@pytest.mark.parametrize("waits", range(1, 5), ids="{} waits a run".format)
def test_what_a_signal_reads_does_not_grow_with_the_runs_and_the_mail_of_its_key(store: SqliteStore, waits: int) -> None:
    """In steps of SQLite's machine. Of runs that wait for many things the names are looked through: one such run is no better."""

    def steps(read: Callable[[], Sequence[Any]], found: int) -> int:
        ran: list[int] = []
        assert store._reader is not None
        store._reader.trace_v2(
            apsw.SQLITE_TRACE_PROFILE, lambda event: ran.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])
        )
        assert len(read()) == found
        store._reader.trace_v2(0, None)
        return sum(ran)

    def measured() -> dict[str, int]:
        place = ("fulfil", "ada")
        return {
            "for just this": steps(lambda: store.receivers(*place, "name 0", "about 7", 4), 1),
            "for any": steps(lambda: store.receivers(*place, "any", "about 7", 4), 4),
            "for the last of several": steps(lambda: store.receivers(*place, f"name {waits - 1}", "about 7", 4), 1),
            "for nobody": steps(lambda: store.receivers(*place, "name 0", "else", 4), 0),
            "mail about just this": steps(lambda: store.mail_for(7, *place, ("r", "receive", "name 0", "about 7"), 0, 4), 1),
            "any mail": steps(lambda: store.mail_for(7, *place, ("r", "receive", "name 0", None), 0, 4), 4),
            "no mail": steps(lambda: store.mail_for(7, *place, ("r", "receive", "else", None), 0, 4), 0),
            "a reply": steps(lambda: store.mail_for(7, *place, ("r", "ask", "other", "bob"), 0, 4), 0),
            "awaited": steps(lambda: store.mail(0, 4, awaited=True), 4),
            "one line": steps(lambda: store.lines([place], 4), 1),
            "lines": steps(lambda: store.lines([place, ("fulfil", "bob")], 4), 2),
            "waiting": steps(lambda: store.waiting(*place, 4), 4),
        }

    def more(numbers: range) -> None:
        made = commit()
        for number in numbers:
            awaits = [[f"r{place}", "receive", f"name {place}", f"about {number}"] for place in range(waits)]
            made.put(RUNS, run(number, status="waiting", awaits=dump(awaits), turn=None))
            made.put(RUNS, run(-number, status="waiting", awaits=dump([["r", "receive", "any", None]]), turn=None))
            made.put(MAIL, mail(number, name="name 0", about=f"about {number}"))
        store.write(made)

    more(range(1, 101))
    few = measured()
    more(range(101, 1_001))
    many = measured()
    if waits > WAITS:
        few, many = [{name: count for name, count in of.items() if not name.startswith("for")} for of in (few, many)]
    assert many == pytest.approx(few, rel=0.1)


def test_a_read_is_prepared_once_whatever_is_asked_for(store: SqliteStore) -> None:
    compiled: list[Any] = []

    def asked(*what: Any) -> int:
        """SQLite asks whether a statement may do what it does while it compiles it."""
        compiled.append(what)
        return apsw.SQLITE_OK

    assert store._reader is not None
    store._reader.authorizer = asked
    for number in range(1, 4):
        compiled.clear()
        store.lines([("fulfil", f"k{number}")], number)
        store.lines([("fulfil", f"k{number}"), ("fulfil", f"k{number + 1}")], number)
        store.line_after("fulfil", f"k{number}", number, number)
        store.scan_lines(number, number)
        store.wakes(number, number)
        store.waiting("fulfil", f"k{number}", number)
        store.receivers("fulfil", f"k{number}", "approval", f"o-{number}", number)
        store.mail(number, number, awaited=True)
        store.mail_for(number, "fulfil", f"k{number}", ("r", "receive", "approval", f"o-{number}"), number, number)
        store.mail_for(number, "fulfil", f"k{number}", ("r", "receive", "approval", None), number, number)
        store.mail_for(number, "fulfil", f"k{number}", ("a", "ask", "other", "bob"), number, number)
        store.histories([number])
        store.events([number], at_most=number)
        store.outputs("receipts", number, number)
        store.seen("orders", [str(number)])
        assert bool(compiled) == (number == 1), compiled
