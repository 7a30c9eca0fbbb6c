"""What the store holds: tables of state, changed in the commit, beside an append-only history.

A commit is a *value*: for each table the rows to put and the keys to delete, and rows to append. It never reads what it
writes. The rows are named tuples so that they can be bound to SQL as they are. Times are integers, microseconds since the
Unix epoch, UTC. Payloads are JSON text in columns of their own beside a ``codec`` column that names their encoding
(``JSON`` now), so that they can be erased, moved or encrypted without rewriting history.

Numbers. A run, event, record, letter or mail number is ``epoch << 32 | n``: ``epoch`` counts the starts of the store's
engine, ``n`` the things of that kind since. A number that was given out and lost with an uncommitted batch is therefore never
given out again (an idempotency key derived from it must never be reused), and numbers order things as they came.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import msgspec

JSON = 0  # the codec of a payload: plain JSON, UTF-8


class Table(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One table: its name, its row type, and how many of the first columns are its primary key. Hashed by identity."""

    name: str
    row: type[Any]
    key: int
    append: bool = False  # history: rows are only ever added


class MetaRow(NamedTuple):
    """A fact about the store as a whole, as JSON text (see ``core.machine`` for the names used)."""

    name: str
    value: str


class EventRow(NamedTuple):
    """An event that reached an agent, or was emitted by a run. History."""

    event: int
    partition: int
    stream: str
    key: str
    id: str
    time: int  # event time, us
    arrival: int  # us
    cause: int | None  # the run that emitted or sent it
    source: str | None
    position: str | None  # JSON, as the connector gave it
    codec: int
    payload: str | None


class RunRow(NamedTuple):
    """A run: one handling of one event by one agent instance. State."""

    run: int
    partition: int
    agent: str
    key: str
    event: int
    turn: int | None  # its place in the line of (agent, key); None: not in line
    status: str  # core.runs.Status
    generation: int  # how often it was retried; its records name theirs
    created: int
    started: int | None  # when the current generation's handler began, engine time, us
    finished: int | None
    wake: int | None  # the earliest timer of a waiting run, us
    awaits: str | None  # JSON: [Wait, ...] of a waiting run
    asker: str | None  # JSON: [run, step, agent, key] of the ask that this run answers
    fingerprint: str  # of the agent's code when the run last started
    resumes: int  # starts after an unclean death without progress since
    error: str | None  # JSON: {type, message, data}


class RecordRow(NamedTuple):
    """What became true in a run, in order. History; a run's rows by ascending ``record`` are its journal."""

    record: int
    partition: int
    run: int
    generation: int
    at: int
    kind: str  # core.runs.Kind
    step: str | None  # structural identity within the run
    tool: str | None
    effect: str | None
    attempt: int
    key: str | None  # idempotency key
    note: str | None  # JSON: evidence, differences of arguments, who settled
    codec: int
    args: str | None  # JSON: canonical [args, kwargs]
    result: str | None  # JSON
    error: str | None  # JSON: {type, message, data}


class StateRow(NamedTuple):
    """The durable state of (agent, key). State.

    Its text is written once: it is the ``result`` of ``record``, by which its last run changed it, and ``payload`` is NULL in the
    table. Stores give the row with the text.
    """

    agent: str
    key: str
    partition: int
    version: int  # how many runs have changed it
    run: int  # the last of them
    record: int | None
    codec: int
    payload: str | None


class MailRow(NamedTuple):
    """A message to a run, or to whichever run of (agent, key) receives it first. State; deleted when it is received."""

    mail: int
    partition: int
    agent: str
    key: str
    run: int | None
    kind: str  # "signal", "reply"
    name: str  # of a signal; the asking step of a reply
    about: str | None
    id: str
    by: str | None
    at: int
    codec: int
    payload: str | None
    error: str | None  # of a reply that is a failure


Wait = tuple[str, str, str, str | None]
"""An item of ``RunRow.awaits``: the step; its kind (``receive`` or ``ask``); the name of the signal, or the asked agent; what the
signal must be about (None: whatever), or the asked key."""


class DoubtRow(NamedTuple):
    """A step in doubt: the in-doubt inbox. State; deleted when it is settled."""

    run: int
    step: str
    partition: int
    agent: str
    key: str
    tool: str
    effect: str
    idempotency_key: str
    attempts: int
    sent: int  # start of the first attempt, us
    since: int  # in doubt since, us
    settle_at: int | None  # when ``in_doubt_after`` settles it, us
    codec: int
    args: str | None
    error: str | None


