"""Lines: how much of one is in memory."""

from __future__ import annotations

from millstream import App, Context, jsonl
from millstream.core.desk import Desk, Limits
from millstream.core.facts import LineContinued
from millstream.core.lines import Instance, Lines
from millstream.core.tables import RunRow


def lines(limits: Limits) -> Lines:
    app = App("shop")

    @app.agent(on=app.source("in", jsonl("in.jsonl"), key="k"), name="a")
    async def handler(ctx: Context[dict[str, int]], event: dict[str, int]) -> None: ...

    return Lines(Desk(app.graph(), limits))


def run(turn: int) -> RunRow:
    return RunRow(turn, 0, "a", "k", turn, turn, "queued", 0, 0, None, None, None, None, None, "", 0, None)


def test_when_many_come_while_the_rest_of_a_line_is_read_only_the_first_of_them_are_kept() -> None:
    found = lines(Limits(line=4, running=0))
    instance = found.instances["a", "k"] = Instance(found.desk.graph.agents["a"], "k", 0)
    for turn in range(3, 100):
        found.moved(run(turn))  # released runs that were woken
    found.continued(LineContinued(0, "a", "k", [run(1), run(2)], False, {}))
    assert [queued.row.turn for queued in instance.line] == list(range(1, 9))
    assert instance.more, "the others are found in the store"
