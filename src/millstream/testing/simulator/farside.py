"""The far side of every tool: the world that effects change. It survives every crash, and it remembers all that was done to it.

Each class of effect keeps here what its author promises: IDEMPOTENT keys are honoured for ``key_ttl``, a TRANSACTIONAL act and its
key row are one, the probe of VERIFIED is honest. AT_MOST_ONCE promises nothing: each act is an act.
"""

from __future__ import annotations

import msgspec

from millstream.core.effects import Effect
from millstream.core.graph import ToolSpec
from millstream.core.runs import dump
from millstream.testing.simulator.violation import Violation


class Request(msgspec.Struct):
    """One attempt at a step, as the far side is asked."""

    run: int
    place: str  # the step's id: run and identity
    attempt: int
    key: str
    tool: ToolSpec
    arguments: str
    sent: int  # us
    life: int

    @property
    def effect(self) -> Effect:
        return self.tool.policy.effect


class Act(msgspec.Struct, frozen=True):
    """Something that the far side did."""

    request: Request
    at: int
    result: str


class Step(msgspec.Struct):
    """What the far side knows of one step."""

    key: str
    arguments: str
    first_sent: int
    requests: int = 0
    acts: list[Act] = msgspec.field(default_factory=list)  # those that changed the world: not what a key made harmless


class FarSide:
    """See the module. ``late`` are requests that left the process and have not arrived: they act later, or never."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.late: list[Request] = []
        self.counted = 0  # acts
        self.honoured = 0  # requests that a key made harmless
        self._by_key: dict[str, Act] = {}  # the last act under each key

    def asked(self, request: Request) -> None:
        """An attempt begins: it must be the same request as the one before.

        Raises:
            Violation: same-request.
        """
        step = self.steps.get(request.place)
        if step is None:
            step = self.steps[request.place] = Step(request.key, request.arguments, request.sent)
        elif request.effect is not Effect.READ and (step.key != request.key) != (step.arguments != request.arguments):
            raise Violation(
                "same-request", f"{request.place} was {step.key} {step.arguments}, and is {request.key} {request.arguments}"
            )
        elif step.key != request.key:  # it failed, and a retry of its run asks for something else
            step.key, step.arguments, step.first_sent = request.key, request.arguments, request.sent
        step.requests += 1

    def act(self, request: Request, at: int) -> str:
        """Do it; gives the result, as the tool's codec writes it."""
        known = self._by_key.get(request.key)
        effect = request.effect
        if known is not None and effect is Effect.TRANSACTIONAL:
            self.honoured += 1
            return known.result
        if known is not None and effect is Effect.IDEMPOTENT and at < known.at + request.tool.policy.key_ttl:
            self.honoured += 1
            return known.result
        self.counted += 1
        act = Act(request, at, dump({"ref": self.counted}))
        self.steps[request.place].acts.append(act)
        self._by_key[request.key] = act
        return act.result

    def done(self, key: str) -> str | None:
        """The result of what was done under this key; None: nothing."""
        act = self._by_key.get(key)
        return None if act is None else act.result

    def may_still_act(self, place: str) -> bool:
        """Is a request of this step on its way?"""
        return any(request.place == place for request in self.late)

    def acts(self) -> list[tuple[str, list[Act]]]:
        """Of every step that changed the world."""
        return [(place, step.acts) for place, step in self.steps.items() if step.acts]
