"""What the record says of a step."""

from __future__ import annotations

from typing import Any

import pytest

from millstream import App, Context, jsonl
from millstream.core.matching import recall
from millstream.core.runs import ATTEMPTED, INTENDED, QUEUED, Run, dump
from millstream.core.tables import JSON, EventRow, RecordRow, RunRow


def run() -> Run:
    app = App("shop")

    @app.agent(on=app.source("in", jsonl("in.jsonl"), key="k"), name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None: ...

    event = EventRow(1, 0, "in", "k", "1", 0, 0, None, None, None, JSON, "{}")
    row = RunRow(2, 0, "a", "k", 1, 2, QUEUED, 0, 0, None, None, None, None, None, "", 0, None)
    return Run.of(row, event, app.graph().agents["a"])


def record(number: int, kind: str, attempt: int, note: dict[str, Any] | None = None) -> RecordRow:
    said = None if note is None else dump(note)
    return RecordRow(number, 0, 2, 0, number, kind, "pay", "pay", "idempotent", attempt, "key", said, JSON, "[[],{}]", None, None)


@pytest.mark.parametrize(("due", "tries"), [(None, 0), (7, 1)], ids=["a stop", "the far side was not reached"])
def test_what_a_stop_has_kept_from_being_sent_is_no_try(due: int | None, tries: int) -> None:
    told = run()
    records = [record(3, INTENDED, 1), record(4, ATTEMPTED, 1, {"ended": "not_sent", "next": "perform", "due": due})]
    for one in records:
        recall(told, one, True, records[0])
    step = told.steps["pay"]
    assert (step.tries, step.attempts, step.granted, step.ambiguous) == (tries, 1, True, False)
