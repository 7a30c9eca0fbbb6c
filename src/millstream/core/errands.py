"""Errands: what somebody wants of a run, wherever it is: to settle a step, to cancel it, to try it again.

A run with a handler is told at once. Of any other the row is read first, and changed; what it is to see becomes part of its record,
and its line brings it back. A retry is a new generation of the run (core.lifecycle).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from millstream.core import runs as r
from millstream.core.commands import Answer
from millstream.core.desk import Desk
from millstream.core.facts import AttemptEnded, CancelRequested, RetryRequested, Settled
from millstream.core.lines import Lines
from millstream.core.matching import compensations
from millstream.core.runs import Run, Step, size
from millstream.core.suspects import POISON, Poison
from millstream.core.tables import RUNS, RunRow

if TYPE_CHECKING:
    from millstream.core.lifecycle import Lifecycle


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """Code of an effect has ended, and its run had failed before."""

    run: int
    end: AttemptEnded
    token: None = None


class CodeChanged(msgspec.Struct, frozen=True, gc=False):
    """The agent of a diverged run has other code now."""

    run: int
    token: None = None


Errand = Settled | CancelRequested | RetryRequested | Poison | Evidence | CodeChanged


class Errands:
    """See the module."""

    def __init__(self, desk: Desk, lines: Lines, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lines = lines
        self.lifecycle = lifecycle
        self._waiting: dict[int, list[Errand]] = {}  # for runs that are being loaded

    def __bool__(self) -> bool:
        """Is there one for a run that is being loaded?"""
        return bool(self._waiting)

    def run(self, errand: Errand) -> None:
        """Now, or when the run has been read."""
        lifecycle = self.lifecycle
        run = lifecycle.residents.get(errand.run)
        if run is not None:
            self.to_resident(run, errand)
        elif errand.run in lifecycle.stash:
            self.to_stored(lifecycle.stash[errand.run], errand)
        else:
            self._waiting.setdefault(errand.run, []).append(errand)
            self.lines.look_at(errand.run, self.desk.wrote(RUNS, (errand.run,)))

    def again(self, number: int) -> None:
        """The run that they wait for is here now."""
        for errand in self._waiting.pop(number, ()):
            self.run(errand)

    def refuse(self, number: int, reason: str) -> None:
        """The run that they wait for cannot be had."""
        for errand in self._waiting.pop(number, ()):
            self.answer(errand, reason)

    def considered(self, run: Run, row: RunRow) -> None:
        """The run that they wait for was read from the store, as ``row``."""
        for errand in self._waiting.pop(run.number, ()):
            self.to_stored(run, errand)
            as_it_was = (run.status, run.generation) == (row.status, row.generation)
            if as_it_was and run.status in r.ENDED:
                self.desk.commit.put(RUNS, row)  # who asks for the run now must wait for what was recorded of it

    def answer(self, errand: Errand, error: str | None = None) -> None:
        if errand.token is not None:
            if error is None:
                self.desk.gate(Answer(errand.token))
            else:
                self.desk.say(Answer(errand.token, error))

    def to_resident(self, run: Run, errand: Errand) -> None:
        if isinstance(errand, Settled):
            self.answer(errand, self.lifecycle.steps.doubts.settle(run, errand))
        elif isinstance(errand, CancelRequested):
            self.lifecycle.stir(run)
            cancelled = self.lifecycle.record(run, r.CANCEL, note={"by": errand.by})
            if run.replaying:
                run.order.append(cancelled)
            else:
                self.lifecycle.deliver(run, cancelled)
            self.answer(errand)
        elif isinstance(errand, Evidence):
            self.lifecycle.steps.late(run, errand.end)
        elif not isinstance(errand, CodeChanged):
            self.answer(errand, f"run {run.id} is {run.status}; only failed, diverged and cancelled runs can be retried")

    def to_stored(self, run: Run, errand: Errand) -> None:
        if isinstance(errand, Settled):
            self.answer(errand, self._settle_stored(run, errand))
        elif isinstance(errand, CancelRequested):
            self.answer(errand, self._cancel_stored(run, errand))
        elif isinstance(errand, Poison):
            if run.status == r.RUNNING:
                self.lifecycle.fail(run, r.FAILED, POISON)
        elif isinstance(errand, Evidence):
            if self.lifecycle.steps.late(run, errand.end):
                self._tell_stored(run, None)
        elif isinstance(errand, CodeChanged):
            if run.status == r.DIVERGED:  # else somebody has cancelled it meanwhile
                self._new_generation(run, "changed code")
        elif run.status in (r.FAILED, r.DIVERGED, r.CANCELLED):
            undone = compensations(run) if run.status == r.CANCELLED else []
            if undone:
                what = f"run {run.id} was cancelled, and its handler cleaned up ({', '.join(undone)})"
                self.answer(errand, f"{what}: what it did before need not hold any more, so it cannot go on. Send its event anew")
                return
            self._new_generation(run, errand.by)
            self.answer(errand)
        else:
            self.answer(errand, f"run {run.id} is {run.status}; only failed, diverged and cancelled runs can be retried")

    def _settle_stored(self, run: Run, errand: Settled) -> str | None:
        error = self.lifecycle.steps.doubts.settle(run, errand)
        if error is None:
            if run.status == r.DIVERGED:
                self._new_generation(run, errand.by)  # what was settled before did not fit
            else:
                self._tell_stored(run, errand.by)
        return error

    def _tell_stored(self, run: Run, by: str | None) -> None:
        """An outcome was recorded that its handler has not seen."""
        if run.status == r.IN_DOUBT and run.turn is None:
            self._settle_parked(run, by)
        else:
            run.news = True

    def _cancel_stored(self, run: Run, errand: CancelRequested) -> str | None:
        if run.status in (r.DONE, r.CANCELLED):
            return f"run {run.id} is {run.status} already"
        if run.status == r.IN_DOUBT and run.turn is None:
            return f"run {run.id} is parked in doubt: settle its doubts first (see `millstream doubts`)"
        if run.status in (r.QUEUED, r.FAILED, r.DIVERGED) and not run.owed_state:
            if run.status == r.QUEUED:
                self.lines.backlog -= size(run.event.payload)
            error = {"type": "Cancelled", "message": "cancelled" + (f" by {errand.by}" if errand.by else ""), "data": None}
            self.lifecycle.fail(run, r.CANCELLED, error)
            return None
        run.order.append(self.lifecycle.record(run, r.CANCEL, note={"by": errand.by}))
        run.news = True
        return None

    def _settle_parked(self, run: Run, by: str | None) -> None:
        """It begins anew when the last of its doubts is settled."""
        doubts = [step for step in run.steps.values() if step.phase == Step.DOUBT]
        if doubts:
            run.wake = min((step.due[0] for step in doubts if step.due is not None), default=None)
            self.lifecycle.put(run)
            self.lifecycle.wake_later(run)
        else:
            self._new_generation(run, by)

    def settle_overdue(self, run: Run) -> None:
        """A parked run was in doubt for longer than ``in_doubt_after``."""
        for step in list(run.steps.values()):
            if step.phase == Step.DOUBT and step.due is not None and step.due[0] <= self.desk.now:
                self._settle_stored(run, self.lifecycle.steps.doubts.overdue(run, step))

    def _new_generation(self, run: Run, by: str | None) -> None:
        """Tried again: with its old turn if it still blocks its line, else with a new one."""
        run.generation += 1
        self.lifecycle.record(run, r.RETRIED, note={"by": by, "began": run.started})
        if run.turn is None:
            run.turn = self.desk.number()
        run.status, run.started, run.resumes = r.QUEUED, None, 0
        run.released = run.owed_state = False
        run.wake = run.awaiting = None
        run.stale = True  # its record is read again, as an earlier generation's, when its turn comes
        self.lifecycle.stash.pop(run.number, None)
        self.lines.backlog += size(run.event.payload)
        self.lifecycle.put(run)
