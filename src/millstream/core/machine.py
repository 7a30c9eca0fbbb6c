"""The machine: facts in, commands out. Pure: no await, no clock, no randomness, no I/O.

All that one fact causes goes into the open commit, so it is one atomic entry: the commit is cut between facts. A command
that the outside can see the outcome of is gated: it is said when everything up to it is durable.

The flow of one event:

    Arrived ─► intake ─► lines (its turn?) ─► lifecycle.begin ─► Start ─► [the handler runs] ─► Advanced(calls)
      ─► steps.called ─► Perform (READ at once, others when the intent is durable) ─► AttemptEnded ─► steps.ended ─► Deliver
      ─► [the handler goes on] ─► Advanced(end) ─► lifecycle: state, outputs, completion ─► the next in line
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from millstream.core.commands import LoadDiverged, LoadWakes, Pause, Perform, WakeAt
from millstream.core.desk import Desk, Limits
from millstream.core.errands import CodeChanged
from millstream.core.facts import (
    Advanced,
    Arrived,
    AttemptEnded,
    CancelRequested,
    DivergedLoaded,
    Due,
    Durable,
    Fact,
    Forgotten,
    LettersRetried,
    LineContinued,
    LinesLoaded,
    LinesScanned,
    MailLoaded,
    MailScanned,
    Opened,
    RetryRequested,
    RunsLoaded,
    Settled,
    Signalled,
    SinkWritten,
    Stopping,
    WaitingLoaded,
    WakesLoaded,
)
from millstream.core.graph import Graph
from millstream.core.intake import Intake
from millstream.core.lifecycle import Lifecycle
from millstream.core.lines import Lines
from millstream.core.mail import Mail
from millstream.core.steps import Steps
from millstream.core.suspects import Suspects
from millstream.core.tables import SEEN, Commit

GROWS = (Opened, Arrived, LettersRetried, Durable)  # facts after which sources may have to be paused
HORIZON = 60_000_000  # wake-ups of put-away runs are read this far ahead, us


class Machine:
    """See the module. ``handle`` facts, carry out the commands; ``take`` the commit when the last one has been written."""

    def __init__(self, graph: Graph, limits: Limits | None = None) -> None:
        self.desk = Desk(graph, limits or Limits())
        self.lines = Lines(self.desk)
        self.lifecycle = Lifecycle(self.desk, self.lines)
        self.steps = Steps(self.desk, self.lifecycle)
        self.mail = Mail(self.desk, self.lines, self.lifecycle)
        self.intake = Intake(self.desk, self.lines)
        self.lines.lifecycle = self.lifecycle
        self.lifecycle.steps, self.lifecycle.mail, self.lifecycle.intake = self.steps, self.mail, self.intake
        self.steps.mail, self.steps.doubts.intake = self.mail, self.intake
        self.mail.steps, self.mail.intake = self.steps, self.intake
        self.suspects = Suspects(self.desk, self.lines, self.lifecycle)
        self._diverged: tuple[str, str, int] | None = None  # those behind this one are still to be tried again
        self._reading_diverged = False
        self._paused: str | None = None
        self._wakes_until = 0
        self._reading_wakes = False
        self._wake_at = 0
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Opened: self._opened,
            Arrived: self.intake.arrived,
            LinesLoaded: self.lines.loaded,
            LineContinued: self.lines.continued,
            LinesScanned: self.lines.scanned,
            RunsLoaded: self.lifecycle.loaded,
            MailLoaded: self.mail.loaded,
            WaitingLoaded: self.mail.waiting_loaded,
            MailScanned: self.mail.scanned,
            WakesLoaded: self._wakes_loaded,
            DivergedLoaded: self._diverged_loaded,
            Advanced: self.lifecycle.advanced,
            AttemptEnded: self.steps.ended,
            Due: self._due,
            Durable: self._durable,
            Signalled: self.mail.signalled,
            Settled: self.lifecycle.errands.run,
            CancelRequested: self.lifecycle.errands.run,
            RetryRequested: self.lifecycle.errands.run,
            LettersRetried: self.intake.letters_retried,
            SinkWritten: self.intake.written,
            Stopping: self._stopping,
            Forgotten: self._forgotten,
        }

    def handle(self, facts: Iterable[Fact]) -> list[Any]:
        """What is to be done because of these, once all of them were told.

        A round of facts, because the shell has several at once where much happens, and the same work on many of them in a row is
        much cheaper for a CPU than each one's whole way [M: a quarter less for an agent request with 64 in flight].
        """
        desk, handlers = self.desk, self._handlers
        cut, cut_bytes = desk.limits.cut, desk.limits.cut_bytes
        grows = self._paused is not None
        for fact in facts:
            if fact.at > desk.now:
                desk.now = fact.at
            if desk.commit.rows >= cut or desk.commit.bytes >= cut_bytes:
                self._cut_here()
            kind = type(fact)
            handlers[kind](fact)
            grows = grows or kind in GROWS
        lines = self.lines
        if lines.suspects and not lines.isolated:
            self.suspects.start_next()
        if self._diverged is not None:
            self._read_diverged(self._diverged)
        if self.mail.offers or self.mail.scanned_to is not None:
            self.mail.flush()
        lines.flush()
        if grows:
            self._flow()
        if desk.alarms and desk.alarms[0][0] != self._wake_at:
            self._wake_at = desk.alarms[0][0]
            desk.say(WakeAt(self._wake_at))
        commands, desk.commands = desk.commands, []
        return commands

    def take(self) -> Commit | None:
        """The next commit to be written, if there is one; the shell writes it and then says ``Durable``."""
        desk = self.desk
        if not desk.cut and not self._cut_here():
            return None
        commit = desk.cut.popleft()
        desk.in_flight.append(commit)
        return commit

    def _cut_here(self) -> bool:
        """Close the open commit: what comes now gathers in a new one."""
        commit = self.desk.commit
        if not commit:
            return False
        self.desk.cut.append(commit)
        self.desk.bytes += commit.bytes
        self.desk.commit = Commit(commit.number + 1)
        return True

    def take_is_empty(self) -> bool:
        """Nothing has gathered."""
        return not self.desk.cut and not self.desk.commit

    @property
    def urgent(self) -> bool:
        """Does anything wait for what has gathered?"""
        return bool(self.desk.cut or self.desk.commit.gated or self.mail.offers)

    @property
    def quiet(self) -> bool:
        """Nothing can go on by itself: no handler runs, nothing is loaded, queued, or about to be written."""
        lines, desk = self.lines, self.desk
        reads = lines.scanning or self._diverged is not None or self.mail.scanned_to is not None
        moves = lines.running or lines.ready or lines.waking or reads
        return not (moves or desk.commit or desk.cut or desk.in_flight)

    def next_wake_up(self) -> int | None:
        """When the earliest timer or rest that this machine knows of is due, us."""
        return self.desk.alarms[0][0] if self.desk.alarms else None

    # --- the store ------------------------------------------------------------------------------------------------

    def _opened(self, fact: Opened) -> None:
        self.desk.open(fact.store_id, fact.epoch)
        self.lines.backlog = fact.backlog_bytes
        self.lifecycle.unclean = fact.unclean
        self.intake.opened(fact)
        self.mail.opened(fact.askers, fact.epoch)
        self.suspects.opened(fact.suspects)
        if not fact.visiting:
            self._diverged = ("", "", 0)
        self.mail.scan()
        self._read_wakes()
        self.lines.scan()

    def _read_diverged(self, behind: tuple[str, str, int]) -> None:
        """Diverged runs are tried again a page at a time, when those of the last page have been and there is room: there may be
        more of them than fit into memory."""
        if not self._reading_diverged and not self.lifecycle.errands and not self.lines.ready and self.lines.has_room():
            self._reading_diverged = True
            self.desk.say(LoadDiverged(behind, self.desk.limits.page, self.desk.latest()))

    def _diverged_loaded(self, fact: DivergedLoaded) -> None:
        self._reading_diverged = False
        self._diverged = (fact.rows[-1].agent, fact.rows[-1].key, fact.rows[-1].run) if fact.more else None
        for row in fact.rows:
            agent = self.desk.graph.agents.get(row.agent)
            if agent is not None and agent.fingerprint != row.fingerprint:
                self.lifecycle.errands.run(CodeChanged(row.run))

    def _durable(self, fact: Durable) -> None:
        desk = self.desk
        desk.durable = fact.number
        while desk.in_flight and desk.in_flight[0].number <= fact.number:
            commit = desk.in_flight.popleft()
            desk.bytes -= commit.bytes
            for place in commit.touched:
                if desk.touched.get(place) == commit.number:
                    del desk.touched[place]
            for command in commit.gated:
                if type(command) is Perform:
                    self.steps.released(command)
                else:
                    desk.say(command)

    def _stopping(self, fact: Stopping) -> None:
        self.desk.stopping = True

    def _forgotten(self, fact: Forgotten) -> None:
        for key in fact.keys:
            self.desk.commit.delete(SEEN, key)

    # --- time -----------------------------------------------------------------------------------------------------

    def _due(self, fact: Due) -> None:
        alarms, rang = self.desk.alarms, []
        while alarms and alarms[0][0] <= self.desk.now:
            rang.append(heapq.heappop(alarms))
        for _, _, what, which in rang:
            if what != "wakes":
                self.lifecycle.due(which, what == "run")
            else:
                self._read_wakes()
        self._wake_at = 0

    def _read_wakes(self) -> None:
        """Read which runs in the store are to be woken soon."""
        if not self._reading_wakes:
            self._reading_wakes = True
            self.desk.horizon = self.desk.now + HORIZON
            self.desk.say(LoadWakes(self.desk.horizon, self.desk.limits.page, self.desk.latest()))

    def _wakes_loaded(self, fact: WakesLoaded) -> None:
        self._reading_wakes = False
        for row in fact.rows:
            if row.wake is not None:
                self.desk.alarm(row.wake, "run", row.run)
        # Read on before the last of these is due; if more were found than read, they are due no earlier than the last one.
        again = fact.rows[-1].wake if fact.more and fact.rows else fact.until - HORIZON // 2
        pause = 1_000_000 if self.lines.waking else 1_000  # those that were found wait for room: no hurry to find more
        self.desk.alarm(max(again or 0, self.desk.now + pause), "wakes", None)

    # --- flow -----------------------------------------------------------------------------------------------------

    def _flow(self) -> None:
        """Sources are slowed before anything else suffers."""
        desk, lines, limits = self.desk, self.lines, self.desk.limits
        reason = None
        if lines.isolated:
            reason = f"{len(lines.isolated)} runs that were active in several unclean deaths run alone"
        elif lines.backlog > limits.backlog_bytes:
            reason = f"{lines.backlog:,} bytes of events wait behind held keys (limit {limits.backlog_bytes:,})"
        elif len(desk.cut) * limits.cut > limits.commit_rows:
            reason = f"{len(desk.cut) * limits.cut:,} rows wait for the store"
        elif self.lifecycle.bytes + desk.commit.bytes + desk.bytes > limits.memory_bytes:
            gathered = self.lifecycle.bytes + desk.commit.bytes + desk.bytes
            reason = f"{gathered:,} bytes of payloads are in memory (limit {limits.memory_bytes:,})"
        elif lines.running + len(lines.ready) >= limits.running:
            reason = f"{lines.running:,} runs are active (limit {limits.running:,})"
        if (reason is None) != (self._paused is None):
            self._paused = reason
            desk.say(Pause(reason))