class SeenRow(NamedTuple):
    """An event id seen by a source, or a signal id, kept for ``dedupe``. State."""

    source: str
    id: str
    partition: int
    at: int


class SourceRow(NamedTuple):
    """How far a source has been consumed. State."""

    source: str
    position: str | None  # JSON, as the connector gave it
    events: int
    duplicates: int
    rejected: int
    ended: int  # 1: a bounded source was consumed to its end


class OutputRow(NamedTuple):
    """One append to a sink: the line of one emitted event, or the lines of a chunk of a plain stream.

    Rows of a sink are numbered from 1 without gaps. ``event`` names the emitted event whose payload is the line as it is;
    otherwise ``payload`` holds the lines, each ended by a newline.
    """

    sink: str
    row: int
    partition: int
    event: int | None
    source: str | None  # of a plain stream: source and the positions that the chunk was made of
    first: str | None
    last: str | None
    lines: int
    codec: int
    payload: str | None


class SinkRow(NamedTuple):
    """How far a sink has been written and synced. State."""

    sink: str
    row: int  # the last output row that is in the sink
    position: str | None  # JSON, as the connector gave it (file: path, inode, offset)


class LetterRow(NamedTuple):
    """A dead letter: a line that is no event, or an event that could not go on, and why. State; deleted when a retry takes it."""

    letter: int
    stream: str  # of the source that refused the line, or the operator that refused the event
    source: str | None
    position: str | None  # JSON, as the connector gave it
    cause: int | None  # the run that emitted the event
    key: str | None  # of the event; None: it has not become one
    id: str | None
    time: int | None  # event time, us
    at: int
    error: str
    kept: str  # LINE, EVENT, CUT or EVIDENCE: what ``data`` is
    codec: int
    data: str | None  # at most core.intake.LETTER_BYTES
    size: int  # of the whole, bytes


# What is kept in a dead letter, and where a retry takes it:
LINE = "line"  # the whole line: to its source
EVENT = "event"  # the whole value, as JSON that the stream which the operator reads can decode: to that operator
CUT = "cut"  # the beginning of what was too long to keep: nowhere
EVIDENCE = "evidence"  # what people can look at of something that has no such text: nowhere


META = Table("meta", MetaRow, 1)
EVENTS = Table("events", EventRow, 1, append=True)
RUNS = Table("runs", RunRow, 1)
RECORDS = Table("records", RecordRow, 1, append=True)
STATES = Table("states", StateRow, 2)
MAIL = Table("mail", MailRow, 1)
DOUBTS = Table("doubts", DoubtRow, 2)
SEEN = Table("seen", SeenRow, 2)
SOURCES = Table("sources", SourceRow, 1)
OUTPUTS = Table("outputs", OutputRow, 2)
SINKS = Table("sinks", SinkRow, 1)
LETTERS = Table("letters", LetterRow, 1)

TABLES = (META, EVENTS, RUNS, RECORDS, STATES, MAIL, DOUBTS, SEEN, SOURCES, OUTPUTS, SINKS, LETTERS)

Key = tuple[Any, ...]


class Commit:
    """One atomic, durable write. Facts write into the open one; the shell takes it and a new one gathers.

    ``puts`` keeps the last row of each key (None: delete), so a run that starts and ends within one batch is one row.
    ``gated`` are commands that the outside can see the outcome of: the shell carries them out once this commit is durable.
    """

    __slots__ = ("number", "puts", "appends", "gated", "touched", "mail", "rows", "bytes")

    def __init__(self, number: int) -> None:
        self.number = number
        self.puts: defaultdict[Table, dict[Key, tuple[Any, ...] | None]] = defaultdict(dict)
        self.appends: defaultdict[Table, list[tuple[Any, ...]]] = defaultdict(list)
        self.gated: list[Any] = []
        self.touched: set[tuple[str, str]] = set()  # (agent, key) whose rows in the store are stale until this is durable
        self.mail: dict[tuple[str, str], dict[int, MailRow | None]] = {}  # what ``puts`` holds of it, by (agent, key)
        self.rows = 0
        self.bytes = 0  # of payloads, as far as those who write them count

    def put(self, table: Table, row: tuple[Any, ...]) -> None:
        self.puts[table][row[: table.key]] = row
        self.rows += 1

    def delete(self, table: Table, key: Key) -> None:
        self.puts[table][key] = None
        self.rows += 1

    def append(self, table: Table, row: tuple[Any, ...]) -> None:
        self.appends[table].append(row)
        self.rows += 1

    def __bool__(self) -> bool:
        return self.rows > 0 or bool(self.gated)
