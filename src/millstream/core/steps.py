"""Steps: from the call of a handler to the outcome that is handed back, by the class of the effect.

    called ──► let in ── READ ───────────────────────────────────► performed ──► ended ──► decide (core.effects)
                 └──── any other: intended ──► durable ──► performed ──┘              │
                                                                       record ◄───────┤──► perform again, after a rest
                                                                       doubt  ◄───────┘──► probe, after a rest

* An attempt is let in when it has the slots that it needs (core.slots); that comes before its intent.

* A recorded READ is matched by identity alone; any other step's arguments must agree with the record.
* An attempt and a probe never run beside another of the same step in this process: not even one that a start of the handler
  before this one has left behind.
* A step in doubt holds its run until somebody, or ``in_doubt_after``, settles it; a late result is evidence and settles it too.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.commands import CancelAttempt, Perform, Probe
from millstream.core.desk import Desk
from millstream.core.effects import Effect, Ended, Next, decide
from millstream.core.facts import AttemptEnded, Settled, StepCall
from millstream.core.lifecycle import Evidence
from millstream.core.runs import Run, Step
from millstream.core.slots import THREADS, Need, Slots
from millstream.core.tables import DOUBTS, JSON, DoubtRow, RecordRow

if TYPE_CHECKING:
    from millstream.core.intake import Intake
    from millstream.core.lifecycle import Lifecycle
    from millstream.core.mail import Mail

LOST = {"type": "Lost", "message": "the process ended before the outcome was durable", "data": None}
EXPIRED = {"type": "KeyExpired", "message": "it may have happened, and its key is not honoured any more", "data": None}
STOPPED = {"type": "Stopped", "message": "the engine was stopped before it was sent", "data": None}
NEVER_SENT = {"type": "NotSent", "message": "its run had ended before it was sent", "data": None}
WITHDRAWN = {"type": "Cancelled", "message": "cancelled before it was sent", "data": None}
USES_NONE_UP = (Ended.LOST.value, Ended.NOT_DONE.value, Ended.UNANSWERED.value)  # a crash, and the ends of probes: no attempt's


class Steps:
    """See the module."""

    def __init__(self, desk: Desk, lifecycle: Lifecycle) -> None:
        self.desk = desk
        self.lifecycle = lifecycle
        self.mail: Mail  # set by the machine
        self.intake: Intake
        self.running: set[tuple[int, str]] = set()  # (run, step) whose code runs in this process
        self._left: set[tuple[int, str]] = set()  # those of effects, whose run has failed or diverged meanwhile
        self._behind: dict[tuple[int, str], Perform | Probe] = {}  # to be sent when the code that runs has ended
        self.slots = Slots()

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
        if recorded is not None and not self._agrees(run, step, call, recorded):
            return False
        step.call = call
        if step.outcome is not None:
            self._repeat_outcome(run, step, call, step.outcome)
        elif not run.replaying:
            self._called_late(run, step)
        return True

    def _agrees(self, run: Run, step: Step, call: StepCall, recorded: RecordRow) -> bool:
        if call.kind == "receive" or recorded.args is None:
            return True
        if recorded.args == call.args and (call.kind != "ask" or recorded.key == call.key):
            return True
        if recorded.effect == Effect.READ.value and call.policy.effect is Effect.READ:
            if step.phase == Step.DONE and run.resumes <= 1:
                digest = blake2b(call.args.encode(), digest_size=8).hexdigest()
                self.lifecycle.record(run, r.NOTED, step.id, tool=call.name, note={"arguments_now": digest})
            return True
        self.lifecycle.diverge(
            run,
            f"step {run.id}/{step.id} is recorded with the arguments {_short(recorded.args)}\n"
            f"and the handler now asks for it with           {_short(call.args)}",
        )
        return False

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

    # --- live -----------------------------------------------------------------------------------------------------

    def begin(self, run: Run, step: Step) -> bool:
        """A step that the record does not know. False: the record knows it by another name, and the run has diverged."""
        call = step.call
        assert call is not None
        if run.recalled and call.kind == "tool" and call.policy.effect is not Effect.READ and not self._is_new(run, step, call):
            return False
        if call.kind == "receive":
            self.mail.receive(run, call)
        elif call.kind == "ask":
            self.mail.ask(run, step, call)
        elif self.desk.stopping:
            run.open += 1  # it is asked for again, and begins, in the next life
        elif not self._rests_on(run, step):
            self.attempt(run, step, unwritten=call.policy.effect is not Effect.READ)
        return True

    def _is_new(self, run: Run, step: Step, call: StepCall) -> bool:
        """Is it really another effect, and not one of the record that was moved, or whose tool was renamed? That would be performed
        a second time, before anybody could see that the first one was never asked for."""
        run.recalled = False
        for other in run.steps.values():
            record = other.recorded
            if other.call is not None or record is None or record.kind != r.INTENDED or record.effect is None:
                continue
            run.recalled = True
            tools = self.desk.graph.tools  # steps that a handler makes with ctx.step are in no graph: of these nobody can tell
            renamed = record.tool not in tools and call.name in tools
            if record.args == call.args and (record.tool == call.name or renamed):
                self.lifecycle.diverge(
                    run,
                    f"step {run.id}/{step.id} asks {call.name} for {_short(call.args)}\n"
                    f"and recorded is the same request as step {run.id}/{other.id} of {record.tool}, which nothing has asked for: "
                    "it seems to be renamed or moved, and would be performed twice",
                )
                return False
        return True

    def attempt(self, run: Run, step: Step, *, unwritten: bool) -> None:
        """Make an attempt as soon as there is a slot for it; ``unwritten``: with an intent of its own."""
        step.unwritten = unwritten
        needs = self._needs(step)
        if needs and not self.slots.take((run.number, step.id), needs):
            if step.phase != Step.RESTING:
                run.open += 1
            step.phase, step.due = Step.QUEUED, None
        else:
            self._let_in(run, step)

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

    def _let_in(self, run: Run, step: Step) -> None:
        policy = step.policy
        if (
            step.ambiguous
            and policy.effect is Effect.IDEMPOTENT
            and self.desk.now >= step.sent + policy.key_ttl
            and not step.granted
        ):
            self._leave_slots((run.number, step.id))
            self._doubt(run, step, Ended.AMBIGUOUS, EXPIRED)  # its key was not honoured for as long as it has waited
            self.lifecycle.rest(run)
        elif step.unwritten:
            self.intend(run, step)
        else:
            self.perform(run, step)

    def _leave_slots(self, place: tuple[int, str]) -> None:
        """No code of this step runs, or is about to: others are let in."""
        if not self.slots:
            return
        waiting = self.slots.leave(place)
        while waiting:
            run_number, id = waiting.pop(0)
            run = self.lifecycle.residents.get(run_number)
            step = None if run is None else run.steps.get(id)
            if run is not None and step is not None and step.phase == Step.QUEUED and not self.desk.stopping:
                self._let_in(run, step)
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
            key=self._key(run, step),
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
        self._send(self._start_attempt(run, step))

    def _send(self, command: Perform | Probe) -> None:
        place = (command.run, command.step)
        if place in self.running:
            self._behind[place] = command
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
        return Perform(run.number, run.id, step.id, step.attempts, self._key(run, step), call.body)

    def released(self, command: Perform) -> None:
        """A gated attempt may be sent now, if it is still wanted."""
        run = self.lifecycle.residents.get(command.run)
        step = None if run is None else run.steps.get(command.step)
        if run is None or step is None or step.phase != Step.INTENT or step.attempts != command.attempt:
            self._leave_slots((command.run, command.step))
            if (command.run, command.step) in self._left:
                self._left.discard((command.run, command.step))
                never = AttemptEnded(self.desk.now, command.run, command.step, command.attempt, Ended.NOT_SENT, None, NEVER_SENT)
                self.lifecycle.errand(Evidence(command.run, never))
            return
        if self.desk.stopping:
            self._attempted(run, step, Ended.NOT_SENT, Next.PERFORM, STOPPED)
            return
        step.phase = Step.PERFORMING
        step.began = self.desk.now
        if step.attempts == 1:
            step.sent = self.desk.now
        self._send(command)

    def _key(self, run: Run, step: Step) -> str:
        assert step.call is not None
        if step.recorded is not None and step.recorded.key is not None:
            return step.recorded.key
        if step.call.key is not None:
            return step.call.key
        if step.key is None:
            step.key = self.desk.keys.key(run.id, f"{step.id}@{run.generation}" if step.renewed else step.id)
        return step.key

    def cancelled(self, run: Run, id: str) -> None:
        """The handler does not wait for a step any more (or, for an effect, waits only for its outcome)."""
        step = run.steps.get(id)
        if step is None or step.call is None or step.phase in (Step.DONE, Step.ABANDONED):
            return
        step.cancelled = True
        if step.call.kind != "tool":
            step.phase = Step.ABANDONED
            self.mail.abandon(run, step.call)
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
            self._leave_slots((run.number, step.id))
        if opened:
            self._close(run, step)
        if step in run.fresh:
            run.fresh.remove(step)
        self._outcome(run, step, None, WITHDRAWN, note=None)

    def _abandon(self, run: Run, step: Step) -> None:
        if step.phase == Step.QUEUED:
            self._leave_slots((run.number, step.id))
        if step.phase in (Step.PERFORMING, Step.RESTING, Step.QUEUED):
            self._close(run, step)
            if step.busy:
                self.desk.say(CancelAttempt(run.number, step.id))
        step.phase, step.due = Step.ABANDONED, None

    @staticmethod
    def _close(run: Run, step: Step) -> None:
        """Nothing works on it any more, or will after a rest."""
        if step.phase == Step.RESTING and step.due is not None:
            run.resting -= 1
        else:
            run.open -= 1

    # --- an attempt ended -----------------------------------------------------------------------------------------

    def ended(self, fact: AttemptEnded) -> None:
        run = self.lifecycle.residents.get(fact.run)
        step = None if run is None else run.steps.get(fact.step)
        behind, left = None, False
        if fact.ended is not Ended.OVERDUE:
            place = (fact.run, fact.step)
            self.running.discard(place)
            if self._left and place in self._left:
                self._left.discard(place)
                left = fact.ended in (Ended.SUCCEEDED, Ended.FAILED, Ended.NOT_SENT)
            behind = self._behind.pop(place, None)
            if step is None or not (
                step.busy and (step.phase == Step.INTENT or (behind is not None and step.phase == Step.PERFORMING))
            ):
                self._leave_slots(place)  # no other attempt at it is about to begin
        if run is None or step is None or step.call is None:
            if left:
                self.lifecycle.errand(Evidence(fact.run, fact))
            return
        if behind is not None:
            if step.phase == Step.PERFORMING:
                self._after_another(run, step, behind, fact)
            return
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
        if step.phase == Step.RESTING and not step.busy:
            if fact.ended is Ended.SUCCEEDED:  # it is evidence
                if step.due is not None:  # of an earlier start, while the time has not come to ask the probe
                    run.resting -= 1
                    run.open += 1
                self._decide(run, step, fact.ended, fact.result, fact.error)
                return
            if step.granted:
                self.attempt(run, step, unwritten=True)
                return
        if step.phase not in (Step.PERFORMING, Step.DOUBT):  # abandoned, or settled meanwhile
            if run.doubts and not run.replaying:
                self.lifecycle.rest(run)  # perhaps it was this that kept it from being parked
            self.lifecycle.put_away_the_longest_idle()
            return
        if self.desk.stopping and fact.ended is Ended.NOT_SENT and not step.cancelled:
            if step.phase == Step.DOUBT:
                self._leave_doubt(run, step)
            self._attempted(run, step, Ended.NOT_SENT, Next.PERFORM, fact.error)  # the next life sends it
            step.phase = Step.RESTING
            return
        self._decide(run, step, fact.ended, fact.result, fact.error, fact.retryable)
        if step.is_left_alone():
            self.lifecycle.rest(run)

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
            self._settled(run, step)
        if fact.ended is Ended.NOT_SENT:
            tool, effect = _recorded(step)
            note = _traced(step, {"ended": fact.ended.value, "next": Next.PERFORM.value, "due": None})
            attempt = step.attempts
            self.lifecycle.record(run, r.ATTEMPTED, step.id, tool=tool, effect=effect, attempt=attempt, note=note, error=fact.error)
        else:
            self._outcome(run, step, fact.result, fact.error, note={"late": True})
        return True

    def _after_another(self, run: Run, step: Step, command: Perform | Probe, fact: AttemptEnded) -> None:
        """The code that was in the way of this attempt has ended."""
        step.busy = False
        if fact.ended is Ended.SUCCEEDED and step.policy.effect is not Effect.READ:
            self._leave_slots((run.number, step.id))
            self._decide(run, step, fact.ended, fact.result, fact.error)  # it is evidence
        elif step.cancelled and not step.ambiguous:
            self._leave_slots((run.number, step.id))
            self._decide(run, step, Ended.NOT_SENT, None, WITHDRAWN)
        else:
            step.busy = True
            self._send(command)

    def _decide(
        self, run: Run, step: Step, ended: Ended, result: str | None, error: dict[str, Any] | None, retryable: bool = False
    ) -> None:
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
            self._doubt(run, step, ended, error)
            return
        if step.phase == Step.DOUBT:
            self._leave_doubt(run, step)
        if following is Next.RECORD:
            run.open -= 1
            if ended is Ended.NOT_DONE:
                error = {
                    "type": "NotDone",
                    "message": "its probe says that it did not happen, and its attempts are used up",
                    "data": None,
                }
            self._outcome(run, step, result, error, note=None)
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
            note=_traced(step, {"ended": ended.value, "next": following.value, "due": due}),
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
            self.settle(run, self.overdue(run, step))
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
            self._send(Probe(run.number, run.id, step.id, step.attempts, self._key(run, step), call.body))

    def overdue(self, run: Run, step: Step) -> Settled:
        """Nobody has settled it within ``in_doubt_after``."""
        assert step.due is not None
        how = step.due[1]
        text = "in doubt for longer than in_doubt_after" if how == "fail" else None
        return Settled(self.desk.now, run.number, step.id, how, text, "in_doubt_after")

    def _perform_again(self, run: Run, step: Step) -> None:
        effect = step.policy.effect
        # These classes, and after a doubt: a crash after this attempt must find that it was begun.
        written = effect in (Effect.READ, Effect.IDEMPOTENT, Effect.TRANSACTIONAL) and not (
            step.granted and effect is not Effect.READ
        )
        self.attempt(run, step, unwritten=not written)

    def _outcome(
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
        tool, effect = _recorded(step)
        if call is not None:
            tool, effect = call.name, call.policy.effect if call.kind == "tool" else None
        record = self.lifecycle.record(
            run,
            r.RESULTED,
            step.id,
            tool=tool,
            effect=effect,
            attempt=step.attempts,
            key=call.key if call is not None and call.kind == "ask" else None,
            note=_traced(step, note),
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

    def answered(self, run: Run, call: StepCall, result: str | None, error: dict[str, Any] | None) -> None:
        """The outcome of an ask."""
        step = run.steps[call.step]
        self._outcome(run, step, result, error, note=None)

    # --- doubt ----------------------------------------------------------------------------------------------------

    def _doubt(self, run: Run, step: Step, ended: Ended, error: dict[str, Any] | None) -> None:
        """Nobody here can know whether it happened: hold, and say so."""
        call = step.call
        assert call is not None
        if step.phase == Step.DOUBT:
            return  # it was overdue, and its end tells no more
        policy = step.policy
        if step.phase in (Step.PERFORMING, Step.RESTING, Step.QUEUED):
            self._close(run, step)
        step.phase = Step.DOUBT
        step.due = None
        run.doubts += 1
        if ended in (Ended.UNKNOWN, Ended.UNANSWERED):
            error = _with_the_probe(step.evidence, error, step.probes)
        settle_at = None
        if policy.in_doubt_after is not None and policy.in_doubt != "hold":
            settle_at = self.desk.now + policy.in_doubt_after
            step.due = (settle_at, policy.in_doubt)
            self.lifecycle.watch(run, settle_at)
        record = self.lifecycle.record(
            run,
            r.DOUBTED,
            step.id,
            tool=call.name,
            effect=policy.effect,
            attempt=step.attempts,
            note=_traced(step, {"ended": ended.value, "settle_at": settle_at, "settle": policy.in_doubt}),
            error=error,
        )
        args = call.args
        row = DoubtRow(
            run.number,
            step.id,
            run.partition,
            run.spec.name,
            run.key,
            call.name,
            policy.effect.value,
            self._key(run, step),
            step.attempts,
            step.sent,
            self.desk.now,
            settle_at,
            JSON,
            args,
            record.error,
        )
        self.desk.commit.put(DOUBTS, row)
        self.intake.doubt(run, row, error)

    def _leave_doubt(self, run: Run, step: Step) -> None:
        """Evidence has come: it is as if it had never been in doubt."""
        self.desk.commit.delete(DOUBTS, (run.number, step.id))
        run.doubts -= 1
        run.open += 1
        step.phase = Step.PERFORMING
        step.due = None
        self.lifecycle.stir(run)

    def settle(self, run: Run, fact: Settled) -> str | None:
        """Somebody knows, or decides. Returns why it cannot be, or None."""
        step = run.steps.get(fact.step)
        mends = step is not None and step.given and run.status == r.DIVERGED and fact.how != "retry"
        if step is None or (step.phase != Step.DOUBT and not mends):
            return f"step {run.id}/{fact.step} is not in doubt"
        note = {"settled": fact.how, "by": fact.by}
        if fact.how == "retry":
            self.lifecycle.record(run, r.SETTLED, step.id, attempt=step.attempts, note=note)
            step.granted, step.due = True, None
            self.desk.commit.delete(DOUBTS, (run.number, step.id))
            if step.call is None:
                self._settled(run, step)  # it is performed when the handler asks for it
            elif not step.busy:
                self._perform_again_after_doubt(run, step)
            else:
                self._settled(run, step)
                step.phase, step.ambiguous = Step.RESTING, True  # until the code of the overdue attempt has ended
                run.open += 1
                self.lifecycle.stir(run)
            return None
        if not mends:
            self._settled(run, step)
        error = None if fact.how == "result" else {"type": "Denied", "message": fact.value or "", "data": None}
        self._outcome(run, step, fact.value if fact.how == "result" else None, error, note=note)
        return None

    def _settled(self, run: Run, step: Step) -> None:
        self.desk.commit.delete(DOUBTS, (run.number, step.id))
        if step.call is not None:
            run.doubts -= 1
        step.due = None
        step.phase = Step.INTENT

    def _perform_again_after_doubt(self, run: Run, step: Step) -> None:
        self._settled(run, step)
        self.lifecycle.stir(run)
        self.attempt(run, step, unwritten=True)

    # --- the record -----------------------------------------------------------------------------------------------

    def recall(self, run: Run, record: RecordRow, current: bool) -> None:
        """Rebuild what a record of this or an earlier generation says of its step."""
        assert record.step is not None
        kind = record.kind
        step = run.steps.get(record.step)
        if step is None:
            if kind not in (r.INTENDED, r.ATTEMPTED, r.RESULTED, r.RECEIVED) or (kind == r.ATTEMPTED and not current):
                return  # a note tells nothing, and what a READ of an earlier generation went through neither
            step = run.steps[record.step] = Step(record.step)
        if kind == r.INTENDED:
            if step.recorded is None or record.args is not None:
                step.recorded, step.sent = record, record.at
            step.phase, step.attempts, step.granted, step.due = Step.INTENT, record.attempt, False, None
            step.outcome = None
        elif kind == r.ATTEMPTED:
            note = r.json_decode(record.note or "{}")
            step.ambiguous = note["ended"] in ("ambiguous", "lost") or (step.ambiguous and note["ended"] != "not_done")
            again = note["next"] == Next.PERFORM.value
            if note["ended"] == Ended.UNANSWERED.value:
                step.probes += 1
            else:
                step.probes = 0
                step.evidence = None if record.error is None else r.json_decode(record.error)
            step.attempts = record.attempt + (1 if again and record.effect != Effect.AT_MOST_ONCE.value else 0)
            # AT_MOST_ONCE: an attempt after this one would have an intent of its own; there is none (yet).
            step.granted = again and record.effect == Effect.AT_MOST_ONCE.value
            step.phase = Step.CALLED if record.effect == Effect.READ.value else Step.INTENT  # if in doubt: evidence has come
            step.due = None if note.get("due") is None else (note["due"], note["next"])
            step.tries += note["ended"] not in USES_NONE_UP
        elif kind == r.DOUBTED:
            step.phase, step.ambiguous, step.attempts = Step.DOUBT, True, record.attempt
            note = r.json_decode(record.note or "{}")
            step.due = None if note.get("settle_at") is None else (note["settle_at"], note["settle"])
        elif kind == r.SETTLED:
            step.phase, step.granted, step.due = Step.INTENT, True, None
        elif kind in (r.RESULTED, r.RECEIVED):
            step.recorded = step.recorded or record
            step.phase, step.due, step.attempts, step.outcome = Step.DONE, None, record.attempt, None
            step.given = record.note is not None and '"settled"' in record.note
            if current:
                return
            if record.error is None or step.given:
                step.outcome = record
            elif step.recorded.kind == r.INTENDED and record.effect is not None:
                step.phase, step.ambiguous, step.granted = Step.CALLED, False, False  # what a retry tries again: the same request
            else:
                del run.steps[record.step]

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
        rests = step.due is not None and step.due[0] > self.desk.now
        if (step.granted or rests) and step.cancelled and not step.ambiguous:
            self.withdraw(run, step, opened=False)
            return
        if self._rests_on(run, step):
            return
        if step.granted:
            self.attempt(run, step, unwritten=True)
            return
        run.open += 1
        step.phase = Step.PERFORMING
        self._decide(run, step, Ended.LOST, None, LOST)

    def _rests_on(self, run: Run, step: Step) -> bool:
        """It was put to rest, and is known not to have been begun again: each attempt of its class has an intent of its own, or the
        rest ends in this life."""
        if step.due is None:
            return False
        due = step.due[0]
        if due <= self.lifecycle.opened and step.policy.effect is not Effect.VERIFIED:
            step.due = None
            return False
        step.phase = Step.RESTING
        run.resting += 1
        if due <= self.desk.now:
            self.due(run, step)
        else:
            self.lifecycle.watch(run, due)
        return True

    def forgotten(self, run: Run) -> str | None:
        """A recorded effect (of this generation or an earlier one) that the handler never asked for."""
        for step in run.steps.values():
            if step.call is None and step.phase != Step.CALLED and step.recorded is not None and step.recorded.kind == r.INTENDED:
                return f"{run.id}/{step.id}"
        return None


def _recorded(step: Step) -> tuple[str | None, Effect | None]:
    """Tool and class of a step that (this start of) the handler has not asked for."""
    record = step.recorded
    if record is None:
        return None, None
    return record.tool, None if record.effect is None else Effect(record.effect)


def _traced(step: Step, note: dict[str, Any] | None) -> dict[str, Any] | None:
    """The note, and where the code raised."""
    if step.trace is None:
        return note
    trace, step.trace = step.trace, None
    return {**(note or {}), "traceback": trace}


def _with_the_probe(attempt: dict[str, Any] | None, probe: dict[str, Any] | None, probes: int) -> dict[str, Any]:
    """The evidence of a step whose probe could not tell: how its attempt had ended, and what the probe said."""
    said = "its probe cannot tell"
    if probe is not None:
        often = f" {probes} times, at last" if probes > 1 else ""
        said = f"its probe failed{often} with {probe['type']}: {probe['message']}"
    if attempt is None:
        return {"type": "Unknown", "message": said, "data": None}
    return {**attempt, "message": f"{attempt['message']}; {said}"}


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"
