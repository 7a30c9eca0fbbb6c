"""One life of the engine, without its threads: real core, real handlers, real loader; the rest happens when it is told to.

What a crash leaves is in ``Remains``: the store's commits, the far side, the sinks' content, and how late it is. A ``Life`` is
what a crash ends. Facts and commands go round as in ``engine.Engine.feed``; where the engine has a thread, a task or a socket,
a life has a method: the commit is taken, and is durable later or never; an attempt acts, ends, hangs, or is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from millstream.agents.codecs import encode_arguments
from millstream.core.commands import (
    Answer,
    CancelAttempt,
    Deliver,
    LoadDiverged,
    LoadLine,
    LoadLines,
    LoadMail,
    LoadRuns,
    LoadWaiting,
    LoadWakes,
    Note,
    Output,
    Pause,
    Perform,
    Probe,
    PutAway,
    ScanLines,
    ScanMail,
    Start,
    WakeAt,
)
from millstream.core.desk import Limits
from millstream.core.effects import Effect, Ended
from millstream.core.facts import Arrived, AttemptEnded, Due, Durable, Fact, SinkWritten, Stopping
from millstream.core.graph import Graph
from millstream.core.machine import Machine
from millstream.core.runs import dump, json_decode
from millstream.core.tables import EVENT, Commit
from millstream.engine import recovery
from millstream.engine.letters import read_again
from millstream.engine.loader import Loader
from millstream.engine.runs import Runs
from millstream.engine.sources import events
from millstream.errors import IoInRun
from millstream.stores.memory import MemoryStore
from millstream.testing.simulator.audit import Audit
from millstream.testing.simulator.clock import VirtualClock
from millstream.testing.simulator.farside import FarSide, Request
from millstream.testing.simulator.violation import Violation
from millstream.testing.simulator.workload import Edition, graph

MANY = 1_000_000


class SinkFile:
    """What a sink holds: text that only grows."""

    def __init__(self) -> None:
        self.text = ""


class Remains:
    """What outlives a life."""

    def __init__(self, graph: Graph) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(app=graph.app, partitions=graph.partitions)
        self.far_side = FarSide()
        self.sinks = {name: SinkFile() for name in graph.sinks}
        self.lives = 0


class Attempt:
    """Code of a step (or its probe) that runs in this life."""

    __slots__ = ("request", "step", "probing", "result", "overdue", "cancelled")

    def __init__(self, request: Request, step: str, probing: bool) -> None:
        self.request = request
        self.step = step
        self.probing = probing
        self.result: str | None = None  # it has acted
        self.overdue = False
        self.cancelled = False


class Writer:
    """A sink in this life: what is to be appended, and how far it is."""

    def __init__(self, name: str, file: SinkFile, store: MemoryStore) -> None:
        found = next((row for row in store.sinks() if row.sink == name), None)
        self.name = name
        self.file = file
        self.row = self.recorded = 0 if found is None else found.row
        self.cursor: int = 0 if found is None or found.position is None else json_decode(found.position)
        self.pending: deque[tuple[int, str]] = deque(store.outputs(name, self.row, MANY))
        beyond = file.text[self.cursor :]
        if not "".join(text for _, text in self.pending).startswith(beyond):
            raise Violation("emitted-once", f"sink {name} holds {beyond!r} behind row {self.row}, and that was never committed")

    def append(self, torn: int | None = None) -> None:
        """Append the next row, or only the first ``torn`` characters of it."""
        row, text = self.pending[0]
        wanted = text if torn is None else text[:torn]
        there = self.file.text[self.cursor : self.cursor + len(text)]
        if not text.startswith(there):
            raise Violation("emitted-once", f"sink {self.name} holds {there!r} where row {row} is {text!r}")
        self.file.text += wanted[len(there) :]
        if torn is None:
            self.pending.popleft()
            self.row = row
            self.cursor += len(text)


class Life:
    """See the module.

    Attributes:
        attempts: what runs, by (run, step).
        commit: the one that was taken and is not durable.
        paused: why sources are not read.
        ends: of attempts and probes, that the core was not told yet.
        spy: told every round of facts, and what the core says to it.
        wake: when the core wants to be told that time has passed, us.
        answers: what those who asked were told, by token.
    """

    def __init__(
        self,
        remains: Remains,
        audit: Audit,
        *,
        edition: int = 0,
        limits: Limits | None = None,
        spy: Callable[[list[Fact], list[Any]], None] | None = None,
    ) -> None:
        remains.lives += 1
        self.number = remains.lives
        self.remains = remains
        self.audit = audit
        self.store = remains.store
        self.clock = remains.clock
        self.far_side = remains.far_side
        self.edition = edition
        self.spy = spy
        self.graph = graph(edition)
        self.attempts: dict[tuple[int, str], Attempt] = {}
        self.commit: Commit | None = None
        self.paused: str | None = None
        self.wake: int | None = None
        self.stopping = False
        self.answers: dict[int, tuple[str | None, Any]] = {}
        self.notes: list[str] = []
        self.ends: list[tuple[Request, AttemptEnded]] = []
        self.round: list[Fact] = []  # what the core is told
        self._tokens = 0
        self._facts: list[Fact] = []
        self._feeding = False
        self._reading = False  # the loader answers what had to wait
        self.machine = Machine(self.graph, limits)
        opened = recovery.begin(self.graph, self.store, self.clock)
        self.machine.desk.open(opened.store_id, opened.epoch)
        self.unclean = opened.unclean
        self.runs = Runs(self.graph, self.machine.desk.keys, Edition(edition))
        self.loader = Loader(self.store, self.feed, self.clock.now)
        self.writers = {name: Writer(name, file, self.store) for name, file in remains.sinks.items()}
        self.positions: dict[str, Any] = {
            row.source: None if row.position is None else json_decode(row.position) for row in opened.sources
        }
        load = self.loader.load
        self._dispatch: dict[type[Any], Callable[[Any], None]] = {
            Start: self._start,
            Deliver: self._deliver,
            PutAway: self._put_away,
            Perform: self._perform,
            Probe: self._probe,
            CancelAttempt: self._cancel,
            Output: self._output,
            WakeAt: self._wake_at,
            Answer: self._answer,
            Pause: self._pause,
            Note: lambda command: self.notes.append(command.text),
            **dict.fromkeys(
                (LoadLines, LoadLine, ScanLines, LoadRuns, LoadMail, LoadWaiting, ScanMail, LoadWakes, LoadDiverged), load
            ),
        }
        audit.born(self)
        self.feed(opened)

    # --- facts and commands ---------------------------------------------------------------------------------------

    def feed(self, fact: Fact) -> None:
        """Tell the core, and do what it says, until it says nothing more."""
        self._facts.append(fact)
        self._go_round()

    def _go_round(self) -> None:
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._facts:
                self.round, self._facts = self._facts, []
                commands = self.machine.handle(self.round)
                if self.spy is not None:
                    self.spy(self.round, commands)
                for command in commands:
                    self._dispatch[type(command)](command)
        finally:
            self._feeding = False
        if not self._reading:
            self.audit.fed(self)

    def _start(self, command: Start) -> None:
        advanced = self.runs.start(command)
        self.audit.started(self, command, advanced)
        self._facts.append(advanced)

    def _deliver(self, command: Deliver) -> None:
        advanced = self.runs.deliver(command)
        if advanced is not None:
            self.audit.delivered(self, command, advanced)
            self._facts.append(advanced)

    def fail(self, run: int) -> None:
        """A thread that a handler has started calls into the loop of its run, which is failed for it, whatever is under way."""
        advanced = self.runs.fail(run, IoInRun("a thread called"), self.clock.at)
        assert advanced is not None
        self.audit.put_away(self, run)
        self.feed(advanced)

    def _put_away(self, command: PutAway) -> None:
        self.runs.put_away(command.run)
        self.audit.put_away(self, command.run)

    def _perform(self, command: Perform) -> None:
        call = command.body
        arguments = encode_arguments(call.args, call.kwargs)
        request = Request(
            command.run,
            f"{command.id}/{command.step}",
            command.attempt,
            command.key,
            call.spec,
            arguments,
            self.clock.at,
            self.number,
        )
        self._admit(Attempt(request, command.step, False))
        self.audit.performed(self, command, request)
        self.far_side.asked(request)

    def _probe(self, command: Probe) -> None:
        call = command.body
        place = f"{command.id}/{command.step}"
        request = Request(command.run, place, command.attempt, command.key, call.spec, "", self.clock.at, self.number)
        self.audit.probed(self, request)
        self._admit(Attempt(request, command.step, True))

    def _admit(self, attempt: Attempt) -> None:
        place = (attempt.request.run, attempt.step)
        if place in self.attempts:
            raise Violation("one-attempt", f"{attempt.request.place}: code of an attempt still runs when the next one is to start")
        self.attempts[place] = attempt
        if not attempt.probing:
            self.audit.admitted(self, attempt.request.tool)

    def _cancel(self, command: CancelAttempt) -> None:
        attempt = self.attempts.get((command.run, command.step))
        if attempt is not None:
            attempt.cancelled = True

    def _output(self, command: Output) -> None:
        self.audit.output(self, command)
        self.writers[command.sink].pending.append((command.row, command.text))

    def _wake_at(self, command: WakeAt) -> None:
        self.wake = command.at

    def _answer(self, command: Answer) -> None:
        self.answers[command.token] = (command.error, command.value)
        self.audit.answered(self, command)

    def _pause(self, command: Pause) -> None:
        self.paused = command.reason

    # --- sources --------------------------------------------------------------------------------------------------

    def arrive(self, source: str, lines: Sequence[bytes], places: Sequence[Any], position: Any, *, ended: bool = False) -> None:
        """A source gives lines; ``position`` is where it goes on after them."""
        spec = self.graph.sources[source]
        batch, rejected = events(spec, list(lines), places, self.clock.at)
        known = self.store.seen(source, batch.ids) if spec.id is not None and batch.ids else set()
        self.positions[source] = position
        self.feed(Arrived(self.clock.at, source, batch, rejected, dump(position), known, ended))

    def retry_letters(self) -> int:
        """What ``runtime.operations`` does: read dead letters again. Gives how many were tried."""
        fact, _ = read_again(self.graph, self.store.letters(0, MANY), self.clock.at, self.store.seen)
        if fact.letters:
            if self.edition:
                self.audit.counts["letters retried at a mended operator"] += sum(read.letter.kept == EVENT for read in fact.letters)
            self.feed(fact)
        return len(fact.letters)

    # --- commits --------------------------------------------------------------------------------------------------

    @property
    def gathered(self) -> bool:
        """Is there something to be committed?"""
        return self.commit is None and not self.machine.take_is_empty()

    def begin_commit(self) -> None:
        """The committer takes what has gathered."""
        commit = self.machine.take()
        assert commit is not None
        if commit.rows:
            recovery.stamp(commit, self.machine.desk.now)
        self.commit = commit

    def end_commit(self) -> None:
        """It is durable."""
        commit, self.commit = self.commit, None
        assert commit is not None
        if commit.rows:
            self.audit.committing(self, commit)
            self.store.write(commit)
        self.feed(Durable(self.clock.at, commit.number))
        self._reading = True
        self.loader.durable(commit.number)
        self._reading = False
        self.audit.fed(self)

    # --- attempts -------------------------------------------------------------------------------------------------

    def act(self, attempt: Attempt) -> None:
        """The far side does what an attempt asks for; the attempt does not know it yet."""
        attempt.result = self.far_side.act(attempt.request, self.clock.at)
        self.audit.acted(self.store, attempt.request)

    def end(
        self, attempt: Attempt, ended: Ended, result: str | None = None, error: str | None = None, *, retryable: bool = False
    ) -> None:
        """An attempt's code, or a probe's, ends (or is overdue); the core is not told yet. ``error`` names what it raised."""
        place = (attempt.request.run, attempt.step)
        if ended is Ended.OVERDUE:
            attempt.overdue = True
        else:
            del self.attempts[place]
        raised = None if error is None else {"type": error, "message": f"{attempt.request.tool.name} ended so", "data": None}
        end = AttemptEnded(self.clock.at, *place, attempt.request.attempt, ended, result, raised, retryable)
        self.ends.append((attempt.request, end))

    def tell_ends(self) -> None:
        """The core is told how attempts have ended since it was told last."""
        for request, end in self.ends:
            self.audit.ended(self, request, end.ended)
            self._facts.append(msgspec.structs.replace(end, at=self.clock.at))
        self.ends.clear()
        self._go_round()

    def succeed(self, attempt: Attempt) -> None:
        """An attempt acts, unless it has already, and its result comes back."""
        if attempt.request.effect is Effect.READ:
            self.end(attempt, Ended.SUCCEEDED, self.audit.read())
            return
        if attempt.result is None:
            self.act(attempt)
        self.end(attempt, Ended.SUCCEEDED, attempt.result)

    def answer_probe(self, attempt: Attempt, *, unsure: bool = False) -> None:
        """What an honest probe says: that it did not happen only if it cannot happen any more."""
        done = self.far_side.done(attempt.request.key)
        if unsure or (done is None and self.far_side.may_still_act(attempt.request.place)):
            self.end(attempt, Ended.UNKNOWN, error="Unknown")
        elif done is not None:
            self.end(attempt, Ended.SUCCEEDED, done)
        else:
            self.end(attempt, Ended.NOT_DONE)

    # --- time, sinks, people --------------------------------------------------------------------------------------

    def tick(self) -> None:
        """The core is told that time has passed."""
        self.wake = None
        self.feed(Due(self.clock.at))

    def record_sink(self, name: str) -> None:
        """A sink tells how far it is."""
        writer = self.writers[name]
        writer.recorded = writer.row
        self.feed(SinkWritten(self.clock.at, name, writer.row, dump(writer.cursor)))

    def token(self) -> int:
        """For a fact that wants an answer."""
        self._tokens += 1
        return self._tokens

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        self.feed(Stopping(self.clock.at))

    # --- the end --------------------------------------------------------------------------------------------------

    def exit(self) -> None:
        """After a stop: all that has gathered becomes durable, and the process ends. Attempts that still run end with it."""
        self.tell_ends()
        while self.commit is not None or self.gathered:
            if self.commit is None:
                self.begin_commit()
            self.end_commit()
        self.runs.close()
        self.audit.died(self)
        recovery.end(self.store, self.machine.desk.now)

    def crash(self) -> None:
        """The process dies. A commit that was under way must have been made durable, or be lost, by the caller."""
        self.audit.died(self)
        self.runs.close()

    # --- questions ------------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Nothing is under way but waiting."""
        return (
            self.machine.quiet
            and self.commit is None
            and not self.attempts
            and not self.ends
            and not self.loader.pending
            and all(not writer.pending and writer.recorded == writer.row for writer in self.writers.values())
        )
