"""The store as dictionaries: for tests, for the simulator, and as the plainest statement of what every store does.

A commit is checked whole before any of it is applied, so it is atomic without a log. Rows are immutable, and the tables of a
snapshot are copies, so a snapshot costs one shallow copy and nothing that happens later shows in it: it is what a crash at
that moment leaves. Beside the tables stand the few indexes that lookups by (agent, key), run and cause need; everything else
is a scan. Nothing here reads a clock or draws an identity: the same commits make equal stores.

The engine reads in one thread and writes in another. A lock makes each read and each commit of one moment, as the snapshots of a
database do.
"""

from __future__ import annotations

import bisect
import functools
import heapq
import itertools
import operator
import threading
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from millstream.core.facts import KeyLine, RunHistory
from millstream.core.runs import size
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
    TABLES,
    Commit,
    DoubtRow,
    EventRow,
    Key,
    LetterRow,
    MailRow,
    MetaRow,
    RunRow,
    SinkRow,
    SourceRow,
    StateRow,
    Table,
    Wait,
)
from millstream.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")

WAITING = frozenset(("waiting", "in_doubt"))


def _receives(run: RunRow) -> set[tuple[str, str, str, str | None]]:
    """The signals that a run waits for, as (agent, key, name, about)."""
    return {(run.agent, run.key, name, about) for _, kind, name, about in _waits(run) if kind == "receive"}


def _waits(run: RunRow) -> list[Any]:
    waits: list[Any] = [] if run.awaits is None or run.status not in WAITING else msgspec.json.decode(run.awaits)
    return waits


# Which rows are found by what besides their key: (name, table, row -> by what; a row may be found by several things, or by none).
_INDEXES: tuple[tuple[str, Table, Callable[[Any], Collection[Any]]], ...] = (
    ("line", RUNS, lambda run: () if run.turn is None else ((run.agent, run.key),)),
    ("waiting", RUNS, lambda run: ((run.agent, run.key),) if run.status in WAITING else ()),
    ("receivers", RUNS, _receives),
    ("journal", RECORDS, lambda record: (record.run,)),
    ("mail", MAIL, lambda mail: ((mail.agent, mail.key), (mail.agent, mail.key, mail.name, mail.run))),
    ("about", MAIL, lambda mail: ((mail.agent, mail.key, mail.name, mail.run, mail.about),)),
    ("emitted", EVENTS, lambda event: () if event.cause is None else (event.cause,)),
    ("outputs", OUTPUTS, lambda output: (output.sink,)),
)
_INDEXES_OF = {table: [(name, what) for name, of, what in _INDEXES if of is table] for table in TABLES}


