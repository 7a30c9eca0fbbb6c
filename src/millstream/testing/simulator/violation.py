"""A broken invariant."""

from __future__ import annotations

INVARIANTS = {
    "intent-before-effect": "the far side is asked for an effect only when the intent, and all before it, is durable",
    "effect-class": "the far side saw what the class of the effect promises, and what it saw is on record",
    "same-request": "every attempt at a step is the same request: one key, one set of arguments",
    "one-attempt": "no code of a step runs beside other code of the same step",
    "decided-once": "a definite outcome is never performed again, and every replay sees the one that was recorded",
    "accounted": "every accepted event is handled once by each agent that listens, and ends in one outcome",
    "replay-equals-live": "after the same observations a handler asks for the same and holds the same state, in every life",
    "recorded-order": "what a run was handed is what is recorded, in that order",
    "one-run-per-key": "no two handlers of one (agent, key) live at a time",
    "arrival-order": "the events of a key begin to be handled in the order in which they came",
    "no-lost-update": "each change of a key's state extends the one before",
    "emitted-once": "what a run emits leaves once, when it is durable that the run is done, and a sink holds it in order",
    "signalled-once": "a signal that was answered for waits or was received once, and a signal's id is accepted once",
    "answered-once": "an ask is answered by the outcome of the run that it made",
    "deaths-counted": "after an unclean death a run starts only when it is durable that it runs, or the next death would not count",
    "durable-answer": "nobody outside is told of what is not durable",
    "progress": "when the faults stop, everything ends that does not wait for somebody",
    "waits-rightly": "when nothing moves, no run waits for what is there",
    "store": "the store's tables agree with each other after every crash",
    "bounded": "no more attempts run at once than a tool's max_concurrency and the threads allow, slots are given back, and "
    "waiting handlers keep no more bytes in memory than they may",
    "counts": "what the core counts is what there is",
    "no-exception": "nothing is raised",
}


class Violation(AssertionError):
    """An invariant does not hold.

    Attributes:
        invariant: its name, one of ``INVARIANTS``.
        text: what was found.
    """

    def __init__(self, invariant: str, text: str) -> None:
        assert invariant in INVARIANTS, invariant
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


class Failed(AssertionError):
    """A world broke an invariant; the message holds all that is needed to look for the cause.

    Attributes:
        seed: of the world.
        violation: which invariant, and how.
    """

    def __init__(self, seed: int, violation: Violation, events: list[str]) -> None:
        command = f"python -m millstream.testing.simulator --seed {seed} --trace"
        last = "\n".join(f"    {event}" for event in events)
        super().__init__(
            f"seed {seed} broke {violation.invariant} ({INVARIANTS[violation.invariant]}):\n{violation.text}\n"
            f"replay it: {command}\nthe last {len(events)} events (step, life, time, what):\n{last}"
        )
        self.seed = seed
        self.violation = violation
