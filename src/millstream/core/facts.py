"""What happened, past tense: all that the core is ever told. Every fact carries ``at``, engine time in microseconds."""

from __future__ import annotations

from typing import Any

import msgspec

from millstream.core.commands import Offer
from millstream.core.effects import Ended, Policy
from millstream.core.tables import LINE, EventRow, LetterRow, MailRow, RecordRow, RunRow, SinkRow, SourceRow, StateRow, Wait


class KeyLine(msgspec.Struct, frozen=True, gc=False):
    """What is durable of one (agent, key): its state and the head of its line (runs with a turn, by turn)."""

    agent: str
    key: str
    state: StateRow | None
    line: list[RunRow]
    more: bool  # the line goes on beyond ``line``
    mailed: bool  # there is mail for it, or for one of its runs


class RunHistory(msgspec.Struct, frozen=True, gc=False):
    """A run with its event and its whole journal."""

    run: RunRow
    event: EventRow
    records: list[RecordRow]


class EventBatch:
    """Events of one stream, in columns: one list a field, all of one length."""

    __slots__ = ("values", "payloads", "keys", "ids", "times", "positions")

    def __init__(
        self,
        values: list[Any],
        payloads: list[str | None],
        keys: list[str],
        ids: list[str],
        times: list[int],
        positions: list[Any],
    ) -> None:
        self.values = values
        self.payloads = payloads  # the JSON text, where it is already known
        self.keys = keys
        self.ids = ids
        self.times = times  # event time, us
        self.positions = positions  # JSON-able, as the connector gave them

    def __len__(self) -> int:
        return len(self.values)


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A line that is no event, or an event that could not go on: where it stood, why, and its text (see ``tables.LetterRow``)."""

    position: Any
    reason: str
    data: str
    size: int
    kept: str = LINE
    key: str | None = None
    id: str | None = None
    time: int | None = None


class Opened(msgspec.Struct, frozen=True, gc=False):
    """The store was opened: what the core must know before anything else."""

    at: int
    store_id: str
    epoch: int
    unclean: bool  # the last engine died
    backlog_bytes: int
    sources: list[SourceRow]
    sinks: list[SinkRow]
    last_outputs: dict[str, int]  # sink -> number of its last output row
    askers: list[RunRow]
    suspects: list[RunRow]  # running runs that were active in two unclean deaths or more
    visiting: bool = False  # no handler is going to be started


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """A source gave a batch of events, and what it could not read."""

    at: int
    source: str
    batch: EventBatch
    rejected: list[Rejected]
    position: str  # JSON; the source goes on from here
    known: set[str] | frozenset[str] = frozenset()  # those of the ids that the store has seen
    ended: bool = False


class LinesLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadLines``."""

    at: int
    lines: list[KeyLine]


