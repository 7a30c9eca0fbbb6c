"""The machine: time, and what it leads to."""

from __future__ import annotations

from typing import Any

import pytest

from millstream import App
from millstream.core.facts import Due
from millstream.core.lifecycle import Lifecycle
from millstream.core.machine import Machine


def test_an_alarm_that_is_set_for_now_because_one_rang_waits_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that stops does nothing of what is due: what rests looks at the time again, and again."""
    rang: list[int] = []

    def due(self: Lifecycle, number: int, stored: bool) -> None:
        rang.append(number)
        assert len(rang) < 100, "there is no end of it"
        self.desk.alarm(self.desk.now, "look", number)

    monkeypatch.setattr(Lifecycle, "due", due)
    machine: Any = Machine(App("shop").graph())
    machine.desk.alarm(5, "look", 1)
    machine.handle([Due(7)])
    assert rang == [1]
    machine.handle([Due(8)])
    assert rang == [1, 1]
