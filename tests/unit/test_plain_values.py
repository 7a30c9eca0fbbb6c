"""Streams without a declared type hold plain JSON: what that cannot hold becomes a dead letter, and never something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from millstream import App, Context, jsonl
from millstream.testing import AppRun


@dataclass
class Order:
    k: str
    cents: int


BAD: list[tuple[Any, str]] = [
    (float("nan"), "ValueError: $['v'] is nan: JSON has no such number"),
    (float("-inf"), "ValueError: $['v'] is -inf: JSON has no such number"),
    ({1, 2}, "TypeError: $['v'] is {1, 2} (set), which would come back from JSON as [1, 2] (list)"),
    (datetime(2026, 1, 2, tzinfo=UTC), "TypeError: $['v'] is datetime.datetime(2026"),
    ({1: "a"}, "TypeError: $['v'] would come back without its key 1 (int)"),
    (Order("a", 1), "TypeError: $['v'] is Order(k='a', cents=1) (Order)"),
    (object, "TypeError: $['v'] is <class 'object'> (type), which JSON cannot hold"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=["nan", "infinity", "set", "datetime", "int-key", "dataclass", "class"])
def test_an_operator_s_value_that_json_cannot_hold_is_a_dead_letter_of_its_sink(bad: Any, reason: str) -> None:
    app = App("plain")
    source = app.source("in", jsonl("in.jsonl"), key="k")
    made = source.map(lambda value: {"v": bad if value["n"] == 1 else value["n"]}, name="made")
    made.sink(jsonl("out.jsonl"))
    with AppRun(app) as world:
        world.send(source, *({"k": "a", "n": n} for n in range(3)))
        world.settle()
        assert world.outputs(made) == [{"v": 0}, {"v": 2}]
        (letter,) = world.dead_letters()
        assert (letter.stream, letter.position) == ("made", 2)
        assert letter.error.startswith(f"stream made: cannot encode the value: {reason}")
        assert letter.data == repr({"v": bad})


def test_an_operator_s_value_that_json_cannot_hold_is_a_dead_letter_of_its_agent() -> None:
    app = App("plain")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source.map(lambda value: {"v": float("inf") if value["n"] == 1 else value["n"]}, name="made"))
    async def handle(ctx: Context[dict[str, Any]], value: dict[str, Any]) -> Any:
        return value["v"]

    with AppRun(app) as world:
        world.send(source, *({"k": "a", "n": n} for n in range(3)))
        world.settle()
        assert world.outputs(handle.output) == [0, 2]
        assert [letter.stream for letter in world.dead_letters()] == ["made"]


def test_what_is_never_written_may_be_anything() -> None:
    app = App("plain")
    source = app.source("in", jsonl("in.jsonl"), key="k")
    names = source.map(lambda value: {value["k"]}).filter(lambda names: "b" not in names).map(sorted, name="names")
    names.sink(jsonl("out.jsonl"))
    with AppRun(app) as world:
        world.send(source, {"k": "a"}, {"k": "b"})
        world.settle()
        assert world.outputs(names) == [["a"]]
        assert world.dead_letters() == []


def test_merged_streams_of_several_types_are_written_each_as_its_own_type_says() -> None:
    app = App("merged")
    orders = app.source("orders", jsonl("orders.jsonl"), key="k", type=Order)
    refunds = app.source("refunds", jsonl("refunds.jsonl"), key="k")
    doubled: Callable[[Order], Order] = lambda order: replace(order, cents=order.cents * 2)  # noqa: E731 - has no annotation
    numbers = refunds.map(lambda value: set(value["v"]), set[int], name="numbers")
    merged = orders.map(doubled, Order).merge(refunds, numbers, name="merged")
    merged.sink(jsonl("out.jsonl"))
    with AppRun(app) as world:
        world.send(orders, Order("a", 1))
        world.send(refunds, {"k": "a", "v": [2, 1, 2]}, {"k": "b", "v": ["x"]})
        world.settle()
        written = world.outputs(merged)
        assert len(written) == 4
        assert all(
            value in written for value in ({"cents": 2, "k": "a"}, {"k": "a", "v": [2, 1, 2]}, [1, 2], {"k": "b", "v": ["x"]})
        )
        assert {letter.stream for letter in world.dead_letters()} == {"numbers", "merged"}  # the test's own sink, and the app's
