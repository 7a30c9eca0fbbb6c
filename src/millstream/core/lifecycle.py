"""The life of a run: begin, replay, wait, be put away and brought back, release its key, end.

Replay. A run is started from the top of its handler and handed its recorded observations, one at a time, each at its recorded
time. With unchanged code every observation finds its step or timer waiting. With edited code the earliest one that does is
handed over first and the others wait for the handler to ask; what is never asked for is a divergence if it was an effect. New
steps that are asked for on the way begin when no recorded observation can be handed over any more: the run is live again.

Coming back. Whatever happens to a run without a handler (mail, a timer, a settlement, a retry) changes its row first: it is
``running`` again if it kept its turn, ``queued`` with a new turn if not. Its line then brings it back, as it would after a crash.

A retry is a new generation: the handler begins anew with the state of today, and whatever an earlier generation knows for certain
(results, settlements, answers) is recorded again and handed over the moment it is asked for. Definite failures are not kept: they
are what is tried again.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.commands import Deliver, PutAway, Start
from millstream.core.desk import Desk
from millstream.core.effects import Effect
from millstream.core.errands import Errands
from millstream.core.facts import (
    Advanced,
    Raised,
    Refused,
    Returned,
    RunHistory,
    RunsLoaded,
)
from millstream.core.lines import Instance, Lines
from millstream.core.matching import forgotten, recall
from millstream.core.runs import Run, Step, size
from millstream.core.tables import JSON, RECORDS, RUNS, STATES, EventRow, RecordRow, RunRow, StateRow

if TYPE_CHECKING:
    from millstream.core.intake import Intake
    from millstream.core.mail import Mail
    from millstream.core.steps import Steps

BRIEF = 1_000_000  # a sleep shorter than this is not written to the store, us


class Lifecycle:
    """See the module."""

    def __init__(self, desk: Desk, lines: Lines) -> None:
        self.desk = desk
        self.lines = lines
        self.errands = Errands(desk, lines, self)
        self.steps: Steps  # these three are set by the machine
        self.mail: Mail
        self.intake: Intake
        self.residents: dict[int, Run] = {}
        self.idle: dict[int, None] = {}  # waiting residents, longest waiting first
        self.bytes = 0  # of the residents' events and journals
        self.idle_bytes = 0  # of those who wait
        self.stash: dict[int, Run] = {}  # loaded, and about to go on when their line says so
        self._tidy = 1_000  # so many alarms are looked through for those of ended runs
        self.unclean = False  # the last engine died

    # --- beginning ------------------------------------------------------------------------------------------------

    def begin(self, row: RunRow, event: EventRow, instance: Instance) -> None:
        """A new run is at the head of its line."""
        self._begin(Run.of(row, event, instance.spec), instance)

    def _begin(self, run: Run, instance: Instance) -> None:
        """The handler of this generation begins, with the state as it is now."""
        self.lines.backlog -= size(run.event.payload)
        run.started = self.desk.now
        run.initial = instance.state
        self._make_resident(run, instance)
        self.put(run)

    def _make_resident(self, run: Run, instance: Instance, *, replayed: bool = False) -> None:
        assert run.started is not None
        run.instance = instance
        run.fingerprint = run.spec.fingerprint  # of the code that runs it now: a diverged run is tried again by another
        run.status, run.wake, run.awaiting = r.RUNNING, None, None
        run.replaying = True  # a new run has an empty record
        run.in_hand = 1
        instance.holder = run
        self.residents[run.number] = run
        self.bytes += run.bytes
        seen = run.started if run.first is None else run.first
        agent = run.spec.name
        start = Start(run.number, run.id, agent, run.key, run.event, run.initial, run.started, seen, run.generation, replayed)
        if self.unclean:
            self.desk.gate(start)  # if it takes the process with it at once, the next life must find that it was running
        else:
            self.desk.say(start)

    def put(self, run: Run, *, finished: int | None = None, error: dict[str, Any] | None = None) -> RunRow:
        row = run.row(finished=finished, error=error)
        self.desk.commit.put(RUNS, row)
        self.desk.touch(run.place)
        return row

    def record(
        self,
        run: Run,
        kind: str,
        step: str | None = None,
        *,
        tool: str | None = None,
        effect: Effect | None = None,
        attempt: int = 0,
        key: str | None = None,
        note: dict[str, Any] | None = None,
        args: str | None = None,
        result: str | None = None,
        error: dict[str, Any] | None = None,
    ) -> RecordRow:
        """Append to the run's journal."""
        desk = self.desk
        row = RecordRow(
            desk.number(),
            run.partition,
            run.number,
            run.generation,
            desk.now,
            kind,
            step,
            tool,
            None if effect is None else effect._value_,
            attempt,
            key,
            None if note is None else r.dump(note),
            JSON,
            args,
            result,
            None if error is None else r.dump(error),
        )
        desk.commit.append(RECORDS, row)
        desk.touch(run.place)
        if result is not None or args is not None:
            more = len(result or "") + len(args or "")
            desk.commit.bytes += more
            self._grow(run, more)
        return row

    def _grow(self, run: Run, more: int) -> None:
        run.bytes += more
        if run.number in self.residents:
            self.bytes += more
            if run.number in self.idle:
                self.idle_bytes += more

    # --- coming back ----------------------------------------------------------------------------------------------

    def loaded(self, fact: RunsLoaded) -> None:
        found = {history.run.run: history for history in fact.histories}
        for number in fact.wanted:
            here = number in self.residents or number in self.stash
            written = 0 if here else self.desk.wrote(RUNS, (number,))
            if written:  # the store was asked before it knew all: ask again
                self.lines.resume_later(number, written)
                continue
            self.lines.running -= 1  # counted again when its line starts it
            history = found.get(number)
            if here:
                self.errands.again(number)
                if number in self.stash:
                    self.lines.moved(self.stash[number].row())  # it may go on although there is no room: it is a suspect
            elif history is None:
                self.lines.isolated.discard(number)
                self.errands.refuse(number, "there is no such run")
            elif history.run.agent not in self.desk.graph.agents:
                self.lines.isolated.discard(number)
                self.errands.refuse(number, f"its agent {history.run.agent!r} is not in the app any more")
            else:
                self._consider(self.recall(history), history.run)

    def _consider(self, run: Run, row: RunRow) -> None:
        """A run was read from the store: is there something for it to do?"""
        self.lines.found(row)
        self.errands.considered(run, row)
        if run.status == r.IN_DOUBT and run.turn is None:
            self.errands.settle_overdue(run)
        elif run.status in (r.WAITING, r.IN_DOUBT) and self._is_wanted(run):
            self._line_up(run)
        if run.status in (r.QUEUED, r.RUNNING) and not run.stale:
            self.stash[run.number] = run
        else:
            self.mail.let_go(run)
        self.lines.moved(run.row())

    def _is_wanted(self, run: Run) -> bool:
        """Is there something for a waiting run: a timer that is due, an outcome it has not seen, mail?"""
        if run.news or (run.wake is not None and run.wake <= self.desk.now):
            return True
        return self.mail.is_promised(run)

    def _line_up(self, run: Run) -> None:
        """A waiting run goes on: at once if it kept its turn, else with a new one."""
        if run.turn is not None:
            run.status = r.RUNNING
        else:
            run.turn = self.desk.number()
            run.status = r.QUEUED
            self.lines.backlog += size(run.event.payload)
        run.wake = run.awaiting = None
        self.put(run)

    def recall(self, history: RunHistory) -> Run:
        """Rebuild a run from its record."""
        row = history.run
        run = Run.of(row, history.event, self.desk.graph.agents[row.agent])
        run.recalled = bool(history.records)
        run.last = history.records[-1].record if history.records else 0
        last = next((record for record in reversed(history.records) if record.kind == r.INTENDED), None)
        for record in history.records:
            run.bytes += len(record.result or "") + len(record.args or "")
            current = record.generation == run.generation
            if current and record.kind in r.OBSERVED:
                run.order.append(record)
            if current and record.kind == r.RELEASED:
                if not run.released:
                    run.initial = record.result
                run.released = run.owed_state = True
            elif current and record.kind == r.RESUMED:
                run.owed_state = False
            if record.kind == r.RETRIED and run.first is None and record.note is not None:
                run.first = r.json_decode(record.note)["began"]
            if record.step is not None and record.kind != r.FIRED:
                recall(run, record, current, last)
        return run

    def go_on(self, run: Run, instance: Instance) -> None:
        """A stashed run is at the head of its line: begin it, or start it again and hand it what is recorded."""
        resumed = run.status == r.RUNNING
        if run.started is None:
            self._begin(run, instance)
            return
        if run.status == r.QUEUED:
            self.lines.backlog -= size(run.event.payload)
        if resumed and self.unclean and run.number not in self.lines.isolated:
            run.resumes += 1
        if not run.released:
            run.initial = instance.state
        elif run.owed_state:
            run.owed_state = False
            run.order.append(self.record(run, r.RESUMED, result=instance.state))
        self._make_resident(run, instance, replayed=True)
        self.put(run)

    # --- being driven ---------------------------------------------------------------------------------------------

    def advanced(self, fact: Advanced) -> None:
        """A run was driven until nothing in it was ready."""
        run = self.residents.get(fact.run)
        if run is None:
            return
        run.in_hand -= 1
        for call in fact.calls:
            if not self.steps.called(run, call):
                return  # diverged
        for step in fact.cancels:
            self.steps.cancelled(run, step)
        if fact.refused and not run.replaying:
            self._note_refused(run, fact.refused)
        run.timer = fact.timer
        run.state = fact.state
        if fact.end is not None:
            self._end(run, fact.end)
        elif run.replaying:
            self._replay(run, missed=fact.missed)
        else:
            self.rest(run)

    def _note_refused(self, run: Run, refused: tuple[Refused, ...]) -> None:
        for signal in refused:
            note = {"refused": signal.reason, "by": signal.by, "id": signal.id}
            self.record(run, r.NOTED, signal.step, tool=signal.signal, note=note)
            sender = f" from {signal.by}" if signal.by else ""
            text = f"run {run.id} waits on: signal {signal.signal!r}{sender} is not what it waits for: {signal.reason}"
            self.desk.note("warning", text)

    def deliver(self, run: Run, record: RecordRow) -> None:
        """Hand over what was just recorded, or is replayed."""
        run.in_hand += 1
        by = id = None
        sent, seen = 0, record.at
        if record.note is not None:
            note = r.json_decode(record.note)
            seen = note.get("first", seen)
            if record.kind == r.RECEIVED:
                by, id, sent = note["by"], note["id"], note["sent"]
            elif record.kind == r.CANCEL:
                by = note["by"]
        error = None if record.error is None else r.json_decode(record.error)
        replayed = run.replaying and record.record <= run.last
        step = record.step or ""
        self.desk.say(Deliver(run.number, record.at, seen, record.kind, step, record.result, error, by, id, sent, replayed))

    def _replay(self, run: Run, *, missed: bool = False) -> None:
        """Hand over the earliest recorded observation that finds somebody waiting for it."""
        if missed:
            assert run.handed is not None
            run.missed.append(run.handed)  # an edited handler has no such timer, or not yet
        elif run.missed:
            run.order[:0] = run.missed
            run.missed.clear()
        for place, record in enumerate(run.order):
            if record.kind in (r.RESULTED, r.RECEIVED):
                step = run.steps.get(record.step or "")
                if step is None or step.call is None:
                    continue
            del run.order[place]
            run.handed = record
            self.deliver(run, record)
            return
        self._go_live(run)

    def _go_live(self, run: Run) -> None:
        """Nothing recorded can be handed over any more: begin what is new, settle what was started and has no outcome."""
        run.replaying = False
        run.missed.clear()
        fresh, run.fresh = run.fresh, []
        run.in_hand += 1  # a step that is in doubt at once must not park it before the others were looked at
        for step in fresh:
            if not step.cancelled and not self.steps.begin(run, step):
                return  # diverged
        for step in list(run.steps.values()):
            if step.call is None:
                continue
            if step.phase == Step.DONE:
                self.steps.delivered(run, step)
            elif step.phase in (Step.INTENT, Step.DOUBT) and not step.busy:
                self.steps.recover(run, step)
        run.in_hand -= 1
        self.rest(run)

    def rest(self, run: Run) -> None:
        """Nothing in the run is ready. If only time or others can move it, it waits: say so in the store."""
        if run.number not in self.residents:
            return  # what its step came to has parked it
        timer = run.timer
        if self.mail.promised and not run.in_hand:
            self.mail.let_go(run, but_waited_for=True)
        if run.unread and run.waits and not run.in_hand:
            self.mail.look(run)
        if run.open or run.asking_mail or run.in_hand:
            if timer is not None:
                self.watch(run, timer[0])
            return
        if run.resting:
            wake = self._next_wake(run, False)
            released = run.spec.waiting == "release"  # a back-off is no wait of the handler's: it gives nothing up
            if wake is not None and (released or (wake - self.desk.now < BRIEF and not run.waits and not run.doubts)):
                self.watch(run, wake)
                return
        elif not run.waits and not run.doubts:
            if timer is None:
                self.desk.say(PutAway(run.number))
                self._end(run, Raised(STUCK))
                return
            if timer[0] - self.desk.now < BRIEF:
                self.watch(run, timer[0])
                return
        self._wait(run)

    def _wait(self, run: Run) -> None:
        status = r.IN_DOUBT if run.doubts else r.WAITING
        parks = status == r.IN_DOUBT and run.spec.on_doubt == "park"
        if parks and (run.busy() or run.resting):
            return  # the code of an overdue attempt still runs: its end may tell; or another step is to be tried again
        wake = self._next_wake(run, parks)
        if wake is not None and wake <= self.desk.now:
            self.watch(run, wake)  # it goes on at once
            return
        awaits = None if parks else run.awaits()  # a parked run begins anew: nothing but a settlement brings it back
        changed = (status, wake, awaits) != (run.status, run.wake, run.awaiting)
        run.status, run.wake, run.awaiting = status, wake, awaits
        self.progress(run)
        if status == r.WAITING and run.spec.waiting == "release":
            self._release(run)
        elif parks:
            self.mail.forget(run)
            self._leave(run)
        else:
            if changed:
                self.put(run)
            if wake is not None and wake <= self.desk.horizon:
                self.watch(run, wake)  # a later one is read from the store in its time
            if run.number not in self.idle:
                self.idle[run.number] = None
                self.idle_bytes += run.bytes
                self.lines.running -= 1
            self.put_away_the_longest_idle()

    def progress(self, run: Run) -> None:
        """It got somewhere: it is no suspect (any more)."""
        if run.resumes:
            run.resumes = 0
            self.put(run)
        self.lines.isolated.discard(run.number)

    def _next_wake(self, run: Run, parks: bool) -> int | None:
        rests = run.doubts or run.resting
        times = [step.due[0] for step in run.steps.values() if step.due is not None and step.is_left_alone()] if rests else []
        if run.timer is not None and not parks:
            times.append(run.timer[0])
        return min(times, default=None)

    def watch(self, run: Run, due: int) -> None:
        """Look at the run at this time; an earlier alarm will look further itself."""
        if run.pushed <= self.desk.now or due < run.pushed:
            run.pushed = due
            self.desk.alarm(due, "look", run.number)
            alarms = self.desk.alarms
            if len(alarms) > self._tidy:  # most are of runs that have ended long before
                alarms[:] = [alarm for alarm in alarms if alarm[2] != "look" or alarm[3] in self.residents]
                heapq.heapify(alarms)
                self._tidy = 2 * len(alarms) + 1_000

    def stir(self, run: Run) -> None:
        """A resident run that may have been waiting is handed something."""
        if run.number in self.idle:
            self._no_longer_idle(run)
            self.lines.running += 1
        if run.status != r.RUNNING:
            run.status, run.wake, run.awaiting = r.RUNNING, None, None
            self.put(run)

    def due(self, number: int, stored: bool) -> None:
        """An alarm of a run rang; ``stored``: it was set for a run that is in the store."""
        run = self.residents.get(number)
        if run is None:
            if stored and number not in self.stash:
                self.lines.wake(number, self.desk.wrote(RUNS, (number,)))
            return
        run.pushed = 0
        for step in list(run.steps.values()) if run.resting or run.doubts else ():
            if step.due is not None and step.is_left_alone():
                if step.due[0] <= self.desk.now:
                    self.steps.due(run, step)
                else:
                    self.watch(run, step.due[0])
        if run.in_hand or number not in self.residents:
            return  # what it has been handed may cancel the timer; else it is looked at when the run is at rest
        if run.timer is None or run.timer[0] > self.desk.now:
            self.rest(run)
        else:
            self.stir(run)
            fired = self.record(run, r.FIRED, run.timer[1])
            run.timer = None  # until the run says which is next
            self.deliver(run, fired)

    # --- leaving the process, or the line -------------------------------------------------------------------------

    def put_away_the_longest_idle(self) -> None:
        limits = self.desk.limits
        while len(self.idle) > limits.idle or self.idle_bytes > limits.idle_bytes:
            for number in self.idle:
                run = self.residents[number]
                if not run.busy():
                    break
            else:
                return  # the code of an overdue attempt still runs for each of them
            self._no_longer_idle(run)
            self._dismiss(run)
            self.lines.step_back(run.row(), run.instance)

    def _no_longer_idle(self, run: Run) -> None:
        del self.idle[run.number]
        self.idle_bytes -= run.bytes

    def _dismiss(self, run: Run) -> None:
        """Its handler is closed and its memory freed."""
        del self.residents[run.number]
        self.bytes -= run.bytes
        self.desk.say(PutAway(run.number))
        self.wake_later(run)

    def wake_later(self, run: Run) -> None:
        """A run that is not resident has a time to be woken: a later one than the horizon is read from the store in its time."""
        if run.wake is not None and run.wake <= self.desk.horizon:
            self.desk.alarm(run.wake, "run", run.number)

    def _release(self, run: Run) -> None:
        """The state so far is committed with the wait, and the key goes on without the run."""
        self.record(run, r.RELEASED, result=None if run.released else run.initial)
        if run.state is not None:
            self._change_state(run, run.state)
        self._leave(run)

    def _leave(self, run: Run) -> None:
        """Out of line, and put away."""
        run.turn = None
        self.put(run)
        if run.number in self.idle:
            self._no_longer_idle(run)
        else:
            self.lines.running -= 1
        self._dismiss(run)
        self.lines.vacate(run.instance)

    # --- ending ---------------------------------------------------------------------------------------------------

    def _end(self, run: Run, end: Returned | Raised) -> None:
        if isinstance(end, Raised):
            if end.diverged:
                self.diverge(run, end.error["message"], KEPT)
            else:
                self.fail(run, r.CANCELLED if end.cancelled else r.FAILED, end.error)
            return
        unasked = forgotten(run)
        if unasked is not None:
            text = f"step {run.id}/{unasked.step} is recorded as started, and the handler returned without asking for it"
            self.diverge(run, text, UNDONE if unasked.generation < run.generation else "")
            return
        if end.state is not None:
            if any(record.kind == r.RESUMED for record in run.order):
                self.diverge(run, "the handler returned without the wait after which it was handed the state as it was then")
                return
            self._change_state(run, end.state)
        for emitted in end.emitted:
            self.intake.emit(run, emitted)
        if end.output is not None:
            self.intake.emit(run, end.output)
        self.mail.forget(run)
        self.mail.reply(run, end.answer, None)
        run.status, run.turn = r.DONE, None
        self.desk.counts["done"] += 1
        self._forget(run, finished=self.desk.now)
        self.mail.leave(run)

    def _change_state(self, run: Run, state: str | None) -> None:
        instance = run.instance
        if state == instance.state:
            return
        before = instance.state_run
        instance.version += 1
        instance.state, instance.state_run = state, run.number
        changed = self.record(run, r.CHANGED, note={"version": instance.version, "before": before}, result=state)
        row = StateRow(run.spec.name, run.key, run.partition, instance.version, run.number, changed.record, JSON, None)
        self.desk.commit.put(STATES, row)

    def diverge(self, run: Run, text: str, hint: str = "") -> None:
        """The handler does not follow its record: keep the run, and try it again when the code changes."""
        self.desk.say(PutAway(run.number))
        self.fail(run, r.DIVERGED, {"type": "Diverged", "message": text + (hint or KEPT + TRAPS), "data": None})

    def fail(self, run: Run, status: str, error: dict[str, Any]) -> None:
        run.status = status
        if status == r.CANCELLED or run.spec.on_error == "park":
            run.turn = None
        self.desk.counts[status] += 1
        self.intake.failure(run, error)
        self.mail.forget(run)
        if status != r.DIVERGED:
            self.mail.reply(run, None, error)
        self.steps.leave(run)
        if run.number in self.residents:
            self._forget(run, finished=self.desk.now, error=error)
        else:
            run.wake = run.awaiting = None
            run.resumes = 0
            self.stash.pop(run.number, None)
            self.lines.isolated.discard(run.number)
            row = self.put(run, finished=self.desk.now, error=error)
            self.lines.instance(run.spec, run.key)  # it may have kept others from starting
            self.lines.moved(row)

    def _forget(self, run: Run, *, finished: int, error: dict[str, Any] | None = None) -> None:
        """The run has ended; its row says how, and its line goes on (unless it blocks it)."""
        run.wake = run.awaiting = None
        run.resumes = 0
        row = self.put(run, finished=finished, error=error)
        if self.residents.pop(run.number, None) is not None:
            self.bytes -= run.bytes
        if run.number in self.idle:
            self._no_longer_idle(run)
        else:
            self.lines.running -= 1
        self.lines.isolated.discard(run.number)
        if run.turn is None:
            self.lines.vacate(run.instance)
        else:
            self.lines.step_back(row, run.instance)


STUCK = {
    "type": "HandlerStuck",
    "message": "the handler waits, and nothing that Millstream knows can wake it: no step, timer, signal or answer is on its way. "
    "It awaits a future, lock or queue that only itself could serve",
    "data": None,
}
UNDONE = (
    ". It was asked for before a retry: to undo something, perhaps (in an `except`), that the retry went on with as if it held. "
    "See what is true out there; then cancel the run"
)
KEPT = ". The run is kept and tried again when the agent's code changes"
TRAPS = (
    ". Known causes: steps named by position in a changed loop, "
    "a branch on something that is not recorded (wall clock, environment, global), coroutines given to asyncio.as_completed (they "
    "start in set order: use ctx.as_completed)"
)
