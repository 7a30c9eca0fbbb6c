"""A run and its steps as the core holds them while the run is resident (has a live handler), and how they look in the store.

Status of a run, and where its turn is:

    queued      in line, its handler has not begun (or a released run that waits for a new turn)
    running     at the head of its line, its handler runs (or must run again from the record, after a crash)
    waiting     its handler waits for signals, answers or timers; in line with waiting="hold", out of it with "release"
    in_doubt    its handler waits for a step whose outcome nobody knows; in line, or out of it with on_doubt="park"
    failed      ended with an error; out of line, or in it with on_error="block"
    diverged    like failed; tried again when the agent's code changes
    done        its state, output and progress are durable
    cancelled   ended by ``cancel``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from millstream.core.effects import Policy
from millstream.core.facts import StepCall
from millstream.core.graph import AgentSpec
from millstream.core.identity import run_id
from millstream.core.tables import EventRow, MailRow, RecordRow, RunRow, Wait

if TYPE_CHECKING:
    from millstream.core.lines import Instance

QUEUED, RUNNING, WAITING, IN_DOUBT = "queued", "running", "waiting", "in_doubt"
FAILED, DIVERGED, DONE, CANCELLED = "failed", "diverged", "done", "cancelled"
STATUSES = (QUEUED, RUNNING, WAITING, IN_DOUBT, FAILED, DIVERGED, DONE, CANCELLED)
ENDED = frozenset((FAILED, DIVERGED, DONE, CANCELLED))

# Kinds of records. Those a run observes, in this order, are its replay:
RESULTED = "resulted"  # a step's outcome was handed over
FIRED = "fired"  # a timer
RECEIVED = "received"  # a signal
CANCEL = "cancelled"  # the run was cancelled
RESUMED = "resumed"  # a released run got its new turn; ``result`` is the state it was given
OBSERVED = frozenset((RESULTED, FIRED, RECEIVED, CANCEL, RESUMED))
# and those that only tell what happened:
INTENDED = "intended"  # an attempt at a step of an effect class follows (core.effects, intends); or an ask was made
ATTEMPTED = "attempted"  # an attempt ended and another (or a probe) follows
DOUBTED = "doubted"
SETTLED = "settled"  # somebody said retry
RETRIED = "retried"  # the run is tried again, as a new generation; ``note`` says for whom
RELEASED = "released"  # the key went on without the run; ``result`` is the state that its turn began with
CHANGED = "changed"  # the state that the run left, as ``result``; ``note`` says its version and whose state it replaced
NOTED = "noted"  # the arguments of a recorded READ step differ from those of the code of today

MISFIT = "the recorded result of {step} does not fit its declared type"  # how the error of such a run begins

Kind = Literal["resulted", "fired", "received", "cancelled", "resumed"]

json_encode = msgspec.json.Encoder(order="sorted").encode
json_decode = msgspec.json.Decoder().decode


def dump(value: Any) -> str:
    """Canonical JSON text of builtins."""
    return json_encode(value).decode()


def size(payload: str | None) -> int:
    """Bytes of a payload."""
    return 0 if payload is None else len(payload) if payload.isascii() else len(payload.encode())


class Step(msgspec.Struct, eq=False):
    """One step of a run in memory: what the record says of it, and what the handler asks.

    (Mutable Structs, here and in `Run`: made in C, in a quarter of the time of an ``__init__``.)
    """

    CALLED, QUEUED, INTENT, PERFORMING, RESTING, DOUBT, DONE, ABANDONED = range(8)

    id: str
    call: StepCall | None = None  # None: recorded, not (yet) asked for by this start of the handler
    recorded: RecordRow | None = None  # the row that holds its arguments
    outcome: RecordRow | None = None  # an earlier generation's result: handed over when it is asked for
    phase: int = CALLED
    attempts: int = 0
    tries: int = 0  # attempts of this generation: what a crash or a stop has ended uses none of ``Retry.attempts`` up
    probes: int = 0  # of the last attempt: probes that were asked, but for one that a crash ended
    sent: int = 0  # start of the first attempt, us
    began: int = 0  # of the last one in this life, us
    ambiguous: bool = False  # an attempt ended so, and nothing has told since
    cancelled: bool = False  # the handler does not want it any more
    busy: bool = False  # an attempt's or a probe's code runs in this process
    probing: bool = False  # and it is a probe's
    key: str | None = None  # its idempotency key, once it was asked for
    gate: int = 0  # the commit that must be durable before it may be sent
    due: tuple[int, str] | None = None  # when a rest ends, and what follows: perform, probe or settle
    renewed: bool = False  # another request than the one that failed in an earlier generation
    granted: bool = False  # one more attempt, whatever the class: somebody said retry, or the last one was surely not sent
    unwritten: bool = False  # its next attempt needs an intent
    given: bool = False  # its outcome is a person's settlement
    evidence: dict[str, Any] | None = None  # how its last attempt ended
    trace: str | None = None  # and the traceback of what it raised

    def is_left_alone(self) -> bool:
        """It rests, or is in doubt, until ``due`` (of what the record says and nobody has asked for yet, ``due`` tells nothing)."""
        return self.phase in (Step.RESTING, Step.DOUBT)

    @property
    def policy(self) -> Policy:
        assert self.call is not None
        return self.call.policy

    def close(self, run: Run) -> None:
        """Nothing works on it any more, or will after a rest."""
        if self.phase == Step.RESTING and self.due is not None:
            run.resting -= 1
        else:
            run.open -= 1

    def traced(self, note: dict[str, Any] | None) -> dict[str, Any] | None:
        """The note of a record, and where the code raised."""
        if self.trace is None:
            return note
        trace, self.trace = self.trace, None
        return {**(note or {}), "traceback": trace}


class Run(msgspec.Struct, eq=False):
    """A run in memory. It is resident when its handler lives here; then it holds its key."""

    number: int
    id: str
    partition: int
    spec: AgentSpec
    key: str
    place: tuple[str, str]  # (agent, key)
    event: EventRow
    turn: int | None
    status: str
    generation: int
    created: int
    started: int | None
    wake: int | None  # as the store has it
    awaiting: str | None  # as the store has it
    asker: str | None  # as the store has it
    fingerprint: str
    resumes: int
    bytes: int  # of its event and its journal
    instance: Instance = None  # type: ignore[assignment]  # once it is resident
    steps: dict[str, Step] = {}
    order: list[RecordRow] = []  # recorded observations not handed over yet, earliest first (a deque takes 760 bytes, empty too)
    replaying: bool = False
    last: int = 0  # the last record that an earlier start of the handler may have seen
    fresh: list[Step] = []  # asked for while replaying and not in the record: they begin when the replay ends
    open: int = 0  # steps on which something in this process works, or will at once
    resting: int = 0  # steps that rest before their next attempt or probe
    in_hand: int = 0  # observations on their way to the handler
    waits: dict[str, StepCall] = {}  # receive and ask steps without an answer
    doubts: int = 0
    timer: tuple[int, str] | None = None  # the handler's earliest
    pushed: int = 0  # the earliest alarm that will look at it
    mail: list[MailRow] = []  # that it could be given, in order, as far as it has been read
    known: dict[tuple[str, str, str | None], int] | None = {}  # how far, of a sort (core.mail); None: all of it
    asking_mail: bool = False
    unread: bool = False  # what it waits for may be in the mail
    initial: str | None = None  # the state as of its turn
    released: bool = False  # it has given up its key once: the record holds its initial state
    owed_state: bool = False  # it has given up its key, and must be handed the state as it is when its turn comes
    state: str | None = None  # with waiting="release": the state so far; None: untouched
    news: bool = False  # an outcome was recorded while it was not resident
    stale: bool = False  # it became a new generation, and must be read again
    recalled: bool = False  # its record may hold effects that this start of the handler has not asked for yet
    first: int | None = None  # when its first generation began, where this is a later one
    handed: RecordRow | None = None  # replay: the observation handed over last
    missed: list[RecordRow] = []  # replay: timers that the handler of today has not set (yet)

    @classmethod
    def of(cls, row: RunRow, event: EventRow, spec: AgentSpec) -> Run:
        """As its row says."""
        return cls(
            row.run,
            run_id(row.partition, row.run),
            row.partition,
            spec,
            row.key,
            (spec.name, row.key),
            event,
            row.turn,
            row.status,
            row.generation,
            row.created,
            row.started,
            row.wake,
            row.awaits,
            row.asker,
            row.fingerprint,
            row.resumes,
            size(event.payload),
        )

    def busy(self) -> bool:
        """Does the code of an attempt still run in this process?"""
        return any(step.busy for step in self.steps.values())

    def row(self, *, finished: int | None = None, error: dict[str, Any] | None = None) -> RunRow:
        return RunRow(
            self.number,
            self.partition,
            self.spec.name,
            self.key,
            self.event.event,
            self.turn,
            self.status,
            self.generation,
            self.created,
            self.started,
            finished,
            self.wake,
            self.awaiting,
            self.asker,
            self.fingerprint,
            self.resumes,
            None if error is None else dump(error),
        )

    def awaits(self) -> str | None:
        """What it waits for, as JSON: [Wait, ...]."""
        return dump([wait_of(call) for call in self.waits.values()]) if self.waits else None


def wait_of(call: StepCall) -> Wait:
    """What a ``receive`` or an ``ask`` waits for."""
    return call.step, call.kind, call.name, call.about if call.kind == "receive" else call.key