class LineContinued(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadLine``: the next runs of one line."""

    at: int
    agent: str
    key: str
    line: list[RunRow]
    more: bool
    events: dict[int, EventRow]  # small ones of those of its runs that are new: they can begin as they are


class LinesScanned(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``ScanLines``: runs in line, by turn."""

    at: int
    rows: list[RunRow]
    ended: bool


class RunsLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadRuns``."""

    at: int
    wanted: list[int]
    histories: list[RunHistory]


class MailLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadMail``."""

    at: int
    run: int
    waits: list[tuple[Wait, int]]
    mail: list[list[MailRow]]  # for each of them
    limit: int


class WaitingLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadWaiting``."""

    at: int
    offers: list[Offer]
    rows: list[list[RunRow]]  # for each of them


class MailScanned(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``ScanMail``."""

    at: int
    rows: list[MailRow]
    ended: bool


class WakesLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadWakes``: runs whose wake is not later than ``until``."""

    at: int
    until: int
    rows: list[RunRow]
    more: bool


class DivergedLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadDiverged``."""

    at: int
    rows: list[RunRow]
    more: bool


class StepCall(msgspec.Struct, frozen=True, gc=False):
    """A handler asked for a step. ``kind`` is ``tool``, ``receive`` or ``ask``."""

    step: str  # structural identity within the run
    kind: str
    name: str  # of the tool, the signal, or the asked agent
    args: str  # tool: canonical [args, kwargs]; ask: the value, JSON
    policy: Policy
    key: str | None = None  # tool: business key; ask: the asked key
    about: str | None = None  # receive
    body: Any = None  # what the performer needs; never looked at here


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """A value that a handler emitted to a stream, or sent to an agent (then ``agent`` is set)."""

    stream: str
    value: Any
    payload: str
    key: str
    agent: str | None = None


class Returned(msgspec.Struct, frozen=True, gc=False):
    """The handler returned and its tasks have ended."""

    output: Emitted | None
    answer: str  # what an asker gets: the output as JSON ("null" for None)
    emitted: list[Emitted]
    state: str | None  # None: untouched


class Raised(msgspec.Struct, frozen=True, gc=False):
    """The handler raised and its tasks have ended."""

    error: dict[str, Any]  # type, message, data
    cancelled: bool = False  # it was the CancelledError of ``cancel RUN``
    diverged: bool = False  # what is recorded cannot be handed to the handler of today


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A signal whose value is not of the type that its step waits for; the handler waits on, for another."""

    step: str
    signal: str
    id: str
    by: str | None
    reason: str


class Advanced(msgspec.Struct, frozen=True, gc=False):
    """A run was driven until none of its tasks was ready: what it asked for on the way."""

    at: int
    run: int
    calls: list[StepCall]
    cancels: list[str]  # steps whose waiting was cancelled
    timer: tuple[int, str] | None  # the earliest: when it is due, us, and its identity
    end: Returned | Raised | None
    missed: bool = False  # the delivered timer does not exist (any more): only while replaying edited code
    state: str | None = None  # of agents with waiting="release": the state so far, None: untouched
    refused: tuple[Refused, ...] = ()


class AttemptEnded(msgspec.Struct, frozen=True, gc=False):
    """An attempt or a probe ended (or is overdue: then its real end follows)."""

    at: int
    run: int
    step: str
    attempt: int
    ended: Ended
    result: str | None = None
    error: dict[str, Any] | None = None
    retryable: bool = False
    trace: str | None = None  # of what it raised, for people


class Due(msgspec.Struct, frozen=True, gc=False):
    """Time has passed."""

    at: int


class Durable(msgspec.Struct, frozen=True, gc=False):
    """Every commit up to this number is durable."""

    at: int
    number: int


class Signalled(msgspec.Struct, frozen=True, gc=False):
    """Somebody sent a signal, to a run or to (agent, key)."""

    at: int
    run: int | None
    agent: str
    key: str
    name: str
    value: str  # JSON
    about: str | None
    id: str | None
    by: str | None
    known: bool = False  # the store has seen its id
    token: int | None = None  # who waits for the answer


class Settled(msgspec.Struct, frozen=True, gc=False):
    """Somebody settled a step in doubt: ``how`` is ``result``, ``retry`` or ``fail``."""

    at: int
    run: int
    step: str
    how: str
    value: str | None  # the result as JSON, or the text of the failure
    by: str | None
    token: int | None = None


class CancelRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody cancelled a run."""

    at: int
    run: int
    by: str | None = None
    token: int | None = None


class RetryRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody (or a change of its code) asked for a failed, diverged or cancelled run to be tried again."""

    at: int
    run: int
    by: str | None = None
    token: int | None = None


class ReadAgain(msgspec.Struct, frozen=True, gc=False):
    """A dead letter, and what reading it again gave: its one event, or why there is still none."""

    letter: LetterRow
    batch: EventBatch
    rejected: Rejected | None = None


class LettersRetried(msgspec.Struct, frozen=True, gc=False):
    """Dead letters were read again, to be tried where they were refused."""

    at: int
    letters: list[ReadAgain]
    known: dict[str, set[str]]  # source -> those of the ids that the store has seen
    token: int | None = None


class SinkWritten(msgspec.Struct, frozen=True, gc=False):
    """A sink holds, synced, every output row up to ``row``."""

    at: int
    sink: str
    row: int
    position: str | None


class Stopping(msgspec.Struct, frozen=True, gc=False):
    """The engine stops: no new effect is to start."""

    at: int


class Forgotten(msgspec.Struct, frozen=True, gc=False):
    """Ids whose ``dedupe`` time is over, as (source, id)."""

    at: int
    keys: list[tuple[str, str]]


Fact = (
    Opened
    | Arrived
    | LinesLoaded
    | LineContinued
    | LinesScanned
    | RunsLoaded
    | MailLoaded
    | WaitingLoaded
    | MailScanned
    | WakesLoaded
    | DivergedLoaded
    | Advanced
    | AttemptEnded
    | Due
    | Durable
    | Signalled
    | Settled
    | CancelRequested
    | RetryRequested
    | LettersRetried
    | SinkWritten
    | Stopping
    | Forgotten
)
