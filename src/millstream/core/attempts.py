"""Attempts: who is let in, what is written down before, and when the code is sent.

    attempt ──► let in ──► READ: perform ────────────────────────► send
                      └──► any other: intend ──► durable ──► released ──► send

* An attempt is let in when it has the slots that it needs (core.slots); that comes before its intent.
* An attempt and a probe never run beside another of the same step in this process: not even one that a start of the handler
  before this one has left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.core import runs as r
from millstream.core.commands import Perform, Probe
from millstream.core.desk import Desk
from millstream.core.effects import Effect, Ended
from millstream.core.runs import Run, Step
from millstream.core.slots import THREADS, Need, Slots

if TYPE_CHECKING:
    from millstream.core.doubts import Doubts
    from millstream.core.lifecycle import Lifecycle

EXPIRED = {"type": "KeyExpired", "message": "it may have happened, and its key is not honoured any more", "data": None}


class Attempts:
    """See the module."""

    def __init__(self, desk: Desk, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lifecycle = lifecycle
        self.doubts: Doubts  # set by the steps
        self.slots = Slots()
        self.running: set[tuple[int, str]] = set()  # (run, step) whose code runs in this process
        self.behind: dict[tuple[int, str], Perform | Probe] = {}  # to be sent when the code that runs has ended

    def attempt(self, run: Run, step: Step, *, unwritten: bool) -> None:
        """Make an attempt as soon as there is a slot for it; ``unwritten``: with an intent of its own."""
        step.unwritten = unwritten
        needs = self._needs(step)
        if needs and not self.slots.take((run.number, step.id), needs):
            if step.phase != Step.RESTING:
                run.open += 1
            step.phase, step.due = Step.QUEUED, None
        else:
            self.let_in(run, step)

    def _needs(self, step: Step) -> list[Need] | None:
        call = step.call
        assert call is not None
        policy = call.policy
        if policy.max_concurrency is None and not policy.blocks:
            return None
        needs: list[Need] = []
        if policy.max_concurrency is not None:
            needs.append((call.name, policy.max_concurrency))
        if policy.blocks:
            needs.append((THREADS, self.desk.limits.threads))
        return needs

    def let_in(self, run: Run, step: Step) -> None:
        policy = step.policy
        if (
            step.ambiguous
            and policy.effect is Effect.IDEMPOTENT
            and self.desk.now >= step.sent + policy.key_ttl
            and not step.granted
        ):
            self.leave_slots((run.number, step.id))
            self.doubts.enter(run, step, Ended.AMBIGUOUS, EXPIRED)  # its key was not honoured for as long as it has waited
            self.lifecycle.rest(run)
        elif step.unwritten:
            self.intend(run, step)
        else:
            self.perform(run, step)

    def leave_slots(self, place: tuple[int, str]) -> None:
        """No code of this step runs, or is about to: others are let in."""
        if not self.slots:
            return
        waiting = self.slots.leave(place)
        while waiting:
            run_number, id = waiting.pop(0)
            run = self.lifecycle.residents.get(run_number)
            step = None if run is None else run.steps.get(id)
            if run is not None and step is not None and step.phase == Step.QUEUED and not self.desk.stopping:
                self.let_in(run, step)
            else:
                waiting += self.slots.leave((run_number, id))

    def intend(self, run: Run, step: Step) -> None:
        """Write down that it will be sent; it is sent when that is durable."""
        call = step.call
        assert call is not None
        record = self.lifecycle.record(
            run,
            r.INTENDED,
            step.id,
            tool=call.name,
            effect=call.policy.effect,
            attempt=step.attempts + 1,
            key=self.key(run, step),
            args=call.args if step.recorded is None else None,
        )
        if step.recorded is None:
            step.recorded = record
        if step.phase not in (Step.RESTING, Step.QUEUED):
            run.open += 1
        step.phase = Step.INTENT
        step.gate = self.desk.commit.number
        step.due = None
        self.desk.gate(self._start_attempt(run, step))

    def perform(self, run: Run, step: Step) -> None:
        """Attempt it now (its intent, if it needs one, is durable)."""
        if step.phase not in (Step.RESTING, Step.QUEUED):
            run.open += 1
        step.phase, step.due = Step.PERFORMING, None
        self.send(self._start_attempt(run, step))

    def send(self, command: Perform | Probe) -> None:
        place = (command.run, command.step)
        if place in self.running:
            self.behind[place] = command
        else:
            self.running.add(place)
            self.desk.say(command)

    def _start_attempt(self, run: Run, step: Step) -> Perform:
        call = step.call
        assert call is not None
        step.attempts += 1
        step.tries += 1
        step.began = self.desk.now
        if step.attempts == 1:
            step.sent = self.desk.now
        step.busy, step.probing, step.probes = True, False, 0
        step.granted = False
        return Perform(run.number, run.id, step.id, step.attempts, self.key(run, step), call.body)

    def key(self, run: Run, step: Step) -> str:
        assert step.call is not None
        if step.recorded is not None and step.recorded.key is not None:
            return step.recorded.key
        if step.call.key is not None:
            return step.call.key
        if step.key is None:
            step.key = self.desk.keys.key(run.id, f"{step.id}@{run.generation}" if step.renewed else step.id)
        return step.key
