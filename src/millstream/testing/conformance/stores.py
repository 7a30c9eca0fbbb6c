"""What every store must pass. Inherit the suite in a test class and say how to open the store:

    class TestMyStore(StoreSuite):
        def open(self, folder):
            return MyStore(folder / "store", app="suite", partitions=64)

The suite writes through ``Store.write`` and reads through the methods of the protocol alone. A store that cannot hold what a
commit asks for (``test_*_is_refused``) raises StoreError, but neither CommitRefused, which would be tried again for ever, nor
CommitFailed, which would end the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.core.tables import (
    DOUBTS,
    EVENT,
    EVENTS,
    JSON,
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
    TABLES,
    Commit,
    DoubtRow,
    EventRow,
    LetterRow,
    MailRow,
    MetaRow,
    OutputRow,
    RecordRow,
    RunRow,
    SeenRow,
    SinkRow,
    SourceRow,
    StateRow,
    Table,
    Wait,
)
from millstream.engine.ports import Store
from millstream.errors import CommitFailed, CommitRefused, StoreError

TEXTS = [
    "",
    " ",
    "plain",
    "Zürich, 東京, 🚚, e\u0301",
    "a\0b",
    "\0",
    'it\'s "quoted"; DROP TABLE runs; -- %s ? :x \\',
    "line\nline\r\n\ttab",
    "\ufeffmark",
    "\U0010ffff\ue000\uffff",
    "x" * 100_000,
]
"""Texts that must come back as they were given."""

NUMBERS = [0, 1, -1, 255, 1 << 31, 1 << 32, (1 << 53) + 1, 1 << 62, (1 << 63) - 1, -(1 << 63)]
"""Integers that must come back as they were given."""

SIGNALS: list[tuple[str, str | None]] = [("approval", None), ("approval", "x"), ("approval", "y"), ("ask", None), ("ask", "x")]
"""Name of a signal, and what it is about."""

WAITS: list[Wait] = [("r#1", "receive", name, about) for name, about in SIGNALS] + [("a#1", "ask", "approval", "bob")]
"""What a run may wait for."""

AMOUNTS = [1, 2, 4, 5, 63, 64, 65, 255, 256, 257, 1_000]
"""Rows a commit: at and beside the sizes in which a store may group them."""


def event(number: int, **changes: Any) -> EventRow:
    """An event that came from a source."""
    row = EventRow(number, 3, "orders", "ada", f"o-{number}", 10, 20, None, "orders", "7", JSON, '{"n":1}')
    return row._replace(**changes)


def run(number: int, **changes: Any) -> RunRow:
    """A queued run of (fulfil, ada), in line, of event 1."""
    row = RunRow(number, 3, "fulfil", "ada", 1, number, "queued", 0, 20, None, None, None, None, None, "f1", 0, None)
    return row._replace(**changes)


def record(number: int, of: int, **changes: Any) -> RecordRow:
    """A record of a run."""
    row = RecordRow(number, 3, of, 0, 30, "resulted", "charge#1", "charge", "read", 1, None, None, JSON, "[[],{}]", "1", None)
    return row._replace(**changes)


def mail(number: int, **changes: Any) -> MailRow:
    """A signal to whichever run of (fulfil, ada) receives it first."""
    row = MailRow(number, 3, "fulfil", "ada", None, "signal", "approval", None, f"s-{number}", None, 40, JSON, "true", None)
    return row._replace(**changes)


def state(key: str = "ada", **changes: Any) -> StateRow:
    """The state of (fulfil, key)."""
    return StateRow("fulfil", key, 3, 1, 1, None, JSON, '{"spent":1}')._replace(**changes)


def doubt(number: int, step: str = "charge#1", **changes: Any) -> DoubtRow:
    """A step in doubt."""
    row = DoubtRow(number, step, 3, "fulfil", "ada", "charge", "at_most_once", "k1", 1, 50, 60, None, JSON, "[[],{}]", None)
    return row._replace(**changes)


def letter(number: int, **changes: Any) -> LetterRow:
    """A dead letter."""
    row = LetterRow(number, "sizes", "orders", "8", 1, "ada", "o-1", 60, 70, "no size", EVENT, JSON, '{"id":"o-1"}', 12)
    return row._replace(**changes)


def output(number: int, sink: str = "receipts", **changes: Any) -> OutputRow:
    """A chunk of a plain stream on its way to a sink."""
    return OutputRow(sink, number, 3, None, "orders", "1", "2", 1, JSON, f'{{"n":{number}}}\n')._replace(**changes)


def commit(*rows: tuple[Table, tuple[Any, ...]], delete: tuple[tuple[Table, tuple[Any, ...]], ...] = ()) -> Commit:
    """A commit that appends rows of history, puts rows of state, and deletes keys."""
    made = Commit(1)
    for table, row in rows:
        if table.append:
            made.append(table, row)
        else:
            made.put(table, row)
    for table, key in delete:
        made.delete(table, key)
    return made


def contents(store: Store) -> dict[str, Any]:
    """All that can be read of a store, to compare it with another, or with itself at another time."""
    runs = list(store.runs())
    numbers = [row.run for row in runs]
    keys = sorted({(row.agent, row.key) for row in runs})
    sinks = [row.sink for row in store.sinks()]
    return {
        "meta": store.meta(),
        "runs": runs,
        "lines": store.lines(keys, 1_000),
        "single lines": [store.lines([key], 1_000) for key in keys],
        "scan": store.scan_lines(-1, 10_000),
        "histories": store.histories(numbers),
        "waiting": [store.waiting(*key, 1_000) for key in keys],
        "receivers": [store.receivers(*key, name, about, 1_000) for key in keys for name, about in SIGNALS],
        "mail": store.mail(-1, 10_000),
        "awaited mail": store.mail(-1, 10_000, awaited=True),
        "mail for runs": [store.mail_for(row.run, row.agent, row.key, wait, -1, 1_000) for row in runs for wait in WAITS],
        "wakes": store.wakes(1 << 62, 10_000),
        "diverged": store.diverged(("", "", 0), 10_000),
        "askers": store.askers(),
        "seen": store.forget_seen("orders", 1 << 62, 10_000),
        "backlog": store.backlog_bytes(),
        "sources": store.sources(),
        "sinks": store.sinks(),
        "outputs": [store.outputs(sink, 0, 10_000) for sink in sinks],
        "last outputs": [store.last_output(sink) for sink in sinks],
        "doubts": store.doubts(),
        "doubts of runs": [store.doubts_of(number) for number in numbers],
        "letters": store.letters(-1, 10_000),
        "states": [store.state(*key) for key in keys],
        "events": store.events([row.event for row in runs]),
        "emitted": [store.emitted(number) for number in numbers],
    }


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def sample() -> Commit:
    """A commit with something of everything."""
    return commit(
        (EVENTS, event(1)),
        (EVENTS, event(2, cause=1, source=None, position=None)),
        (RUNS, run(1, status="waiting", wake=90, awaits='[["ask#1","ask","other","bob"]]')),
        (RUNS, run(2)),
        (RECORDS, record(1, 1)),
        (RECORDS, record(2, 1)),
        (STATES, state()),
        (MAIL, mail(1)),
        (MAIL, mail(2, run=1, kind="reply")),
        (DOUBTS, doubt(1)),
        (SEEN, SeenRow("orders", "o-1", 3, 20)),
        (SOURCES, SourceRow("orders", "8", 2, 0, 0, 0)),
        (OUTPUTS, output(1)),
        (OUTPUTS, output(2, event=2, payload=None)),
        (SINKS, SinkRow("receipts", 0, None)),
        (LETTERS, letter(1)),
        (META, MetaRow("epoch", "1")),
    )


class StoreSuite:
    """Tests of one store."""

    def open(self, folder: Path) -> Store:
        """The store in this folder: a new one for the app ``suite`` with 64 partitions, or the one that was made there."""
        raise NotImplementedError

    def reopen(self, store: Store, folder: Path) -> Store:
        """Close the store and open it again."""
        store.close()
        return self.open(folder)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = self.open(tmp_path)
        yield store
        store.close()

    # what a new store is

    def test_a_new_store_knows_its_identity(self, store: Store) -> None:
        meta = {name: msgspec.json.decode(value) for name, value in store.meta().items()}
        assert len(meta["store_id"]) == 32
        assert isinstance(meta["app"], str)
        assert isinstance(meta["partitions"], int)
        assert isinstance(meta["created"], int)

    def test_a_new_store_is_empty(self, store: Store) -> None:
        found = contents(store)
        del found["meta"]
        assert not any(found.values()), found
        assert store.lines([("a", "b"), ("c", "d")], 4)[1] == store.lines([("c", "d")], 4)[0]
        assert not any((store.histories([1, 2]), store.events([1]), store.emitted(1), store.outputs("s", 0, 9)))
        assert (store.run(1), store.state("a", "b")) == (None, None)
        assert store.seen("orders", ["1"]) == set()
        assert store.last_output("s") == 0

    # what is written is read

    def test_a_commit_is_read_back(self, store: Store) -> None:
        store.write(sample())
        first = run(1, status="waiting", wake=90, awaits='[["ask#1","ask","other","bob"]]')
        emitted = event(2, cause=1, source=None, position=None)
        assert list(store.runs()) == [run(2), first]
        assert store.run(1) == first
        assert store.events([1, 2]) == [event(1), emitted]
        assert store.emitted(1) == [emitted]
        assert store.state("fulfil", "ada") == state()
        assert store.mail(0, 9) == [mail(1), mail(2, run=1, kind="reply")]
        assert store.doubts() == [doubt(1)]
        assert store.seen("orders", ["o-1", "o-2"]) == {"o-1"}
        assert store.sources() == [SourceRow("orders", "8", 2, 0, 0, 0)]
        assert store.sinks() == [SinkRow("receipts", 0, None)]
        assert store.outputs("receipts", 0, 9) == [(1, '{"n":1}\n'), (2, '{"n":1}\n')]
        assert store.letters(0, 9) == [letter(1)]
        assert store.meta()["epoch"] == "1"

    def test_rows_come_back_as_their_types(self, store: Store) -> None:
        store.write(sample())
        history = store.histories([1])[0]
        line = store.lines([("fulfil", "ada")], 4)[0]
        rows: list[Any] = [
            history.run,
            history.event,
            history.records[0],
            store.mail(0, 9)[0],
            line.state,
            line.line[0],
            *store.doubts(),
        ]
        rows += [*store.sources(), *store.sinks(), *store.letters(0, 9), *store.emitted(1), *store.wakes(99, 9)]
        expected = [RunRow, EventRow, RecordRow, MailRow, StateRow, RunRow, DoubtRow]
        assert [type(row) for row in rows] == [*expected, SourceRow, SinkRow, LetterRow, EventRow, RunRow]

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    def test_text_passes_through_untouched(self, store: Store, tmp_path: Path, text: str) -> None:
        store.write(
            commit(
                (EVENTS, event(1, key=text, id=text, payload=text)),
                (RUNS, run(1, agent=text, key=text)),
                (RECORDS, record(1, 1, args=text, result=text)),
                (STATES, state(agent=text, key=text, payload=text)),
                (MAIL, mail(1, agent=text, key=text, payload=text)),
                (SEEN, SeenRow(text, text, 0, 1)),
                (OUTPUTS, output(1, sink=text, payload=text)),
            )
        )
        self._holds_text(store, text)
        opened = self.reopen(store, tmp_path)
        self._holds_text(opened, text)
        opened.close()

    def _holds_text(self, store: Store, text: str) -> None:
        (history,) = store.histories([1])
        assert (history.run.agent, history.run.key, history.event.payload) == (text, text, text)
        assert (history.records[0].args, history.records[0].result) == (text, text)
        assert store.mail(0, 9)[0].payload == text
        assert store.lines([(text, text)], 4)[0].state == state(agent=text, key=text, payload=text)
        assert store.lines([("no", "no"), (text, text)], 4)[1].line == [run(1, agent=text, key=text)]
        assert store.seen(text, [text, "other"]) == {text}
        assert store.outputs(text, 0, 1) == [(1, text)]

    def test_texts_that_differ_are_different_keys(self, store: Store) -> None:
        keys = ["a", "A", "a ", "a\0", "a\0b", "ä", "a\u0308", "1", "01", "1.0"]
        for number, key in enumerate(keys, 1):
            store.write(commit((STATES, state(key, version=number)), (SEEN, SeenRow("s", key, 0, 1))))
        assert [line.state.version for line in store.lines([("fulfil", key) for key in keys], 1) if line.state] == list(
            range(1, len(keys) + 1)
        )
        assert store.seen("s", [*keys, "b", "a\0c"]) == set(keys)

    @pytest.mark.parametrize("number", NUMBERS)
    def test_integers_pass_through_untouched(self, store: Store, number: int) -> None:
        store.write(
            commit(
                (EVENTS, event(number, time=number, arrival=number, cause=number)),
                (RUNS, run(number, event=number, created=number, finished=number)),
                (RECORDS, record(number, number, at=number)),
                (STATES, state(version=number, run=number)),
            )
        )
        (history,) = store.histories([number])
        assert history.run == run(number, event=number, created=number, finished=number)
        assert history.event == event(number, time=number, arrival=number, cause=number)
        assert history.records == [record(number, number, at=number)]
        assert store.emitted(number) == [history.event]
        assert store.run(number) == history.run

    def test_nothing_and_empty_text_are_kept_apart(self, store: Store) -> None:
        store.write(commit((EVENTS, event(1, payload=None)), (EVENTS, event(2, payload="")), (STATES, state(payload=None))))
        assert [row.payload for row in store.events([1, 2])] == [None, ""]
        assert store.state("fulfil", "ada") == state(payload=None)

    def test_rows_of_five_megabytes_are_kept(self, store: Store, tmp_path: Path) -> None:
        text = '"' + "0123456789" * 500_000 + '"'
        store.write(
            commit((EVENTS, event(1, payload=text)), (RUNS, run(1)), (STATES, state(payload=text)), (RECORDS, record(1, 1)))
        )
        store.write(commit((STATES, state("bob", payload=text[::-1]))))
        opened = self.reopen(store, tmp_path)
        assert opened.histories([1])[0].event.payload == text
        assert opened.lines([("fulfil", "ada"), ("fulfil", "bob")], 1)[1].state == state("bob", payload=text[::-1])
        opened.close()

    @pytest.mark.parametrize("amount", AMOUNTS)
    def test_commits_of_any_size_are_written_whole(self, store: Store, amount: int) -> None:
        made = Commit(1)
        for number in range(1, amount + 1):
            made.append(EVENTS, event(number))
            made.put(RUNS, run(number))
            made.put(STATES, state(f"k{number}"))
            made.put(SEEN, SeenRow("s", f"i{number}", 0, 1))
            made.put(MAIL, mail(number))
        store.write(made)
        keys = [("fulfil", f"k{number}") for number in range(1, amount + 1)]
        assert [line.state for line in store.lines(keys, 1)] == [state(key) for _, key in keys]
        assert len(store.histories(range(1, amount + 1))) == amount
        assert store.seen("s", [f"i{number}" for number in range(amount + 2)]) == {f"i{number}" for number in range(1, amount + 1)}
        gone = Commit(2)
        for number in range(1, amount):
            gone.delete(MAIL, (number,))
            gone.delete(SEEN, ("s", f"i{number}"))
            gone.delete(STATES, ("fulfil", f"k{number}"))
        store.write(gone)
        assert store.mail(0, 9_999) == [mail(amount)]
        assert store.forget_seen("s", 9, 9_999) == [f"i{amount}"]
        assert [line.state for line in store.lines(keys, 1) if line.state] == [state(f"k{amount}")]

    def test_everything_is_there_when_it_is_opened_again(self, store: Store, tmp_path: Path) -> None:
        store.write(sample())
        before = contents(store)
        opened = self.reopen(store, tmp_path)
        assert contents(opened) == before
        opened.write(commit((RUNS, run(3))))
        assert [row.run for row in opened.runs()] == [3, 2, 1]
        opened.close()

    # puts and deletes

    def test_a_put_replaces_the_whole_row(self, store: Store) -> None:
        store.write(commit((RUNS, run(1, status="waiting", wake=5, awaits="[]", error="{}", started=1))))
        store.write(commit((RUNS, run(1, turn=None, status="done", finished=9))))
        assert store.run(1) == run(1, turn=None, status="done", finished=9)
        assert store.waiting("fulfil", "ada", 9) == store.wakes(99, 9) == store.scan_lines(-1, 9) == []

    def test_the_last_put_of_a_commit_wins(self, store: Store) -> None:
        made = Commit(1)
        for version in (1, 2, 3):
            made.put(STATES, state(version=version))
        store.write(made)
        assert store.state("fulfil", "ada") == state(version=3)

    def test_a_delete_after_a_put_deletes(self, store: Store) -> None:
        store.write(commit((MAIL, mail(1)), (MAIL, mail(2)), delete=((MAIL, (1,)),)))
        assert store.mail(0, 9) == [mail(2)]

    def test_a_put_after_a_delete_puts(self, store: Store) -> None:
        store.write(commit((MAIL, mail(1))))
        made = Commit(2)
        made.delete(MAIL, (1,))
        made.put(MAIL, mail(1, name="other"))
        store.write(made)
        assert store.mail(0, 9) == [mail(1, name="other")]

    def test_a_delete_of_what_is_not_there_is_harmless(self, store: Store) -> None:
        store.write(sample())
        before = contents(store)
        nothing: dict[Table, tuple[Any, ...]] = {MAIL: (9,), DOUBTS: (1, "no"), SEEN: ("orders", "no"), STATES: ("no", "ada")}
        store.write(commit(delete=tuple(nothing.items())))
        assert contents(store) == before

    def test_every_table_can_be_deleted_from(self, store: Store) -> None:
        empty = contents(store)
        made = sample()
        store.write(made)
        gone = Commit(2)
        for table, puts in made.puts.items():
            for key in puts:
                gone.delete(table, key)
        for table, rows in made.appends.items():
            for row in rows:
                gone.delete(table, row[: table.key])
        store.write(gone)
        assert contents(store) == empty

    def test_an_empty_commit_changes_nothing(self, store: Store) -> None:
        store.write(sample())
        before = contents(store)
        store.write(Commit(2))
        gated = Commit(3)
        gated.gated.append("something that the outside sees")
        store.write(gated)
        assert contents(store) == before

    # what cannot be stored

    def _is_refused(self, store: Store, bad: Commit) -> None:
        """A StoreError that is neither "again" nor "end"; nothing of the commit is there, and the store goes on."""
        before = contents(store)
        bad.put(META, MetaRow("trace", "1"))
        with pytest.raises(StoreError) as caught:
            store.write(bad)
        assert not isinstance(caught.value, CommitRefused | CommitFailed)
        assert contents(store) == before
        store.write(commit((META, MetaRow("after", "1"))))
        assert store.meta()["after"] == "1"

    def test_an_append_of_a_key_that_is_there_is_refused(self, store: Store) -> None:
        store.write(sample())
        self._is_refused(store, commit((EVENTS, event(7)), (EVENTS, event(1))))
        self._is_refused(store, commit((RECORDS, record(2, 1))))

    def test_an_append_of_one_key_twice_is_refused(self, store: Store) -> None:
        self._is_refused(store, commit((EVENTS, event(7)), (EVENTS, event(7, id="another"))))

    def test_a_lone_surrogate_is_refused(self, store: Store) -> None:
        self._is_refused(store, commit((EVENTS, event(1)), (STATES, state("\ud800"))))
        self._is_refused(store, commit((EVENTS, event(1, payload='"\udfff"'))))

    def test_an_integer_beyond_64_bits_is_refused(self, store: Store) -> None:
        self._is_refused(store, commit((EVENTS, event(1)), (RUNS, run(1, created=1 << 63))))

    def test_a_missing_value_is_refused(self, store: Store) -> None:
        self._is_refused(store, commit((EVENTS, event(1)), (RUNS, run(1, status=None))))
        self._is_refused(store, commit((EVENTS, event(1, event=None))))
        self._is_refused(store, commit((RUNS, run(5)), (RUNS, run(1, run=None))))

    def test_a_row_of_another_width_is_refused(self, store: Store) -> None:
        self._is_refused(store, commit((EVENTS, event(1)), (MAIL, tuple(mail(1))[:-1])))

    # lines

    def test_a_line_is_in_the_order_of_turns(self, store: Store) -> None:
        for number, turn in ((1, 30), (2, 10), (3, 20), (4, None)):
            store.write(commit((RUNS, run(number, turn=turn))))
        turns = [(2, 10), (3, 20), (1, 30)]
        for keys in ([("fulfil", "ada")], [("fulfil", "ada"), ("fulfil", "bob")]):
            line = store.lines(keys, 9)[0]
            assert ([(row.run, row.turn) for row in line.line], line.more) == (turns, False)
        assert [(row.run, row.turn) for row in store.line_after("fulfil", "ada", -1, 9)] == turns
        assert [(row.run, row.turn) for row in store.scan_lines(-1, 9)] == turns

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_line_is_cut_at_the_limit_and_says_so(self, store: Store, batch: int) -> None:
        store.write(commit(*((RUNS, run(number)) for number in range(1, 6))))
        keys = [("fulfil", "ada"), ("fulfil", "bob"), ("other", "ada")][:batch]
        for limit, more in ((1, True), (4, True), (5, False), (6, False)):
            line = store.lines(keys, limit)[0]
            assert ([row.run for row in line.line], line.more) == (list(range(1, 6))[:limit], more)

    def test_lines_come_in_the_order_of_the_keys_asked_for(self, store: Store) -> None:
        rows: list[tuple[Table, tuple[Any, ...]]] = []
        for number in range(1, 301):
            rows.append((RUNS, run(number, key=f"k{number % 100}")))
            rows.append((STATES, state(f"k{number % 50}", version=number)))
        store.write(commit(*rows))
        keys = [("fulfil", f"k{number}") for number in range(149, -1, -1)]
        keys += [("fulfil", "k3"), ("other", "k3")]
        found = store.lines(keys, 2)
        assert [(line.agent, line.key) for line in found] == keys
        assert found == [store.lines([key], 2)[0] for key in keys]
        assert [row.run for row in found[149].line] == [100, 200]
        assert found[149].more
        assert found[-2].state == state("k3", version=253)
        assert (found[0].state, found[0].line, found[0].more) == (None, [], False)

    def test_a_line_can_be_read_on(self, store: Store) -> None:
        store.write(commit(*((RUNS, run(number)) for number in range(1, 8)), (RUNS, run(9, key="bob"))))
        assert [row.run for row in store.line_after("fulfil", "ada", 2, 3)] == [3, 4, 5]
        assert [row.run for row in store.line_after("fulfil", "ada", 5, 3)] == [6, 7]
        assert store.line_after("fulfil", "ada", 7, 3) == []

    def test_all_lines_can_be_scanned_by_turn(self, store: Store) -> None:
        store.write(commit(*((RUNS, run(number, key=f"k{number}", turn=100 - number)) for number in range(1, 8))))
        store.write(commit((RUNS, run(8, turn=None))))
        found: list[RunRow] = []
        while page := store.scan_lines(found[-1].turn or 0 if found else -1, 3):
            found += page
        assert [row.run for row in found] == [7, 6, 5, 4, 3, 2, 1]

    def test_a_line_and_its_state_are_of_one_moment(self, store: Store) -> None:
        def write(version: int) -> None:
            rows: list[tuple[Table, tuple[Any, ...]]] = []
            for key in ("ada", "bob"):
                rows.append((STATES, state(key, version=version)))
                rows.append((RUNS, run(1 if key == "ada" else 2, key=key, generation=version)))
            store.write(commit(*rows))

        for keys in ([("fulfil", "ada")], [("fulfil", "ada"), ("fulfil", "bob")]):

            def read(keys: list[tuple[str, str]] = keys) -> int:
                found = store.lines(keys, 2)
                versions = {line.state.version for line in found if line.state} | {
                    row.generation for line in found for row in line.line
                }
                assert len(versions) == 1
                return versions.pop()

            self._beside(write, read)

    def _beside(self, write: Callable[[int], None], read: Callable[[], int]) -> None:
        """Write versions in a thread and read in this one: what is read never goes back, and a write that returned is seen."""
        failed: list[BaseException] = []
        written = [1]
        write(1)

        def writer() -> None:
            try:
                for version in range(2, 151):
                    write(version)
                    written[0] = version
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=writer)
        thread.start()
        last = 0
        try:
            while thread.is_alive():
                least = written[0]
                version = read()
                assert version >= max(least, last)
                last = version
        finally:
            thread.join()
        assert not failed
        assert read() == 150

    # runs and what belongs to them

    def test_a_history_holds_event_and_journal(self, store: Store) -> None:
        store.write(
            commit(
                *((EVENTS, event(number)) for number in (1, 2, 3)),
                *((RUNS, run(number, event=number, key="ada" if number < 3 else "bob")) for number in (1, 2, 3)),
                (RECORDS, record(3, 1)),
                (RECORDS, record(1, 1)),
                (RECORDS, record(2, 2)),
                (RECORDS, record(4, 1, generation=1)),
            )
        )
        third, first = store.histories([3, 99, 1])
        assert (third.run, third.event) == (run(3, event=3, key="bob"), event(3))
        assert third.records == []
        assert (first.run, first.event) == (run(1), event(1))
        assert first.records == [record(1, 1), record(3, 1), record(4, 1, generation=1)]
        assert store.histories([]) == []

    def test_a_run_without_its_event_is_an_error(self, store: Store) -> None:
        store.write(commit((RUNS, run(5, event=77))))
        with pytest.raises(StoreError, match="77"):
            store.histories([5])

    def test_waiting_runs_are_found_in_line_and_out_of_it(self, store: Store) -> None:
        statuses = ["queued", "running", "waiting", "in_doubt", "failed", "diverged", "done", "cancelled"]
        store.write(commit(*((RUNS, run(9 - number, status=status)) for number, status in enumerate(statuses))))
        store.write(commit((RUNS, run(20, status="waiting", turn=None)), (RUNS, run(21, status="waiting", key="bob"))))
        assert [row.run for row in store.waiting("fulfil", "ada", 9)] == [6, 7, 20]
        assert [row.run for row in store.waiting("fulfil", "ada", 2)] == [6, 7]
        assert [row.run for row in store.waiting("fulfil", "bob", 9)] == [21]
        assert store.waiting("other", "ada", 9) == []

    def test_wakes_come_earliest_first(self, store: Store) -> None:
        wakes = {1: 50, 2: 10, 3: None, 4: 30, 5: 30, 6: 31}
        store.write(commit(*((RUNS, run(number, status="waiting", wake=wake)) for number, wake in wakes.items())))
        store.write(commit((RUNS, run(7, status="in_doubt", wake=20)), (RUNS, run(8, status="done", wake=20))))
        assert [row.run for row in store.wakes(30, 9)] == [2, 7, 4, 5]
        assert [row.run for row in store.wakes(1 << 62, 3)] == [2, 7, 4]
        assert store.wakes(9, 9) == []

    def test_diverged_runs_come_in_pages_by_agent_key_and_number(self, store: Store) -> None:
        places = {1: ("fulfil", "é"), 2: ("fulfil", "z"), 3: ("answer", "z"), 4: ("fulfil", "z"), 5: ("fulfil", "")}
        diverged = [run(number, agent=agent, key=key, status="diverged") for number, (agent, key) in places.items()]
        others = [run(10 + number, status=status) for number, status in enumerate(("failed", "queued", "done"))]
        store.write(commit(*((RUNS, row) for row in diverged + others)))
        found, behind = [], ("", "", 0)
        while page := store.diverged(behind, 2):
            found.append([row.run for row in page])
            behind = (page[-1].agent, page[-1].key, page[-1].run)
        assert found == [[3, 5], [2, 4], [1]]
        store.write(commit((RUNS, diverged[1]._replace(status="queued"))))
        assert [row.run for row in store.diverged(("fulfil", "", 5), 9)] == [4, 1]

    def test_who_waits_for_just_this_is_found_before_who_takes_any(self, store: Store) -> None:
        waits = {
            1: [["r", "receive", "approval", None]],
            2: [["r", "receive", "approval", "x"]],
            3: [["r", "receive", "approval", "y"]],
            4: [["r", "receive", "other", None], ["s", "receive", "approval", None], ["t", "receive", "approval", "x"]],
            5: [["r", "receive", "other", "x"]],
            6: [["r", "ask", "approval", "x"]],
            7: None,
            8: [["r", "receive", "approval", "x"]],
            9: [["r", "receive", "approval", None]],
        }
        rows = [run(number, status="waiting", awaits=_json(wait), turn=None) for number, wait in waits.items()]
        store.write(commit(*((RUNS, row) for row in reversed(rows)), (RUNS, rows[7]._replace(status="in_doubt"))))

        def found(name: str, about: str | None, limit: int = 9) -> list[int]:
            return [row.run for row in store.receivers("fulfil", "ada", name, about, limit)]

        assert found("approval", "x") == [2, 4, 8, 1, 9]
        assert found("approval", "x", limit=4) == [2, 4, 8, 1]
        assert found("approval", "x", limit=1) == [2]
        assert found("approval", "y") == [3, 1, 4, 9]
        assert found("approval", None) == found("approval", "z") == [1, 4, 9]
        assert found("approval", None, limit=2) == [1, 4]
        assert found("other", "x") == [5, 4]
        assert found("nothing", None) == []
        assert store.receivers("fulfil", "bob", "approval", None, 9) == store.receivers("other", "ada", "approval", None, 9) == []
        for number, status in ((1, "queued"), (2, "running"), (4, "done"), (8, "failed"), (9, "cancelled")):
            store.write(commit((RUNS, rows[number - 1]._replace(status=status, turn=None))))
        assert found("approval", "x") == []
        store.write(commit((RUNS, rows[1]._replace(awaits=_json(waits[3])))))
        assert found("approval", "y") == [2, 3]
        assert found("approval", "x") == []

    @pytest.mark.parametrize("amount", range(1, 7))
    def test_a_run_is_found_by_each_of_the_things_that_it_waits_for(self, store: Store, amount: int) -> None:
        waits: list[Wait] = [(f"r{place}", "receive", f"name {place}", None if place % 2 else "x") for place in range(amount)]
        store.write(commit((RUNS, run(1, status="waiting", awaits=_json(waits), turn=None)), (MAIL, mail(1, name="none"))))
        for place, (_, _, name, about) in enumerate(waits):
            store.write(commit((MAIL, mail(9 + place, name=name, about="x"))))
            assert [row.run for row in store.receivers("fulfil", "ada", name, "x", 9)] == [1]
            assert [row.run for row in store.receivers("fulfil", "ada", name, "z", 9)] == ([] if about else [1])
        assert [row.mail for row in store.mail(0, 99, awaited=True)] == [9 + place for place in range(amount)]

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    def test_signals_are_found_whatever_their_name_is_and_what_they_are_about(self, store: Store, text: str) -> None:
        waits = [[["r", "receive", text, text]], [["r", "receive", text, None]], [["r", "receive", "n", text + " "]]]
        runs = [run(number, status="waiting", awaits=_json(wait), turn=None) for number, wait in enumerate(waits, 1)]
        store.write(commit(*((RUNS, row) for row in runs), (MAIL, mail(1, name=text, about=text)), (MAIL, mail(2, about=text))))
        assert [row.run for row in store.receivers("fulfil", "ada", text, text, 9)] == [1, 2]
        assert [row.run for row in store.receivers("fulfil", "ada", text, text + " ", 9)] == [2]
        assert [row.run for row in store.receivers("fulfil", "ada", "n", text, 9)] == []
        assert [row.mail for row in store.mail_for(1, "fulfil", "ada", ("r", "receive", text, text), 0, 9)] == [1]
        assert [row.mail for row in store.mail(0, 9, awaited=True)] == [1]

    def test_mail_that_somebody_waits_for_is_told_from_other_mail(self, store: Store) -> None:
        for_x, for_any = [["r#1", "receive", "approval", "x"]], [["r#1", "receive", "approval", None]]
        store.write(
            commit(
                (RUNS, run(1, status="waiting", awaits=_json(for_x), turn=None)),
                (RUNS, run(2, status="in_doubt", awaits=_json([["ask#1", "ask", "other", "bob"], *for_any]), key="bob")),
                (RUNS, run(3, status="queued", awaits=_json(for_any), key="cid")),
                (MAIL, mail(1)),  # about nothing: run 1 does not take it
                (MAIL, mail(2, about="x")),
                (MAIL, mail(3, about="y")),
                (MAIL, mail(4, about="x", name="other")),
                (MAIL, mail(5, about="x", run=1)),
                (MAIL, mail(6, about="x", run=2)),  # of another key than its run
                (MAIL, mail(7, key="bob", about="y")),
                (MAIL, mail(8, key="bob", run=2)),
                (MAIL, mail(9, key="bob", run=2, kind="reply", name="ask#1")),
                (MAIL, mail(10, key="bob", run=2, kind="reply", name="approval")),
                (MAIL, mail(11, key="bob", run=2, name="ask#1")),
                (MAIL, mail(12, key="bob", run=77)),
                (MAIL, mail(13, key="cid")),
                (MAIL, mail(14, key="cid", run=3)),
            )
        )
        assert [row.mail for row in store.mail(0, 99, awaited=True)] == [2, 5, 7, 8, 9]
        of_one_that_is_done = mail(15, key="bob", run=4, kind="reply", name="ask#1")
        store.write(
            commit((RUNS, run(4, status="done", key="bob")), (MAIL, of_one_that_is_done), (MAIL, mail(16, key="bob", run=4)))
        )
        assert [row.mail for row in store.mail(9, 99, awaited=True)] == [15], "an answer that nobody will take, and no signal"
        store.write(commit(delete=((MAIL, (15,)), (MAIL, (16,)))))
        assert [row.mail for row in store.mail(5, 2, awaited=True)] == [7, 8]
        assert [row.mail for row in store.mail(0, 99)] == list(range(1, 15))
        assert store.mail(12, 1) == [mail(13, key="cid")]

    def test_a_run_finds_the_mail_that_it_could_be_given(self, store: Store) -> None:
        store.write(
            commit(
                (MAIL, mail(5)),
                (MAIL, mail(4, about="x")),
                (MAIL, mail(3, run=1, about="x")),
                (MAIL, mail(2, run=2)),
                (MAIL, mail(1, about="y")),
                (MAIL, mail(6, name="other")),
                (MAIL, mail(7, run=1, kind="reply", name="approval")),
                (MAIL, mail(8, run=1, kind="reply", name="ask#1")),
                (MAIL, mail(9, run=2, kind="reply", name="ask#1")),
                (MAIL, mail(10, key="bob")),
            )
        )

        def found(wait: Wait, after: int = 0, limit: int = 9, run: int = 1) -> list[int]:
            return [row.mail for row in store.mail_for(run, "fulfil", "ada", wait, after, limit)]

        for_any: Wait = ("r", "receive", "approval", None)
        assert found(for_any) == [1, 3, 4, 5]
        assert found(for_any, limit=2) == [1, 3]
        assert found(for_any, after=3) == [4, 5]
        assert found(for_any, run=2) == [1, 2, 4, 5]
        assert found(("r", "receive", "approval", "x")) == [3, 4]
        assert found(("r", "receive", "approval", "x"), limit=1) == [3]
        assert found(("r", "receive", "approval", "x"), after=3) == [4]
        assert found(("ask#1", "ask", "other", "bob")) == [8]
        assert found(("ask#1", "ask", "other", "bob"), after=8) == []
        assert found(("ask#2", "ask", "other", "bob")) == []

    def test_a_run_that_only_sleeps_is_told_from_others(self, store: Store) -> None:
        store.write(
            commit(
                (RUNS, run(1, status="waiting", awaits="[]", wake=5)),
                (RUNS, run(2, status="in_doubt", wake=5)),
                (RUNS, run(3, status="waiting")),
            )
        )
        assert not store.sleeping(["fulfil"])
        store.write(commit((RUNS, run(4, status="waiting", wake=5))))
        assert store.sleeping(["other", "fulfil"])
        assert not store.sleeping(["other"])

    def test_runs_that_wait_for_an_ask_are_found(self, store: Store) -> None:
        ask, receive = '["ask#1","ask","other","bob"]', '["receive#1","receive","ask","\\"ask\\""]'
        store.write(
            commit(
                (RUNS, run(1, status="waiting", awaits=f"[{receive},{ask}]")),
                (RUNS, run(2, status="waiting", awaits=f"[{receive}]")),
                (RUNS, run(3, status="waiting", awaits=f"[{ask}]", turn=None)),
                (RUNS, run(4, status="queued", awaits=f"[{ask}]")),
                (RUNS, run(5, status="waiting")),
                (RUNS, run(6, status="in_doubt", awaits=f"[{ask}]")),
            )
        )
        assert [row.run for row in store.askers()] == [1, 3, 6]

    def test_mail_comes_in_the_order_it_was_sent(self, store: Store) -> None:
        store.write(commit(*((MAIL, mail(number)) for number in (3, 1, 2)), (MAIL, mail(4, key="bob"))))
        assert [row.mail for row in store.mail(0, 9)] == [1, 2, 3, 4]
        keys = [("fulfil", "ada"), ("other", "ada"), ("fulfil", "bob")]
        assert [line.mailed for line in store.lines(keys, 1)] == [True, False, True]
        assert [store.lines([key], 1)[0].mailed for key in keys] == [True, False, True]

    def test_runs_are_listed_newest_first_and_filtered(self, store: Store) -> None:
        statuses = ["queued", "running", "waiting", "in_doubt", "failed", "diverged", "done", "cancelled"]
        rows = [run(number, status=statuses[number % 8], key=f"k{number % 3}", turn=None) for number in range(1, 49)]
        store.write(commit(*((RUNS, row) for row in rows), (RUNS, run(99, agent="other", key="k0", status="done"))))
        assert [row.run for row in store.runs()] == [99, *range(48, 0, -1)]
        assert [row.run for row in store.runs(limit=2)] == [99, 48]
        assert list(store.runs(limit=0)) == []
        for index, status in enumerate(statuses):
            found = [row.run for row in store.runs(status=status, agent="fulfil")]
            assert found == [number for number in range(48, 0, -1) if number % 8 == index]
        assert [row.run for row in store.runs(key="k0", limit=3)] == [99, 48, 45]
        assert [row.run for row in store.runs(agent="fulfil", key="k0", status="done")] == [30, 6]
        assert list(store.runs(agent="nobody")) == []

    def test_many_runs_are_listed_while_others_are_written(self, store: Store) -> None:
        made = Commit(1)
        for number in range(1, 12_001):
            made.put(RUNS, run(number))
        store.write(made)
        listed = iter(store.runs())
        first = next(listed)
        store.write(commit((RUNS, run(20_000))))
        assert [first.run, *(row.run for row in listed)] == list(range(12_000, 0, -1))

    def test_the_backlog_counts_the_bytes_of_queued_events(self, store: Store) -> None:
        store.write(
            commit(
                (EVENTS, event(1, payload='"Zürich"')),
                (EVENTS, event(2, payload="1")),
                (EVENTS, event(3, payload=None)),
                (RUNS, run(1, event=1)),
                (RUNS, run(2, event=2, status="running")),
                (RUNS, run(3, event=3)),
                (RUNS, run(4, event=99)),
            )
        )
        assert store.backlog_bytes() == 9

    def test_what_a_run_emitted_comes_in_order(self, store: Store) -> None:
        store.write(commit(*((EVENTS, event(number, cause=cause)) for number, cause in ((9, 1), (4, 1), (5, 2), (6, None)))))
        assert [row.event for row in store.emitted(1)] == [4, 9]
        assert store.emitted(3) == []

    def test_the_text_of_a_state_is_that_of_the_record_that_it_names(self, store: Store) -> None:
        store.write(commit((RECORDS, record(5, 1, result='{"spent":9}')), (STATES, state(record=5, payload=None))))
        read = state(record=5, payload='{"spent":9}')
        assert store.state("fulfil", "ada") == read
        assert [line.state for line in store.lines([("fulfil", "ada")], 1)] == [read]
        assert [line.state for line in store.lines([("fulfil", "ada"), ("fulfil", "bob")], 1)] == [read, None]

    def test_events_come_in_the_order_asked_for(self, store: Store) -> None:
        store.write(commit(*((EVENTS, event(number)) for number in (1, 2, 3))))
        assert store.events([3, 99, 1]) == [event(3), event(1)]
        assert store.events([]) == []

    def test_large_events_are_left_out_where_that_is_asked(self, store: Store) -> None:
        small, large, erased = event(1, payload='"é"'), event(2, payload='"éé"'), event(3, payload=None)
        store.write(commit((EVENTS, small), (EVENTS, large), (EVENTS, erased)))
        assert store.events([3, 2, 1], at_most=4) == [small]
        assert store.events([3, 2, 1], at_most=6) == [large, small]

    # sources, sinks, inboxes

    def test_seen_ids_belong_to_their_source(self, store: Store) -> None:
        store.write(commit((SEEN, SeenRow("a", "1", 0, 30)), (SEEN, SeenRow("b", "1", 0, 10)), (SEEN, SeenRow("b", "2", 0, 20))))
        assert store.seen("a", ["1", "2"]) == {"1"}
        assert store.seen("b", ["1", "2", "2"]) == {"1", "2"}
        assert store.seen("c", ["1"]) == store.seen("a", []) == set()

    def test_old_seen_ids_are_offered_oldest_first(self, store: Store) -> None:
        store.write(commit((SEEN, SeenRow("a", "1", 0, 5)), (SEEN, SeenRow("b", "1", 0, 20)), (SEEN, SeenRow("b", "2", 0, 10))))
        assert store.forget_seen("b", 21, 9) == ["2", "1"]
        assert store.forget_seen("b", 20, 9) == ["2"]
        assert store.forget_seen("b", 21, 1) == ["2"]
        store.write(commit((SEEN, SeenRow("b", "1", 0, 40)), delete=((SEEN, ("b", "2")),)))
        assert store.forget_seen("b", 99, 9) == ["1"]
        assert store.forget_seen("c", 99, 9) == []

    def test_sources_and_sinks_come_by_name(self, store: Store) -> None:
        sources = [SourceRow(name, None, 1, 2, 3, 1) for name in ("b", "a", "Z", "ä")]
        sinks = [SinkRow(name, 4, '{"offset":1}') for name in ("b", "a", "Z", "ä")]
        store.write(commit(*((SOURCES, row) for row in sources), *((SINKS, row) for row in sinks)))
        assert store.sources() == [sources[2], sources[1], sources[0], sources[3]]
        assert store.sinks() == [sinks[2], sinks[1], sinks[0], sinks[3]]

    def test_outputs_are_whole_lines_in_order(self, store: Store) -> None:
        store.write(
            commit(
                (EVENTS, event(1, payload='{"text":"ü"}')),
                (OUTPUTS, output(3, payload="3\n33\n", lines=2)),
                (OUTPUTS, output(1, event=1, payload=None, source=None, first=None, last=None)),
                (OUTPUTS, output(2)),
                (OUTPUTS, output(1, sink="other")),
            )
        )
        assert store.outputs("receipts", 0, 9) == [(1, '{"text":"ü"}\n'), (2, '{"n":2}\n'), (3, "3\n33\n")]
        assert store.outputs("receipts", 1, 1) == [(2, '{"n":2}\n')]
        assert store.outputs("receipts", 3, 9) == []
        assert (store.last_output("receipts"), store.last_output("other"), store.last_output("none")) == (3, 1, 0)

    def test_an_output_without_its_event_is_an_error(self, store: Store) -> None:
        store.write(commit((OUTPUTS, output(1, event=77, payload=None))))
        with pytest.raises(StoreError, match="receipts"):
            store.outputs("receipts", 0, 9)

    def test_doubts_come_oldest_first(self, store: Store) -> None:
        rows = [doubt(2, since=70), doubt(1, "b", since=80), doubt(1, "a", since=80), doubt(3, since=60)]
        store.write(commit(*((DOUBTS, row) for row in rows)))
        assert store.doubts() == [rows[3], rows[0], rows[2], rows[1]]
        of_run = rows[0].run
        assert store.doubts_of(of_run) == [row for row in store.doubts() if row.run == of_run] != []
        assert store.doubts_of(99) == []
        store.write(commit(delete=((DOUBTS, (1, "a")), (DOUBTS, (3, "charge#1")))))
        assert store.doubts() == [rows[0], rows[1]]

    def test_letters_are_read_page_by_page(self, store: Store) -> None:
        store.write(commit(*((LETTERS, letter(number)) for number in (5, 1, 3))))
        assert [row.letter for row in store.letters(0, 2)] == [1, 3]
        assert [row.letter for row in store.letters(3, 2)] == [5]

    def test_every_table_is_covered_by_the_sample(self) -> None:
        made = sample()
        assert set(made.puts) | set(made.appends) == set(TABLES)
