"""What is asked of a SQLite store: the queries, on one connection, from the engine's thread.

Rules:

* a query reads the last commit before it began; several that must be of one moment are made in a snapshot;
* nothing scans a table that grows (a test asks SQLite for the plan of each). ``OPEN`` is said where it follows from the rest, for
  the partial index; a ``+`` before a column keeps the planner from the index that has less to say;
* a statement is compiled once (``SQLITE_DBCONFIG_ENABLE_QPSG``): where the choice of a partial index could depend on what is bound
  to it, SQLite would look at that, and compile it anew each time [M: of 130 us for the head of a line, 100 were that];
* what may be long is read in pages, so that a slow caller does not keep the WAL from being checkpointed.
"""

from __future__ import annotations

import array
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from millstream.core.facts import KeyLine, RunHistory
from millstream.core.tables import (
    DOUBTS,
    EVENTS,
    LETTERS,
    MAIL,
    RECORDS,
    RUNS,
    SINKS,
    SOURCES,
    STATES,
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
from millstream.errors import StoreError
from millstream.stores.sqlite_schema import OPEN, WAITS, waits_for, waits_for_more
from millstream.stores.sqlite_statements import names_sql, padded, values_sql

PAGE_ROWS = 5000  # rows read at a time where a caller asked for all
AGENTS_AT_MOST = 1000  # that handle one event, and that ``handling`` finds
WAITING = "('waiting', 'in_doubt')"  # the statuses of a run that waits

R = TypeVar("R")


@functools.cache
def _selected(table: Table, prefix: str = "") -> str:
    return f"SELECT {names_sql(table, prefix)}" + ("" if prefix else f" FROM {table.name}")


_IN_NUMBERS = "IN (SELECT value FROM carray(?1))"
_LINE = f'{_selected(RUNS)} WHERE agent = ? AND "key" = ? AND turn > ? AND turn IS NOT NULL ORDER BY turn, run LIMIT ?'
_STATES = "SELECT {}, coalesce(s.payload, r.result) FROM states s LEFT JOIN records r ON r.record = s.record".format(
    ", ".join(f's."{name}"' for name in STATES.row._fields[:-1])
)
_STATE = f'{_STATES} WHERE s.agent = ? AND s."key" = ?'
_EVENT_COLUMNS = len(EVENTS.row._fields)


@functools.cache
def _states_sql(size: int) -> str:
    return f'{_STATES} WHERE (s.agent, s."key") IN ({values_sql(2, size)})'


@functools.cache
def _lines_sql(size: int) -> str:
    """The heads of many lines: for each key the first runs by turn, in any order."""
    line = 'x.agent = k.column1 AND x."key" = k.column2 AND x.turn IS NOT NULL'
    head = f"SELECT x.run FROM runs x WHERE {line} ORDER BY x.turn, x.run LIMIT ?"
    return f"{_selected(RUNS, 'r.')} FROM ({values_sql(2, size)}) k CROSS JOIN runs r ON r.run IN ({head})"


@functools.cache
def _mailed_sql(size: int) -> str:
    there = 'SELECT 1 FROM mail WHERE agent = k.column1 AND "key" = k.column2'
    return f"SELECT k.column1, k.column2 FROM ({values_sql(2, size)}) k WHERE EXISTS ({there})"


def _receivers_sql() -> str:
    """For just this (rank 0) or for any (rank 1); a run that waits for several things can be found by several of them."""
    place = f'r.agent = ?1 AND r."key" = ?2 AND +r.status IN {WAITING}'
    found = [
        f"SELECT * FROM (SELECT {rank} AS rank, r.run FROM runs r WHERE {place} AND {fits} AND {receives} ORDER BY r.run LIMIT ?5)"
        for receives, name, about in (waits_for(number, "r.") for number in range(WAITS))
        for rank, fits in enumerate((f"{name} = ?3 AND {about} = ?4", f"{name} = ?3 AND {about} IS NULL"))
    ]
    fits = "w.value ->> 1 = 'receive' AND w.value ->> 2 = ?3 AND (w.value ->> 3 = ?4 OR w.value ->> 3 IS NULL)"
    found.append(
        "SELECT min(w.value ->> 3 IS NULL), r.run FROM runs r CROSS JOIN json_each(r.awaits) w "
        f"WHERE {place} AND {waits_for_more('r.')} AND {fits} GROUP BY r.run"
    )
    first = f"SELECT run, min(rank) AS rank FROM ({' UNION ALL '.join(found)}) GROUP BY run ORDER BY 2, 1 LIMIT ?5"
    return f"{_selected(RUNS, 'r.')} FROM ({first}) f CROSS JOIN runs r ON r.run = f.run ORDER BY f.rank, f.run"


def _awaited_sql() -> str:
    """Mail that somebody waits for, and answers to runs that are done.

    (A column's affinity would keep the index of an expression from being used: the pluses.)
    """
    place, waits = 'r.agent = m.agent AND r."key" = m."key"', f"+r.status IN {WAITING}"
    fits = "w.value ->> 1 = 'receive' AND w.value ->> 2 = m.name AND (w.value ->> 3 IS NULL OR w.value ->> 3 = m.about)"
    runs = [
        f"runs r WHERE {place} AND {name} = +m.name AND {about} {wanted} AND {receives}"
        for receives, name, about in (waits_for(number, "r.") for number in range(WAITS))
        for wanted in ("= +m.about", "IS NULL")
    ]
    runs.append(f"runs r, json_each(r.awaits) w WHERE {place} AND {waits_for_more('r.')} AND {fits}")
    anybody = " OR ".join(f"EXISTS (SELECT 1 FROM {run} AND {waits})" for run in runs)
    fits = f"CASE m.kind WHEN 'reply' THEN w.value ->> 1 = 'ask' AND w.value ->> 0 = m.name ELSE {fits} END"
    it = f"EXISTS (SELECT 1 FROM runs r, json_each(r.awaits) w WHERE r.run = m.run AND {place} AND {waits} AND {fits})"
    it += " OR (m.kind = 'reply' AND EXISTS (SELECT 1 FROM runs r WHERE r.run = m.run AND +r.status = 'done'))"
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


class SqliteReads:
    """The reads of ``engine.ports.Store``, and those of the command line."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._reader: apsw.Connection | None = None
        self._snapshot = _Snapshot(self._rows)

    def _rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        reader = self._reader
        if reader is None:
            raise StoreError(f"{self.path}: the store is closed")
        try:
            return reader.execute(sql, bindings).fetchall()
        except apsw.CorruptError as error:
            raise StoreError(f"{self.path}: the file is damaged: {described(error)}; restore a backup") from error
        except apsw.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {described(error)}; see whether the disk is sound") from error

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
            for _, size, values in padded(list(dict.fromkeys(keys)), 2):
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
                f"{_selected(EVENTS, 'e.')}, {names_sql(RUNS, 'r.')} FROM runs r LEFT JOIN events e ON e.event = r.event "
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
        """Mail behind number ``after``, in order; ``awaited``: only what a waiting or in-doubt run waits for, and answers to runs
        that are done, which nobody waits for any more."""
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

    def diverged(self, behind: tuple[str, str, int], limit: int) -> list[RunRow]:
        """Diverged runs by agent, key and number, behind this one (agent, key, run): as the index has them, so that a page costs no
        more than its rows."""
        return self._made(
            RunRow._make,
            f"{_selected(RUNS)} WHERE {OPEN} AND status = 'diverged' AND (agent, \"key\", run) > (?, ?, ?) "
            'ORDER BY agent, "key", run LIMIT ?',
            (*behind, limit),
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
        for _, size, values in padded([(id,) for id in ids], 1):
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

    def open_runs_of_others(self, agents: Sequence[str]) -> dict[str, int]:
        """How many runs that are neither done nor cancelled there are of agents beside these."""
        known = msgspec.json.encode(agents).decode()
        sql = f"SELECT agent, count(*) FROM runs WHERE {OPEN} AND agent NOT IN (SELECT value FROM json_each(?)) GROUP BY agent"
        return dict(self._rows(sql, (known,)))

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


def _turn(run: RunRow) -> tuple[int, int]:
    assert run.turn is not None
    return run.turn, run.run


def described(error: BaseException) -> str:
    """An error with SQLite's name for it."""
    code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0))
    what = f"{type(error).__name__} ({code})" if code else type(error).__name__
    return f"{what}: {error}" if str(error) else what
