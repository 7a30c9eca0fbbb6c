"""Steps in doubt: an effect was started, its outcome is unknown, and it is never guessed at.

A step in doubt holds its run until somebody settles it, or ``in_doubt_after`` does. A late result is evidence, and settles it too.
Whatever settles it is recorded: a retry of the run never asks or performs again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.core import runs as r
from millstream.core.attempts import Attempts
from millstream.core.desk import Desk
from millstream.core.effects import Ended
from millstream.core.facts import Settled
from millstream.core.runs import Run, Step
from millstream.core.tables import DOUBTS, JSON, DoubtRow

if TYPE_CHECKING:
    from millstream.core.intake import Intake
    from millstream.core.lifecycle import Lifecycle
    from millstream.core.steps import Steps


class Doubts:
    """See the module."""

    def __init__(self, desk: Desk, lifecycle: Lifecycle, attempts: Attempts, steps: Steps) -> None:
        self.desk = desk
        self.lifecycle = lifecycle
        self.attempts = attempts
        self.steps = steps
        self.intake: Intake  # set by the machine

    def enter(self, run: Run, step: Step, ended: Ended, error: dict[str, Any] | None) -> None:
        """Nobody here can know whether it happened: hold, and say so."""
        call = step.call
        assert call is not None
        if step.phase == Step.DOUBT:
            return  # it was overdue, and its end tells no more
        policy = step.policy
        if step.phase in (Step.PERFORMING, Step.RESTING, Step.QUEUED):
            step.close(run)
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
            note=step.traced({"ended": ended.value, "settle_at": settle_at, "settle": policy.in_doubt}),
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
            self.attempts.key(run, step),
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

    def leave(self, run: Run, step: Step) -> None:
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
                self.settled(run, step)  # it is performed when the handler asks for it
            elif not step.busy:
                self._perform_again(run, step)
            else:
                self.settled(run, step)
                step.phase, step.ambiguous = Step.RESTING, True  # until the code of the overdue attempt has ended
                run.open += 1
                self.lifecycle.stir(run)
            return None
        if not mends:
            self.settled(run, step)
        error = None if fact.how == "result" else {"type": "Denied", "message": fact.value or "", "data": None}
        self.steps.outcome(run, step, fact.value if fact.how == "result" else None, error, note=note)
        return None

    def settled(self, run: Run, step: Step) -> None:
        self.desk.commit.delete(DOUBTS, (run.number, step.id))
        if step.call is not None:
            run.doubts -= 1
        step.due = None
        step.phase = Step.INTENT

    def _perform_again(self, run: Run, step: Step) -> None:
        self.settled(run, step)
        self.lifecycle.stir(run)
        self.attempts.attempt(run, step, unwritten=True)

    def overdue(self, run: Run, step: Step) -> Settled:
        """Nobody has settled it within ``in_doubt_after``."""
        assert step.due is not None
        how = step.due[1]
        text = "in doubt for longer than in_doubt_after" if how == "fail" else None
        return Settled(self.desk.now, run.number, step.id, how, text, "in_doubt_after")


def _with_the_probe(attempt: dict[str, Any] | None, probe: dict[str, Any] | None, probes: int) -> dict[str, Any]:
    """The evidence of a step whose probe could not tell: how its attempt had ended, and what the probe said."""
    said = "its probe cannot tell"
    if probe is not None:
        often = f" {probes} times, at last" if probes > 1 else ""
        said = f"its probe failed{often} with {probe['type']}: {probe['message']}"
    if attempt is None:
        return {"type": "Unknown", "message": said, "data": None}
    return {**attempt, "message": f"{attempt['message']}; {said}"}
