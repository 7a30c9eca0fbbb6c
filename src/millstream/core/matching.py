"""What the record says of a run's steps, and whether what the handler of today asks for agrees with it.

* A recorded READ is matched by identity alone: the record wins. Any other step's arguments must agree with the record.
* A recorded effect that is not asked for by the time the handler returns is a divergence; so is one that seems to be asked for
  under another identity or by another name, and that before it is performed a second time.

Functions of a run and its record, which change nothing but the run's steps.
"""

from __future__ import annotations

from collections.abc import Container

from millstream.core import runs as r
from millstream.core.effects import Effect, Ended, Next, intends
from millstream.core.facts import StepCall
from millstream.core.runs import Run, Step
from millstream.core.tables import RecordRow

USES_NONE_UP = (Ended.LOST.value, Ended.NOT_DONE.value, Ended.UNANSWERED.value)  # a crash, and the ends of probes: no attempt's


def recall(run: Run, record: RecordRow, current: bool, last: RecordRow | None) -> None:
    """Rebuild what a record of this or an earlier generation says of its step; ``last``: the last intent of the whole record."""
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
        # If an attempt after this one would have an intent of its own, there is none (yet).
        step.granted = again and intends(Effect(record.effect), step.ambiguous)
        step.attempts = record.attempt + (1 if again and not step.granted else 0)
        step.phase = Step.CALLED if record.effect == Effect.READ.value else Step.INTENT  # if in doubt: evidence has come
        step.due = None if note.get("due") is None or not current else (note["due"], note["next"])
        if note.get("due") is not None:  # else a stop has kept it from being sent: that is no try
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
        # What was done after a failure was done because of it, perhaps (to undo something): it stands, and is handed over again.
        stands = last is not None and last.record > record.record and last.step != record.step
        handed_again = record.note is not None and '"first"' in record.note
        if record.error is None or step.given or stands or handed_again:
            step.outcome = record
        elif step.recorded.kind == r.INTENDED and record.effect is not None:
            # What a retry tries again: the same request, and as often as the first time.
            step.phase, step.ambiguous, step.granted, step.tries = Step.CALLED, False, False, 0
        else:
            del run.steps[record.step]


def differs(run: Run, step: Step, call: StepCall) -> str | None:
    """How what is asked for differs from what is recorded of this step, if that matters."""
    recorded = step.recorded
    if recorded is None or recorded.args is None or call.kind == "receive" or is_same(call, recorded):
        return None
    if recorded.effect == Effect.READ.value and call.policy.effect is Effect.READ:
        return None
    return (
        f"step {run.id}/{step.id} is recorded with the arguments {_short(recorded.args)}\n"
        f"and the handler now asks for it with           {_short(call.args)}"
    )


def is_same(call: StepCall, recorded: RecordRow) -> bool:
    """The same request?"""
    return recorded.args == call.args and (call.kind != "ask" or recorded.key == call.key)


def twin(run: Run, step: Step, call: StepCall, tools: Container[str]) -> str | None:
    """Which recorded effect this new one seems to be, moved or by another name. It would be performed a second time, before anybody
    could see that the first one was never asked for.

    Args:
        tools: those of the graph. Steps that a handler makes with ``ctx.step`` are in none: of these nobody can tell.
    """
    run.recalled = False
    for other in run.steps.values():
        record = other.recorded
        if other.call is not None or record is None or record.kind != r.INTENDED or record.effect is None:
            continue
        run.recalled = True
        renamed = record.tool not in tools and call.name in tools
        if record.args == call.args and (record.tool == call.name or renamed):
            return (
                f"step {run.id}/{step.id} asks {call.name} for {_short(call.args)}\n"
                f"and recorded is the same request as step {run.id}/{other.id} of {record.tool}, which nothing has asked for: "
                "it seems to be renamed or moved, and would be performed twice"
            )
    return None


def forgotten(run: Run) -> RecordRow | None:
    """A recorded effect (of this generation or an earlier one) that the handler never asked for."""
    for step in run.steps.values():
        if step.call is None and step.phase != Step.CALLED and step.recorded is not None and step.recorded.kind == r.INTENDED:
            return step.recorded
    return None


def compensations(run: Run) -> list[str]:
    """The effects by which the handler has cleaned up after its cancellation."""
    cancelled = next((record.record for record in run.order if record.kind == r.CANCEL), None)
    if cancelled is None:
        return []
    effects = [step.recorded for step in run.steps.values() if step.recorded is not None and step.recorded.kind == r.INTENDED]
    return [f"{record.step}" for record in effects if record.record > cancelled]


def tool_of(step: Step) -> tuple[str | None, Effect | None]:
    """Tool and class of a step that (this start of) the handler has not asked for."""
    record = step.recorded
    if record is None:
        return None, None
    return record.tool, None if record.effect is None else Effect(record.effect)


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"
