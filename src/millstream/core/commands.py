"""What the shell is to do, imperative: all that the core ever answers.

``Load*`` and ``ScanLines`` name in ``after`` the commit that must be durable before the store is read: the core drops from
memory what it can read again, and ``after`` keeps it from reading what is not there yet.
"""

from __future__ import annotations

from typing import Any

import msgspec

from millstream.core.tables import EventRow, Wait


class LoadLines(msgspec.Struct, frozen=True, gc=False):
    keys: list[tuple[str, str]]
    limit: int
    after: int


class LoadLine(msgspec.Struct, frozen=True, gc=False):
    agent: str
    key: str
    turn: int
    limit: int
    after: int


class ScanLines(msgspec.Struct, frozen=True, gc=False):
    turn: int
    limit: int
    after: int


class LoadRuns(msgspec.Struct, frozen=True, gc=False):
    runs: list[int]
    after: int


class LoadMail(msgspec.Struct, frozen=True, gc=False):
    """For each thing that a run waits for, the mail behind that number that it could be given."""

    run: int
    agent: str
    key: str
    waits: list[tuple[Wait, int]]
    limit: int  # for each
    after: int


class Offer(msgspec.Struct, frozen=True, gc=False):
    """Mail of one sort that nobody has taken: for a run, or for whichever run of (agent, key) waits for it."""

    agent: str
    key: str
    run: int | None
    name: str
    about: str | None
    mail: list[int]
    limit: int  # of the runs that are to be found


class LoadWaiting(msgspec.Struct, frozen=True, gc=False):
    """For each offer the runs that wait for it."""

    offers: list[Offer]
    after: int


class ScanMail(msgspec.Struct, frozen=True, gc=False):
    """Mail behind that number that a run in the store waits for."""

    mail: int
    limit: int
    after: int


class LoadWakes(msgspec.Struct, frozen=True, gc=False):
    until: int
    limit: int
    after: int


class LoadDiverged(msgspec.Struct, frozen=True, gc=False):
    """The diverged runs behind this one (agent, key, run)."""

    behind: tuple[str, str, int]
    limit: int
    after: int


class Start(msgspec.Struct, frozen=True, gc=False):
    """Begin the handler from the top."""

    run: int
    id: str
    agent: str
    key: str
    event: EventRow
    state: str | None
    at: int
    seen: int  # when the run first began: what the handler takes for now
    generation: int
    replayed: bool = False  # it has begun before


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """Hand one observation to a run and drive it until none of its tasks is ready.

    ``kind``: ``resulted`` (of a step), ``fired`` (a timer), ``received`` (a signal), ``cancelled`` (the run),
    ``resumed`` (the state as it is now). ``at`` is the time of the run's loop; ``seen`` is what the handler takes for now: an
    earlier time where an earlier generation has observed it, so that arguments made of it are the same again.
    """

    run: int
    at: int
    seen: int
    kind: str
    step: str
    value: str | None = None  # JSON
    error: dict[str, Any] | None = None
    by: str | None = None  # who sent the signal, or cancelled the run
    id: str | None = None
    sent: int = 0  # when the signal was sent, us
    replayed: bool = False  # it was handed over before


class PutAway(msgspec.Struct, frozen=True, gc=False):
    """Close a run's Context and forget its tasks; it comes back by replay, or not at all."""

    run: int


class Perform(msgspec.Struct, frozen=True, gc=False):
    """Start one attempt at a step."""

    run: int
    id: str
    step: str
    attempt: int
    key: str
    body: Any


class Probe(msgspec.Struct, frozen=True, gc=False):
    """Ask the tool's probe whether the step happened."""

    run: int
    id: str
    step: str
    attempt: int
    key: str
    body: Any


class CancelAttempt(msgspec.Struct, frozen=True, gc=False):
    """Deliver cancellation to the code of a step's attempt; its end is still reported."""

    run: int
    step: str


class Output(msgspec.Struct, frozen=True, gc=False):
    """Append a row to a sink (its commit is durable)."""

    sink: str
    row: int
    text: str


class WakeAt(msgspec.Struct, frozen=True, gc=False):
    """Say ``Due`` at this time, us; replaces an earlier WakeAt."""

    at: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Tell whoever waits under ``token``: done (its commit is durable), or why not."""

    token: int
    error: str | None = None
    value: Any = None


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Stop reading sources, and say why; None: read on."""

    reason: str | None


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something an operator should see in the log. ``level`` is ``info``, ``warning`` or ``error``."""

    level: str
    text: str