def _of_one_moment(method: Callable[Concatenate[MemoryStore, P], T]) -> Callable[Concatenate[MemoryStore, P], T]:
    @functools.wraps(method)
    def locked(self: MemoryStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class MemoryStore:
    """``engine.ports.Store`` in memory."""

    def __init__(self, *, app: str = "app", partitions: int = 64, store_id: str = "0" * 32, created: int = 0) -> None:
        """An empty store.

        Args:
            app: name of the app.
            partitions: into how many the key space is cut.
            store_id: what idempotency keys are made of; give another one to tell two stores apart.
            created: us.
        """
        self.commits = 0  # how many were written
        self._lock = threading.RLock()
        self._tables: dict[Table, dict[Key, Any]] = {table: {} for table in TABLES}
        self._indexes: dict[str, dict[Any, dict[Key, Any]]] = {name: {} for name, _, _ in _INDEXES}
        facts = {"schema": 0, "store_id": store_id, "app": app, "partitions": partitions, "created": created}
        for name, value in facts.items():
            self._put(META, (name,), MetaRow(name, msgspec.json.encode(value).decode()))

    @_of_one_moment
    def snapshot(self) -> MemoryStore:
        """A store of its own with what this one holds now: what is there after a crash at this moment."""
        copy = MemoryStore()
        copy.commits = self.commits
        copy._tables = {table: rows.copy() for table, rows in self._tables.items()}
        copy._indexes = {name: {what: rows.copy() for what, rows in index.items()} for name, index in self._indexes.items()}
        return copy

    def tables(self) -> Mapping[str, Mapping[Key, Any]]:
        """Every row by table name and primary key, to look at."""
        return {table.name: rows for table, rows in self._tables.items()}

    # writing

    @_of_one_moment
    def write(self, commit: Commit) -> None:
        """Apply the commit, all of it or nothing.

        Raises:
            StoreError: it cannot be stored as it is, now or later; nothing of it is applied.
        """
        if not commit.puts and not commit.appends:
            return
        for table, appended in commit.appends.items():
            here = self._tables[table]
            keys = set()
            for row in appended:
                _check(commit, table, row)
                key = tuple(row[: table.key])
                if key in here or key in keys:
                    raise StoreError(
                        f"commit {commit.number}, {table.name}: {key} is there already; nothing of it was written: a bug"
                    )
                keys.add(key)
        for table, puts in commit.puts.items():
            for put in puts.values():
                if put is not None:
                    _check(commit, table, put)
        for table, appended in commit.appends.items():
            for row in appended:
                self._put(table, tuple(row[: table.key]), row)
        for table, puts in commit.puts.items():
            for key, put in puts.items():
                self._put(table, key, put)
        self.commits += 1

    def _put(self, table: Table, key: Key, row: Any | None) -> None:
        rows = self._tables[table]
        before = rows.pop(key, None) if row is None else rows.get(key)
        if row is not None:
            row = row if isinstance(row, table.row) else table.row(*row)
            rows[key] = row
        for name, what in _INDEXES_OF[table]:
            index = self._indexes[name]
            new = () if row is None else what(row)
            for old in () if before is None else what(before):
                if old not in new:
                    del index[old][key]
                    if not index[old]:
                        del index[old]
            for found in new:
                index.setdefault(found, {})[key] = row

    # reading

    def _found(self, index: str, what: Any) -> Iterable[Any]:
        return self._indexes[index].get(what, {}).values()

    @_of_one_moment
    def meta(self) -> dict[str, str]:
        """Facts about the store by name, as JSON text; among them store_id, app, partitions, created (us) and schema."""
        return {row.name: row.value for row in self._tables[META].values()}

    @_of_one_moment
    def lines(self, keys: Sequence[tuple[str, str]], limit: int) -> list[KeyLine]:
        """For each (agent, key), in the order given: its state, the first ``limit`` runs of its line, and whether it has mail."""
        found = []
        for agent, key in keys:
            line = self.line_after(agent, key, -1, limit + 1)
            mailed = bool(self._found("mail", (agent, key)))
            found.append(KeyLine(agent, key, self.state(agent, key), line[:limit], len(line) > limit, mailed))
        return found

    @_of_one_moment
    def line_after(self, agent: str, key: str, turn: int, limit: int) -> list[RunRow]:
        """The next runs of a line, behind ``turn``."""
        return sorted((run for run in self._found("line", (agent, key)) if run.turn > turn), key=_turn)[:limit]

    @_of_one_moment
    def scan_lines(self, after: int, limit: int) -> list[RunRow]:
        """Runs in line of all keys by turn, behind turn ``after``."""
        lines = itertools.chain.from_iterable(line.values() for line in self._indexes["line"].values())
        return sorted((run for run in lines if run.turn > after), key=_turn)[:limit]

    @_of_one_moment
    def histories(self, runs: Sequence[int]) -> list[RunHistory]:
        """Of those of these runs that exist, in the order given.

        Raises:
            StoreError: the event of one of them is missing.
        """
        found = []
        for number in runs:
            run = self.run(number)
            if run is None:
                continue
            event = self._tables[EVENTS].get((run.event,))
            if event is None:
                raise StoreError(f"event {run.event} of run {number} is missing")
            records = sorted(self._found("journal", number), key=lambda record: record.record)
            found.append(RunHistory(run, event, records))
        return found

    @_of_one_moment
    def run(self, run: int) -> RunRow | None:
        """One run, or None."""
        return self._tables[RUNS].get((run,))

    @_of_one_moment
    def waiting(self, agent: str, key: str, limit: int) -> list[RunRow]:
        """Runs of (agent, key) whose status is waiting or in_doubt, oldest first, in line or not."""
        return _oldest(self._found("waiting", (agent, key)), limit)

    @_of_one_moment
    def receivers(self, agent: str, key: str, name: str, about: str | None, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs of (agent, key) that wait for such a signal: first those that wait for just this ``about``."""
        found: dict[int, RunRow] = {}
        for wanted in (about, None):
            found.update((run.run, run) for run in _oldest(self._found("receivers", (agent, key, name, wanted)), limit))
        return list(found.values())[:limit]

    @_of_one_moment
    def mail(self, after: int, limit: int, *, awaited: bool = False) -> list[MailRow]:
        """Mail behind number ``after``, in order; ``awaited``: only what a waiting or in-doubt run waits for, and answers to runs
        that are done, which nobody waits for any more."""
        letters = (mail for mail in self._tables[MAIL].values() if mail.mail > after)
        return _oldest((mail for mail in letters if not awaited or self._is_awaited(mail)), limit)

    def _is_awaited(self, mail: MailRow) -> bool:
        if mail.run is None:
            like = (mail.agent, mail.key, mail.name)
            return any(self._found("receivers", (*like, about)) for about in (mail.about, None))
        run = self.run(mail.run)
        if run is None or (run.agent, run.key) != (mail.agent, mail.key):
            return False
        if mail.kind == "reply":
            return run.status == "done" or any(kind == "ask" and step == mail.name for step, kind, _, _ in _waits(run))
        return any(kind == "receive" and name == mail.name and about in (None, mail.about) for _, kind, name, about in _waits(run))

    @_of_one_moment
    def mail_for(self, run: int, agent: str, key: str, wait: Wait, after: int, limit: int) -> list[MailRow]:
        """What a run of (agent, key) that waits for this could be given: mail behind number ``after``, in order."""
        step, kind, name, about = wait
        if kind == "ask":
            found = [mail for mail in self._found("mail", (agent, key, step, run)) if mail.kind == "reply"]
        else:
            index, what = ("mail", ()) if about is None else ("about", (about,))
            both = (self._found(index, (agent, key, name, to, *what)) for to in (None, run))
            found = [mail for mail in itertools.chain.from_iterable(both) if mail.kind == "signal"]
        return _oldest((mail for mail in found if mail.mail > after), limit)

    def _all_waiting(self) -> Iterator[RunRow]:
        for runs in self._indexes["waiting"].values():
            yield from runs.values()

    @_of_one_moment
    def wakes(self, until: int, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs whose ``wake`` is not later than ``until`` (us), earliest first."""
        due = [(run.wake, run.run, run) for run in self._all_waiting() if run.wake is not None and run.wake <= until]
        return [run for _, _, run in sorted(due)[:limit]]

    @_of_one_moment
    def diverged(self, behind: tuple[str, str, int], limit: int) -> list[RunRow]:
        """Diverged runs by agent, key and number, behind this one (agent, key, run)."""
        found = (run for run in self._tables[RUNS].values() if run.status == "diverged")
        places = sorted((run.agent, run.key, run.run, run) for run in found)
        return [run for *place, run in places if tuple(place) > behind][:limit]

    @_of_one_moment
    def sleeping(self, agents: Sequence[str]) -> bool:
        """Is there a waiting run of these agents that waits for its ``wake`` alone?"""
        return any(
            run.status == "waiting" and run.wake is not None and run.awaits is None and run.agent in agents
            for run in self._all_waiting()
        )

    @_of_one_moment
    def askers(self) -> list[RunRow]:
        """Waiting and in-doubt runs that wait for an ``ask``: their ``awaits`` has an item of that kind."""
        found = [run for run in self._all_waiting() if run.awaits is not None and _asks(run.awaits)]
        return sorted(found, key=lambda run: run.run)

    @_of_one_moment
    def seen(self, source: str, ids: Sequence[str]) -> set[str]:
        """Those of the ids that were seen."""
        rows = self._tables[SEEN]
        return {id for id in ids if (source, id) in rows}

    @_of_one_moment
    def forget_seen(self, source: str, before: int, limit: int) -> list[str]:
        """Ids of a source that were seen before that time (us), oldest first."""
        old = sorted((row.at, row.id) for row in self._tables[SEEN].values() if row.source == source and row.at < before)
        return [id for _, id in old[:limit]]

    @_of_one_moment
    def backlog_bytes(self) -> int:
        """Bytes of the payloads of events whose runs are queued."""
        events = self._tables[EVENTS]
        queued = (events.get((run.event,)) for run in self._tables[RUNS].values() if run.status == "queued")
        return sum(len(event.payload.encode()) for event in queued if event is not None and event.payload is not None)

    @_of_one_moment
    def sources(self) -> list[SourceRow]:
        """How far each source has been consumed, by name."""
        return sorted(self._tables[SOURCES].values(), key=lambda row: _text(row.source))

    @_of_one_moment
    def sinks(self) -> list[SinkRow]:
        """How far each sink has been written, by name."""
        return sorted(self._tables[SINKS].values(), key=lambda row: _text(row.sink))

    @_of_one_moment
    def outputs(self, sink: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Rows of a sink behind row ``after`` as (row, text): each text is whole lines, each ended by a newline."""
        rows = sorted(self._found("outputs", sink), key=lambda output: output.row)
        start = bisect.bisect_right(rows, after, key=lambda output: output.row)
        found = []
        for output in rows[start : start + limit]:
            event = self._tables[EVENTS].get((output.event,))
            text = (
                output.payload if output.event is None else None if event is None or event.payload is None else event.payload + "\n"
            )
            if text is None:
                raise StoreError(f"output {output.row} of sink {sink} has no text")
            found.append((output.row, text))
        return found

    @_of_one_moment
    def last_output(self, sink: str) -> int:
        """The number of the last output row of a sink; 0 when there is none."""
        return max((output.row for output in self._found("outputs", sink)), default=0)

    @_of_one_moment
    def doubts(self) -> list[DoubtRow]:
        """The in-doubt inbox, oldest first."""
        return sorted(self._tables[DOUBTS].values(), key=lambda doubt: (doubt.since, doubt.run, _text(doubt.step)))

    @_of_one_moment
    def doubts_of(self, run: int) -> list[DoubtRow]:
        """The steps of a run that are in doubt, oldest first."""
        return [doubt for doubt in self.doubts() if doubt.run == run]

    @_of_one_moment
    def letters(self, after: int, limit: int) -> list[LetterRow]:
        """Dead letters behind number ``after``, in order."""
        behind = (letter for letter in self._tables[LETTERS].values() if letter.letter > after)
        return sorted(behind, key=lambda letter: letter.letter)[:limit]

    @_of_one_moment
    def runs(
        self, *, status: str | None = None, agent: str | None = None, key: str | None = None, limit: int | None = None
    ) -> Iterator[RunRow]:
        """Runs, newest first."""
        newest = sorted(self._tables[RUNS].values(), key=lambda run: run.run, reverse=True)
        chosen = (
            run
            for run in newest
            if (status is None or run.status == status)
            and (agent is None or run.agent == agent)
            and (key is None or run.key == key)
        )
        return itertools.islice(chosen, limit)

    @_of_one_moment
    def state(self, agent: str, key: str) -> StateRow | None:
        """The durable state of (agent, key), or None."""
        row: StateRow | None = self._tables[STATES].get((agent, key))
        if row is None or row.payload is not None or row.record is None:
            return row
        return row._replace(payload=self._tables[RECORDS][(row.record,)].result)

    @_of_one_moment
    def events(self, events: Sequence[int], at_most: int | None = None) -> list[EventRow]:
        """Those of these events that exist and whose payload has at most so many bytes, in the order given."""
        rows = self._tables[EVENTS]
        found = [rows[(number,)] for number in events if (number,) in rows]
        return (
            found if at_most is None else [event for event in found if event.payload is not None and size(event.payload) <= at_most]
        )

    @_of_one_moment
    def emitted(self, run: int) -> list[EventRow]:
        """What a run emitted and sent, in order."""
        return sorted(self._found("emitted", run), key=lambda event: event.event)

    def close(self) -> None:
        """Nothing to do: a closed MemoryStore can still be looked at."""


def _oldest(rows: Iterable[T], limit: int) -> list[T]:
    """By number, their first column."""
    number: Callable[[Any], int] = operator.itemgetter(0)
    return heapq.nsmallest(limit, rows, key=number)


def _turn(run: RunRow) -> tuple[int, int]:
    assert run.turn is not None
    return run.turn, run.run


def _text(value: str) -> bytes:
    """The order of SQL: by UTF-8 bytes."""
    return value.encode()


def _asks(awaits: str) -> bool:
    return '"ask"' in awaits and any(item[1] == "ask" for item in msgspec.json.decode(awaits))


@functools.cache
def _nullable(table: Table) -> list[bool]:
    hints = typing.get_type_hints(table.row)
    return [types.NoneType in typing.get_args(hints[name]) for name in table.row._fields]


def _check(commit: Commit, table: Table, row: tuple[Any, ...]) -> None:
    """Refuse what a database would refuse, so that a test in memory finds it too."""
    fault = None
    if len(row) != len(table.row._fields):
        fault = f"a row has {len(row)} columns instead of {len(table.row._fields)}"
    for name, value, nullable in zip(table.row._fields, row, _nullable(table), strict=False):
        if value is None:
            fault = fault if nullable else f"{name} is None"
        elif isinstance(value, str):
            fault = fault if value.isascii() or _encodable(value) else f"{name} holds a lone surrogate"
        elif not -(1 << 63) <= value < 1 << 63:
            fault = f"{name} is beyond 64 bits"
    if fault is not None:
        raise StoreError(f"commit {commit.number}, {table.name}: {fault}; nothing of it was written: a bug")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
