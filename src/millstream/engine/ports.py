"""What the engine asks of the world, as protocols: a store, sources, sinks.

Implementations live in ``stores`` and ``connectors``; ``millstream.testing`` holds the suites that every one of them passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from millstream.core.facts import KeyLine, RunHistory
from millstream.core.tables import (
    Commit,
    DoubtRow,
    EventRow,
    LetterRow,
    MailRow,
    RunRow,
    SinkRow,
    SourceRow,
    StateRow,
    Wait,
)


class Store(Protocol):
    """Durable state and history. ``write`` is called from the committer's thread alone, one at a time; everything else
    from the engine's thread. Reads see all commits that had returned when the read began, and never block ``write``."""

    def write(self, commit: Commit) -> None:
        """Make the commit durable, all of it or nothing.

        Raises:
            CommitRefused: refused cleanly (disk full, busy); the same commit may be written again.
            CommitFailed: failed at COMMIT or sync; the outcome is unknown and the process must end.
        """

    def meta(self) -> dict[str, str]: ...
    def lines(self, keys: Sequence[tuple[str, str]], limit: int) -> list[KeyLine]:
        """For each (agent, key), in the order given: its state, the first ``limit`` runs of its line, and whether it has mail."""

    def line_after(self, agent: str, key: str, turn: int, limit: int) -> list[RunRow]:
        """The next runs of a line, behind ``turn``."""

    def scan_lines(self, after: int, limit: int) -> list[RunRow]:
        """Runs in line of all keys by turn, behind turn ``after``."""

    def histories(self, runs: Sequence[int]) -> list[RunHistory]:
        """Of those of these runs that exist."""

    def run(self, run: int) -> RunRow | None: ...
    def waiting(self, agent: str, key: str, limit: int) -> list[RunRow]:
        """Runs of (agent, key) whose status is waiting or in_doubt, oldest first, in line or not."""

    def receivers(self, agent: str, key: str, name: str, about: str | None, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs of (agent, key) that wait for such a signal: those that wait for just this ``about``, then
        those that take any (``about`` None), each oldest first."""

    def mail(self, after: int, limit: int, *, awaited: bool = False) -> list[MailRow]:
        """Mail behind number ``after``, in order; ``awaited``: only what a waiting or in-doubt run waits for, and answers to runs
        that are done, which nobody waits for any more."""

    def mail_for(self, run: int, agent: str, key: str, wait: Wait, after: int, limit: int) -> list[MailRow]:
        """What a run of (agent, key) that waits for this could be given: mail behind number ``after``, in order."""

    def wakes(self, until: int, limit: int) -> list[RunRow]:
        """Waiting and in-doubt runs whose ``wake`` is not later than ``until``, earliest first."""

    def diverged(self, behind: tuple[str, str, int], limit: int) -> list[RunRow]:
        """Diverged runs by agent, key and number, behind this one (agent, key, run)."""

    def sleeping(self, agents: Sequence[str]) -> bool:
        """Is there a waiting run of these agents that waits for its ``wake`` alone (its ``awaits`` is null)?"""

    def askers(self) -> list[RunRow]:
        """Waiting and in-doubt runs, in line or not, that wait for an ``ask`` (their ``awaits`` has an item of that kind)."""

    def seen(self, source: str, ids: Sequence[str]) -> set[str]:
        """Those of the ids that were seen."""

    def forget_seen(self, source: str, before: int, limit: int) -> list[str]:
        """Ids of a source that were seen before that time (us), oldest first."""

    def backlog_bytes(self) -> int:
        """Bytes of the payloads of events whose runs are queued."""

    def sources(self) -> list[SourceRow]: ...
    def sinks(self) -> list[SinkRow]: ...
    def outputs(self, sink: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Rows of a sink behind row ``after`` as (row, text): each text is one or more whole lines."""

    def last_output(self, sink: str) -> int:
        """The number of the last output row of a sink; 0 when there is none."""

    def doubts(self) -> list[DoubtRow]: ...
    def doubts_of(self, run: int) -> list[DoubtRow]:
        """The steps of a run that are in doubt, oldest first."""

    def letters(self, after: int, limit: int) -> list[LetterRow]: ...
    def runs(
        self, *, status: str | None = None, agent: str | None = None, key: str | None = None, limit: int | None = None
    ) -> Iterable[RunRow]:
        """Runs, newest first."""

    def state(self, agent: str, key: str) -> StateRow | None: ...
    def events(self, events: Sequence[int], at_most: int | None = None) -> list[EventRow]:
        """Those of these events that exist and whose payload has at most so many bytes, in the order given."""

    def emitted(self, run: int) -> list[EventRow]:
        """What a run emitted and sent, in order."""

    def close(self) -> None: ...


class Line(msgspec.Struct, frozen=True, gc=False):
    """An item of input that cannot be read: a dead letter. Also the evidence of input that may be lost (``data`` empty)."""

    position: int | str  # as in ``Lines.positions``
    data: bytes  # its head
    reason: str
    size: int  # of the whole in bytes


class Lines(msgspec.Struct, frozen=True, gc=False):
    """A read: items in order, in columns (no object an item: a third less cost), and the position after all of them.

    A position of an item is an ``int`` or a ``str``, for people to find it (a line number), and never given twice by one
    source, restarts included: ids are made of it.
    """

    data: list[bytes]
    positions: Sequence[int | str]  # of each item of ``data``
    rejected: list[Line]
    position: Any  # JSON-able; reading goes on from here
    ended: bool = False  # a bounded source was read to its end


class SourceConnector(Protocol):
    """Where events come from. One instance serves one engine at a time."""

    redelivers: bool  # can it deliver again from a recorded position?
    bounded: bool

    @property
    def caught_up(self) -> bool:
        """Has everything that is there now been given? Then ``--until-idle`` does not wait for more of it.

        Of a bounded source: it has ended. Of an unbounded one: there was nothing left when it last looked. Where nobody can know
        (the writer of a pipe may just be slow) it is no. A read returns, without items if need be, when this becomes true.
        """

    async def open(self, name: str, position: Any | None) -> None:
        """Begin behind ``position`` (as recorded with the last commit), or at the start for None.

        A source that cannot redeliver takes from it only where its item positions go on.

        Raises:
            SourceError: the input is not there, or cannot be read from that position (shorter, another file).
        """

    async def read(self, limit: int) -> Lines:
        """Wait for input and give at most about ``limit`` items. After ``ended`` it is not called again.

        May be cancelled: the next read then gives what this one would have given. A read may be without items.

        Raises:
            SourceError: the input cannot be read any further.
        """

    async def close(self) -> None: ...


class SinkConnector(Protocol):
    """Where outputs go. ``append`` and ``open`` may block: the engine calls them from a thread of the sink's own.

    A ``SinkError`` has an attribute ``retryable``: True says that nothing is unknown (disk full) and that ``append`` may be
    called again with the same outputs; False that the sink is of no use until it is opened anew.
    """

    def paths(self) -> Sequence[str]:
        """What this sink writes to, so that two sinks of one path are refused."""

    def open(self, position: Any | None, pending: Iterable[bytes]) -> Any | None:
        """Take hold of the target at ``position`` (as last recorded; None: never taken hold of).

        ``pending`` are the outputs behind that position in order: what is already there beyond ``position`` must be a
        beginning of them (it is kept), or a torn remainder no longer than them (it is written again, the same bytes).
        Only as much of them is taken as there is beyond ``position``. ``append`` is then given all of them, from their
        beginning: what is already there is not written twice.

        Returns the position to record *before* the first ``append``: without it, what a first ``append`` wrote before a
        crash could not be told from what had been there before. None: this sink has no positions (at-least-once).

        Raises:
            SinkError: shorter than recorded, another file, longer than everything ever committed, or held by another.
        """

    def append(self, chunks: Sequence[bytes]) -> Any | None:
        """Append whole lines durably (synced) and return the position after them.

        Raises:
            SinkError: see ``retryable``; where it is True, the next ``append`` begins with the same bytes.
        """

    def close(self) -> None: ...
