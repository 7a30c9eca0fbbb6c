"""Steps: from the call of a handler to the outcome that is handed back, by the class of the effect.

    called ──► let in ── READ ───────────────────────────────────► performed ──► ended ──► decide (core.effects)
                 └──── any other: intended ──► durable ──► performed ──┘              │
                                                                       record ◄───────┤──► perform again, after a rest
                                                                       doubt  ◄───────┘──► probe, after a rest

What the record knows stands in ``matching``; how an attempt is let in and sent, in ``attempts``; what is in doubt, in ``doubts``.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.attempts import Attempts
from millstream.core.commands import CancelAttempt, Perform, Probe
from millstream.core.desk import Desk
from millstream.core.doubts import Doubts
from millstream.core.effects import Effect, Ended, Next, decide, intends
from millstream.core.errands import Evidence
from millstream.core.facts import AttemptEnded, StepCall
from millstream.core.matching import differs, is_same, tool_of, twin
from millstream.core.runs import Run, Step
from millstream.core.tables import RecordRow

if TYPE_CHECKING:
    from millstream.core.lifecycle import Lifecycle
    from millstream.core.mail import Mail

LOST = {"type": "Lost", "message": "the process ended before the outcome was durable", "data": None}
STOPPED = {"type": "Stopped", "message": "the engine was stopped before it was sent", "data": None}
NOT_DONE = {"type": "NotDone", "message": "its probe says that it did not happen, and its attempts are used up", "data": None}
NEVER_SENT = {"type": "NotSent", "message": "its run had ended before it was sent", "data": None}
WITHDRAWN = {"type": "Cancelled", "message": "cancelled before it was sent", "data": None}


class Steps:
    """See the module."""

    def __init__(self, desk: Desk, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lifecycle = lifecycle
        self.attempts = Attempts(desk, lifecycle)
        self.doubts = self.attempts.doubts = Doubts(desk, lifecycle, self.attempts, self)
        self.mail: Mail  # set by the machine
        self._left: set[tuple[int, str]] = set()  # (run, step) of effects whose code runs, and whose run has failed or diverged

    # --- being called ---------------------------------------------------------------------------------------------

    def called(self, run: Run, call: StepCall) -> bool:
        """The handler asked for a step. False: what it asks for is not what is recorded, and the run has diverged."""
        step = run.steps.get(call.step)
        if step is None:
            step = run.steps[call.step] = Step(call.step)
            step.call = call
            if not run.replaying:
                return self.begin(run, step)
            run.fresh.append(step)
            return True
        recorded = step.recorded
        if step.phase == Step.CALLED:  # it failed in an earlier generation
            if recorded is not None and recorded.args != call.args:
                # another request than the one that failed: with a key of its own
                step.recorded, step.renewed, step.key = None, True, None
            step.call = call
            if not run.replaying:
                return self.begin(run, step)
            run.fresh.append(step)
            return True
        difference = differs(run, step, call)
        if difference is not None:
            self.lifecycle.diverge(run, difference)
            return False
        if recorded is not None and recorded.effect == Effect.READ.value and step.phase == Step.DONE and run.resumes <= 1:
            self._note_arguments(run, step, call, recorded)
        step.call = call
        if step.outcome is not None:
            self._repeat_outcome(run, step, call, step.outcome)
        elif not run.replaying:
            self._called_late(run, step)
        return True

    def _note_arguments(self, run: Run, step: Step, call: StepCall, recorded: RecordRow) -> None:
        """A READ is matched by identity alone; that the code of today gives it other arguments is noted."""
        if recorded.args is not None and not is_same(call, recorded):
            digest = blake2b(call.args.encode(), digest_size=8).hexdigest()
            self.lifecycle.record(run, r.NOTED, step.id, tool=call.name, note={"arguments_now": digest})

    def _called_late(self, run: Run, step: Step) -> None:
        """The run is live, and only now asks for what is recorded (its code was edited)."""
        for place, record in enumerate(run.order):
            if record.step == step.id and record.kind in (r.RESULTED, r.RECEIVED):
                del run.order[place]
                self.lifecycle.deliver(run, record)
                return
        if step.phase in (Step.INTENT, Step.DOUBT):
            self.recover(run, step)

    def _repeat_outcome(self, run: Run, step: Step, call: StepCall, outcome: RecordRow) -> None:
        """An earlier generation knows the outcome: record it for this one and hand it over."""
        step.outcome, step.phase = None, Step.DONE
        note = {} if outcome.note is None else r.json_decode(outcome.note)
        note.setdefault("first", outcome.at)
        record = self.lifecycle.record(
            run,
            outcome.kind,
            step.id,
            tool=outcome.tool,
            effect=None if outcome.effect is None else Effect(outcome.effect),
            attempt=outcome.attempt,
            key=outcome.key,
            note=note,
            args=call.args if call.kind == "tool" else None,
            result=outcome.result,
            error=None if outcome.error is None else r.json_decode(outcome.error),
        )
        if run.replaying:
            run.order.append(record)
        else:
            self.lifecycle.deliver(run, record)
            self.delivered(run, step)

    # --- live -----------------------------------------------------------------------------------------------------

    def begin(self, run: Run, step: Step) -> bool:
        """A step that the record does not know. False: the record knows it by another name, and the run has diverged."""
        call = step.call
        assert call is not None
        if run.recalled and call.kind == "tool" and call.policy.effect is not Effect.READ:
            recorded = twin(run, step, call, self.desk.graph.tools)
            if recorded is not None:
                self.lifecycle.diverge(run, recorded)
                return False
        if call.kind == "receive":
            self.mail.receive(run, call)
        elif call.kind == "ask":
            self.mail.ask(run, step, call)
        elif self.desk.stopping:
            run.open += 1  # it is asked for again, and begins, in the next life
        elif not self._rests_on(run, step):
            self.attempts.attempt(run, step, unwritten=call.policy.effect is not Effect.READ)
        return True

    def released(self, command: Perform) -> None:
        """A gated attempt may be sent now, if it is still wanted."""
        run = self.lifecycle.residents.get(command.run)
        step = None if run is None else run.steps.get(command.step)
        if run is None or step is None or step.phase != Step.INTENT or step.attempts != command.attempt:
            self.attempts.leave_slots((command.run, command.step))
            if (command.run, command.step) in self._left:
                self._left.discard((command.run, command.step))
                never = AttemptEnded(self.desk.now, command.run, command.step, command.attempt, Ended.NOT_SENT, None, NEVER_SENT)
                self.lifecycle.errands.run(Evidence(command.run, never))
            return
        if self.desk.stopping:
            self._attempted(run, step, Ended.NOT_SENT, Next.PERFORM, STOPPED)
            return
        step.phase = Step.PERFORMING
        step.began = self.desk.now
        if step.attempts == 1:
            step.sent = self.desk.now
        self.attempts.send(command)

    def cancelled(self, run: Run, id: str) -> None:
        """The handler does not wait for a step any more (or, for an effect, waits only for its outcome)."""
        step = run.steps.get(id)
        if step is None or step.call is None or step.phase in (Step.DONE, Step.ABANDONED):
            return
        step.cancelled = True
        if step.call.kind != "tool":
            step.phase = Step.ABANDONED
            self.mail.abandon(run, step.call)
            if step.call.kind == "receive" and not run.replaying:
                self.delivered(run, step)
        elif run.replaying:
            if step.recorded is not None and step.phase in (Step.INTENT, Step.DOUBT):
                return  # it was sent: its outcome is settled when the replay ends
            if step.call.policy.effect is not Effect.READ:
                self.withdraw(run, step, opened=False)
            else:
                step.phase = Step.ABANDONED
        elif step.call.policy.effect is Effect.READ:
            self._abandon(run, step)
        elif step.phase == Step.INTENT and not step.ambiguous:
            step.busy = False
            self.withdraw(run, step, opened=True)
        elif step.phase in (Step.RESTING, Step.QUEUED) and not step.ambiguous:
            self.withdraw(run, step, opened=True)
        elif step.busy and not step.probing:  # what a probe finds out is wanted all the same
            self.desk.say(CancelAttempt(run.number, step.id))

    def withdraw(self, run: Run, step: Step, *, opened: bool) -> None:
        """Cancelled before it was sent: that is its outcome."""
        if step.phase == Step.QUEUED:
            self.attempts.leave_slots((run.number, step.id))
        if opened:
            step.close(run)
        if step in run.fresh:
            run.fresh.remove(step)
        self.outcome(run, step, None, WITHDRAWN, note=None)

    def _abandon(self, run: Run, step: Step) -> None:
        if step.phase == Step.QUEUED:
            self.attempts.leave_slots((run.number, step.id))
        if step.phase in (Step.PERFORMING, Step.RESTING, Step.QUEUED):
            step.close(run)
            if step.busy:
                self.desk.say(CancelAttempt(run.number, step.id))
        step.phase, step.due = Step.ABANDONED, None
        self.delivered(run, step)

    # --- an attempt ended -----------------------------------------------------------------------------------------

    def ended(self, fact: AttemptEnded) -> None:
        run = self.lifecycle.residents.get(fact.run)
        step = None if run is None else run.steps.get(fact.step)
        behind, left = None, False
        if fact.ended is not Ended.OVERDUE:
            place = (fact.run, fact.step)
            self.attempts.running.discard(place)
            if self._left and place in self._left:
                self._left.discard(place)
                left = fact.ended in (Ended.SUCCEEDED, Ended.FAILED, Ended.NOT_SENT)
            behind = self.attempts.behind.pop(place, None)
            if step is None or not (
                step.busy and (step.phase == Step.INTENT or (behind is not None and step.phase == Step.PERFORMING))
            ):
                self.attempts.leave_slots(place)  # no other attempt at it is about to begin
        if run is None or step is None or step.call is None:
            if left:
                self.lifecycle.errands.run(Evidence(fact.run, fact))
            return
        if behind is not None:
            if step.phase == Step.PERFORMING:
                self._after_another(run, step, behind, fact)
                return
            step.busy = False  # what waited behind it is not wanted any more
        if step.phase == Step.INTENT:  # the next attempt is not sent yet: this is the code of an earlier start
            if fact.ended is Ended.SUCCEEDED and step.policy.effect is not Effect.READ:
                step.busy = False
                self._decide(run, step, fact.ended, fact.result, fact.error)  # it is evidence
            return
        if fact.attempt < step.attempts or (fact.attempt > step.attempts and fact.ended is not Ended.SUCCEEDED):
            return  # (of an earlier start the record may not know all attempts)
        if fact.ended is not Ended.OVERDUE:
            step.busy = False
        step.trace = fact.trace
        if step.phase == Step.RESTING:
            if not step.busy:
                self._ended_while_it_rests(run, step, fact)
            return
        if step.phase not in (Step.PERFORMING, Step.DOUBT):
            if step.phase in (Step.DONE, Step.ABANDONED) and not run.replaying:  # settled, or given up, meanwhile
                self.delivered(run, step)
            if run.doubts and not run.replaying:
                self.lifecycle.rest(run)  # perhaps it was this that kept it from being parked
            self.lifecycle.put_away_the_longest_idle()
            return
        if self.desk.stopping and fact.ended is Ended.NOT_SENT and not step.cancelled:
            if step.phase == Step.DOUBT:
                self.doubts.leave(run, step)
            self._attempted(run, step, Ended.NOT_SENT, Next.PERFORM, fact.error)  # the next life sends it
            step.phase = Step.RESTING
            return
        self._decide(run, step, fact.ended, fact.result, fact.error, fact.retryable)
        if step.is_left_alone():
            self.lifecycle.rest(run)

    def _ended_while_it_rests(self, run: Run, step: Step, fact: AttemptEnded) -> None:
        """The code of an attempt that was taken for lost, or is overdue, while the time of its probe, or its end, is waited for."""
        if fact.ended is Ended.SUCCEEDED or (fact.ended is Ended.FAILED and not step.granted):  # it is evidence
            if step.due is not None:
                run.resting -= 1
                run.open += 1
            self._decide(run, step, fact.ended, fact.result, fact.error, fact.retryable)
        elif step.granted:
            self.attempts.attempt(run, step, unwritten=True)

    def leave(self, run: Run) -> None:
        """The run has failed or diverged. What code of its effects says in the end is on record for a retry, which would else
        take them for unknown."""
        for step in run.steps.values():
            if step.busy and step.policy.effect is not Effect.READ:
                self._left.add((run.number, step.id))

    def late(self, run: Run, fact: AttemptEnded) -> bool:
        """Code of an effect has ended whose run had failed. False: that tells nothing new."""
        step = run.steps.get(fact.step)
        if step is None or step.busy or step.phase not in (Step.INTENT, Step.DOUBT):
            return False
        if fact.attempt < step.attempts and fact.ended is not Ended.SUCCEEDED:
            return False  # a later one was intended
        step.trace, step.attempts = fact.trace, max(fact.attempt, step.attempts)
        if step.call is not None:  # the run was retried meanwhile, and is in doubt about it
            self._decide(run, step, fact.ended, fact.result, fact.error, fact.retryable)
            if step.is_left_alone():
                self.lifecycle.rest(run)
            return True
        if step.phase == Step.DOUBT:
            self.doubts.settled(run, step)
        if fact.ended is Ended.NOT_SENT:
            tool, effect = tool_of(step)
            note = step.traced({"ended": fact.ended.value, "next": Next.PERFORM.value, "due": None})
            attempt = step.attempts
            self.lifecycle.record(run, r.ATTEMPTED, step.id, tool=tool, effect=effect, attempt=attempt, note=note, error=fact.error)
        else:
            self.outcome(run, step, fact.result, fact.error, note={"late": True})
        return True

    def _after_another(self, run: Run, step: Step, command: Perform | Probe, fact: AttemptEnded) -> None:
        """The code that was in the way of this attempt has ended."""
        step.busy = False
        if fact.ended is Ended.SUCCEEDED and step.policy.effect is not Effect.READ:
            self.attempts.leave_slots((run.number, step.id))
            self._decide(run, step, fact.ended, fact.result, fact.error)  # it is evidence
        elif step.cancelled and not step.ambiguous:
            self.attempts.leave_slots((run.number, step.id))
            self._decide(run, step, Ended.NOT_SENT, None, WITHDRAWN)
        else:
            step.busy = True
            self.attempts.send(command)

    def _decide(
        self, run: Run, step: Step, ended: Ended, result: str | None, error: dict[str, Any] | None, retryable: bool = False
    ) -> None:
        if ended is Ended.SUCCEEDED:  # of every class, and whatever was feared before
            if step.phase == Step.DOUBT:
                self.doubts.leave(run, step)
            run.open -= 1
            self.outcome(run, step, result, None, note=None)
            return
        policy = step.policy
        following = decide(
            policy.effect,
            ended,
            attempts_left=(step.probes if ended is Ended.UNANSWERED else step.tries) < policy.retry.attempts,
            within_ttl=self.desk.now < step.sent + policy.key_ttl,
            ambiguous=step.ambiguous,
            retryable=retryable,
        )
        if ended in (Ended.AMBIGUOUS, Ended.LOST):
            step.ambiguous = True
        elif ended is Ended.NOT_DONE:
            step.ambiguous = False
        if following is Next.DOUBT:
            self.doubts.enter(run, step, ended, error)
            return
        if step.phase == Step.DOUBT:
            self.doubts.leave(run, step)
        if following is Next.RECORD:
            run.open -= 1
            self.outcome(run, step, None, NOT_DONE if ended is Ended.NOT_DONE else error, note=None)
        elif step.cancelled and not step.ambiguous and ended in (Ended.NOT_SENT, Ended.NOT_DONE):
            self.withdraw(run, step, opened=True)
        else:
            self._rest(run, step, following, ended, error)

    def _rest(self, run: Run, step: Step, following: Next, ended: Ended, error: dict[str, Any] | None) -> None:
        """Another attempt or a probe follows, not at once. Until then the run needs no place here: it waits."""
        policy = step.policy
        if ended is Ended.UNANSWERED:
            due = self.desk.now + policy.retry.delay(step.probes, self._chance(run, step))
        elif following is Next.PROBE:
            settle = policy.timeout if policy.settle is None else policy.settle
            # When a lost attempt was sent nobody knows (its commit may have waited for a full disk): at the latest now.
            deadline = self.desk.now + policy.timeout if ended is Ended.LOST else max(step.began + policy.timeout, self.desk.now)
            due = deadline + settle
        else:
            # A crash is no sign of trouble at the far side: no back-off after it.
            rest = 0 if ended is Ended.LOST else policy.retry.delay(step.tries, self._chance(run, step))
            due = self.desk.now + rest
        self._attempted(run, step, ended, following, error, due)
        step.phase = Step.RESTING
        step.due = (due, following.value)
        run.open -= 1
        run.resting += 1
        if due <= self.desk.now:
            self.due(run, step)
        else:
            self.lifecycle.watch(run, due)

    def _attempted(
        self, run: Run, step: Step, ended: Ended, following: Next, error: dict[str, Any] | None, due: int | None = None
    ) -> None:
        if ended is not Ended.UNANSWERED:
            step.evidence = error
        self.lifecycle.record(
            run,
            r.ATTEMPTED,
            step.id,
            tool=step.call.name if step.call else None,
            effect=step.policy.effect,
            attempt=step.attempts,
            note=step.traced({"ended": ended.value, "next": following.value, "due": due}),
            error=error,
        )

    def _chance(self, run: Run, step: Step) -> float:
        """A number in [0, 1) of this attempt's own: the same in every replay of a simulation."""
        return int.from_bytes(blake2b(f"{run.id}/{step.id}/{step.attempts}".encode(), digest_size=4).digest()) / (1 << 32)

    def due(self, run: Run, step: Step) -> None:
        """A rest is over."""
        assert step.due is not None
        following = step.due[1]
        if following in ("retry", "fail"):
            self.doubts.settle(run, self.doubts.overdue(run, step))
            return
        if self.desk.stopping:
            return  # the record says where to go on
        step.due = None
        run.resting -= 1
        run.open += 1
        self.lifecycle.stir(run)
        if following == Next.PERFORM.value:
            self._perform_again(run, step)
        else:
            call = step.call
            assert call is not None
            step.phase, step.busy, step.probing = Step.PERFORMING, True, True
            step.probes += 1
            self.attempts.send(Probe(run.number, run.id, step.id, step.attempts, self.attempts.key(run, step), call.body))

    def _perform_again(self, run: Run, step: Step) -> None:
        self.attempts.attempt(run, step, unwritten=intends(step.policy.effect, step.ambiguous))

    def outcome(
        self,
        run: Run,
        step: Step,
        result: str | None,
        error: dict[str, Any] | None,
        *,
        note: dict[str, Any] | None,
    ) -> None:
        """What the handler will see, now and in every replay."""
        call = step.call
        step.phase, step.due = Step.DONE, None
        is_read = call is not None and step.recorded is None
        if call is None:
            tool, effect = tool_of(step)
        else:
            tool, effect = call.name, call.policy.effect if call.kind == "tool" else None
        record = self.lifecycle.record(
            run,
            r.RESULTED,
            step.id,
            tool=tool,
            effect=effect,
            attempt=step.attempts,
            key=call.key if call is not None and call.kind == "ask" else None,
            note=step.traced(note),
            args=call.args if call is not None and is_read else None,
            result=result,
            error=error,
        )
        if step.recorded is None:
            step.recorded = record
        if call is None:
            run.order.append(record)  # settled before (this start of) the handler asked for it
            return
        if run.resumes:
            self.lifecycle.progress(run)
        if run.replaying:
            run.order.append(record)
        else:
            self.lifecycle.stir(run)
            self.lifecycle.deliver(run, record)
            self.delivered(run, step)

    @staticmethod
    def delivered(run: Run, step: Step) -> None:
        """A live handler has its outcome, or has given it up, and never asks for it again: memory does not grow with that."""
        if not step.busy:
            del run.steps[step.id]

    def answered(self, run: Run, call: StepCall, result: str | None, error: dict[str, Any] | None) -> None:
        """The outcome of an ask."""
        step = run.steps[call.step]
        self.outcome(run, step, result, error, note=None)

    # --- the record -----------------------------------------------------------------------------------------------

    def recover(self, run: Run, step: Step) -> None:
        """The replay has ended: what was started in an earlier life and has no outcome is settled by its class."""
        call = step.call
        assert call is not None
        if call.kind == "ask":
            step.phase = Step.PERFORMING
            self.mail.expect(run, call, again=True)
            return
        if step.phase == Step.DOUBT:
            run.doubts += 1
            if step.due is not None:
                self.lifecycle.watch(run, step.due[0])
            return
        if step.granted and step.cancelled and not step.ambiguous:
            self.withdraw(run, step, opened=False)
            return
        if self._rests_on(run, step):
            return
        if step.granted:
            self.attempts.attempt(run, step, unwritten=True)
            return
        run.open += 1
        step.phase = Step.PERFORMING
        self._decide(run, step, Ended.LOST, None, LOST)

    def _rests_on(self, run: Run, step: Step) -> bool:
        """It was put to rest, and rests on, if its class (of today) allows what follows: if it was begun again and that is not on
        record, then it may be begun once more."""
        if step.due is None:
            return False
        due, following = step.due
        effect = step.policy.effect
        probes = following == Next.PROBE.value
        if (probes and effect is not Effect.VERIFIED) or (not probes and step.ambiguous and intends(effect, True)):
            step.due = None
            return False
        step.phase = Step.RESTING
        run.resting += 1
        if due <= self.desk.now:
            self.due(run, step)
        else:
            self.lifecycle.watch(run, due)
        return True
