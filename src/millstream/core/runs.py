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

from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from millstream.core.effects import Policy
from millstream.core.facts import StepCall
from millstream.core.graph import AgentSpec
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
INTENDED = "intended"  # a step of an effect class, or an ask, was asked for; its first attempt follows
ATTEMPTED = "attempted"  # an attempt ended and another (or a probe) follows
DOUBTED = "doubted"
SETTLED = "settled"  # somebody said retry
RETRIED = "retried"  # the run is tried again, as a new generation; ``note`` says for whom
RELEASED = "released"  # the key went on without the run; ``result`` is the state that its turn began with
CHANGED = "changed"  # the state that the run left, as ``result``; ``note`` says its version and whose state it replaced
NOTED = "noted"  # the arguments of a recorded READ step differ from those of the code of today

Kind = Literal["resulted", "fired", "received", "cancelled", "resumed"]

json_encode = msgspec.json.Encoder(order="sorted").encode
json_decode = msgspec.json.Decoder().decode


def dump(value: Any) -> str:
    """Canonical JSON text of builtins."""
    return json_encode(value).decode()


def size(payload: str | None) -> int:
    """Bytes of a payload."""
    return 0 if payload is None else len(payload) if payload.isascii() else len(payload.encode())


class Step:
    """One step of a run in memory: what the record says of it, and what the handler asks."""

    __slots__ = (
        "id",
        "call",
        "recorded",
        "outcome",
        "phase",
        "attempts",
        "tries",
        "sent",
        "began",
        "ambiguous",
        "cancelled",
        "busy",
        "probing",
        "key",
        "gate",
        "due",
        "granted",
        "renewed",
        "unwritten",
        "given",
        "evidence",
        "trace",
    )

    CALLED, QUEUED, INTENT, PERFORMING, RESTING, DOUBT, DONE, ABANDONED = range(8)

    def __init__(self, id: str) -> None:
        self.id = id
        self.call: StepCall | None = None  # None: recorded, not (yet) asked for by this start of the handler
        self.recorded: RecordRow | None = None  # the row that holds its arguments
        self.outcome: RecordRow | None = None  # an earlier generation's result: handed over when it is asked for
        self.phase = Step.CALLED
        self.attempts = 0
        self.tries = 0  # attempts in this life of the process: a crash uses none of ``Retry.attempts`` up
        self.sent = 0  # start of the first attempt, us
        self.began = 0  # of the last one in this life, us
        self.ambiguous = False  # an attempt ended so, and nothing has told since
        self.cancelled = False  # the handler does not want it any more
        self.busy = False  # an attempt's or a probe's code runs in this process
        self.probing = False  # and it is a probe's
        self.key: str | None = None  # its idempotency key, once it was asked for
        self.gate = 0  # the commit that must be durable before it may be sent
        self.due: tuple[int, str] | None = None  # when a rest ends, and what follows: perform, probe or settle
        self.renewed = False  # another request than the one that failed in an earlier generation
        self.granted = False  # somebody said retry: one more attempt, whatever the class
        self.unwritten = False  # its next attempt needs an intent
        self.given = False  # its outcome is a person's settlement
        self.evidence: dict[str, Any] | None = None  # how its last attempt ended
        self.trace: str | None = None  # and the traceback of what it raised

    def is_left_alone(self) -> bool:
        """It rests, or is in doubt, until ``due`` (of what the record says and nobody has asked for yet, ``due`` tells nothing)."""
        return self.phase in (Step.RESTING, Step.DOUBT)

    @property
    def policy(self) -> Policy:
        assert self.call is not None
        return self.call.policy


class Run:
    """A run in memory. It is resident when its handler lives here; then it holds its key."""

    __slots__ = (
        "number",
        "id",
        "partition",
        "spec",
        "key",
        "event",
        "turn",
        "status",
        "generation",
        "created",
        "started",
        "asker",
        "fingerprint",
        "resumes",
        "instance",
        "steps",
        "order",
        "replaying",
        "fresh",
        "open",
        "resting",
        "in_hand",
        "waits",
        "doubts",
        "timer",
        "pushed",
        "mail",
        "known",
        "asking_mail",
        "unread",
        "wake",
        "awaiting",
        "initial",
        "released",
        "owed_state",
        "state",
        "news",
        "stale",
        "handed",
        "missed",
        "place",
        "recalled",
        "bytes",
        "first",
    )

    def __init__(self, row: RunRow, id: str, event: EventRow, spec: AgentSpec) -> None:
        self.number = row.run
        self.id = id
        self.partition = row.partition
        self.spec = spec
        self.key = row.key
        self.place = (spec.name, row.key)
        self.event = event
        self.turn = row.turn
        self.status = row.status
        self.generation = row.generation
        self.created = row.created
        self.started = row.started
        self.asker = row.asker  # as the store has it
        self.fingerprint = row.fingerprint
        self.resumes = row.resumes
        self.instance: Instance  # once it is resident
        self.steps: dict[str, Step] = {}
        self.order: deque[RecordRow] = deque()  # recorded observations that are not handed over yet
        self.replaying = False
        self.fresh: list[Step] = []  # asked for while replaying and not in the record: they begin when the replay ends
        self.open = 0  # steps on which something in this process works, or will at once
        self.resting = 0  # steps that rest before their next attempt or probe
        self.in_hand = 0  # observations on their way to the handler
        self.waits: dict[str, StepCall] = {}  # receive and ask steps without an answer
        self.doubts = 0
        self.timer: tuple[int, str] | None = None  # the handler's earliest
        self.pushed = 0  # the earliest alarm that will look at it
        self.mail: list[MailRow] = []  # that it could be given, in order, as far as it has been read
        self.known: dict[tuple[str, str, str | None], int] | None = {}  # how far, of a sort (core.mail); None: all of it
        self.asking_mail = False
        self.unread = False  # what it waits for may be in the mail
        self.wake = row.wake  # as the store has it
        self.awaiting = row.awaits  # as the store has it
        self.initial: str | None = None  # the state as of its turn
        self.released = False  # it has given up its key once: the record holds its initial state
        self.owed_state = False  # it has given up its key, and must be handed the state as it is when its turn comes
        self.state: str | None = None  # with waiting="release": the state so far; None: untouched
        self.news = False  # an outcome was recorded while it was not resident
        self.stale = False  # it became a new generation, and must be read again
        self.recalled = False  # its record may hold effects that this start of the handler has not asked for yet
        self.first: int | None = None  # when its first generation began, where this is a later one
        self.handed: RecordRow | None = None  # replay: the observation handed over last
        self.bytes = size(event.payload)  # of its event and its journal
        self.missed: list[RecordRow] = []  # replay: timers that the handler of today has not set (yet)

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
