"""What a tool and a probe see of their call, and what a probe may answer. Public, from ``millstream``."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

R = TypeVar("R")


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """The call that a tool's body runs for; asked for with ``call: ToolCall = INJECTED``."""

    idempotency_key: str
    """Stable across crashes and attempts; never used for another step. (A READ may have another one after a crash if its run was
    not durable yet.)"""
    attempt: int
    """From 1."""
    run_id: str
    """The run's public id: ``42-1-17``."""
    step_id: str
    """The step's public id, as ``millstream doubts`` prints it: ``42-1-17/charge``."""
    resources: Any = None
    """What the app's ``lifespan`` yielded."""


class Done(Generic[R]):
    """A probe's answer: it happened.

    Args:
        result: what the tool would have returned; the step's result.
    """

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        self.result = result

    def __repr__(self) -> str:
        return f"Done({self.result!r})"


class NotDone:
    """A probe's answer: it did not happen, and no earlier attempt can take effect any more."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NotDone()"


class Unknown:
    """A probe's answer: it cannot tell. The step is in doubt."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Unknown()"


INJECTED: Any = type("Injected", (), {"__repr__": lambda self: "INJECTED", "__slots__": ()})()
"""Default of a parameter that Millstream fills in: ``call: ToolCall = INJECTED``, ``conn: Connection = INJECTED``."""
