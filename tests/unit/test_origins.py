"""The streams of what went wrong do not tell of themselves: nothing that handles them can go round for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millstream import App, Context, Effect, Stream, jsonl, tool
from millstream.core.origins import DOUBTS_STREAM, FAILURES_STREAM, LETTERS_STREAM, marked, own_streams
from millstream.testing import AppRun

Json = dict[str, Any]


async def fails(ctx: Context[Json], event: Json) -> None:
    raise ValueError(f"cannot handle {sorted(event)[0]}")


def failing() -> tuple[App, Stream[Json]]:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    app.agent(on=source, name="first")(fails)
    return app, source


def settled(app: App, source: Stream[Json], *values: Json) -> AppRun:
    with AppRun(app) as world:
        world.send(source, *values)
        world.settle()
        return world


def itself(value: Json) -> Json:
    return value


THROUGH: list[Callable[[Stream[Json]], Stream[Json]]] = [
    lambda stream: stream,
    lambda stream: stream.map(itself, dict),
    lambda stream: stream.filter(bool).flat_map(lambda value: [value, value], dict).key_by("agent"),
]


@pytest.mark.parametrize("through", THROUGH, ids=["directly", "map", "filter, flat_map, key_by"])
def test_an_agent_on_failures_does_not_handle_its_own_failure(through: Callable[[Stream[Json]], Stream[Json]]) -> None:
    app, source = failing()
    app.agent(on=through(app.failures), name="second")(fails)
    world = settled(app, source, {"k": "a"})
    assert [failure["agent"] for failure in world.outputs(app.failures)] == ["first"]
    assert {run.status for run in world.runs("second")} == {"failed"}
    assert all("cannot handle" in run.error["message"] for run in world.runs() if run.error)
    assert any("of second" in text for _, text in world.log)


def test_nor_that_of_an_agent_that_it_sends_emits_or_asks() -> None:
    app, source = failing()
    alerts = app.stream("alerts")
    app.agent(name="third")(fails)
    app.agent(on=alerts, name="fourth")(fails)

    @app.agent(on=app.failures)
    async def second(ctx: Context[Json], failure: Json) -> Json:
        ctx.send("third", ctx.key, failure)
        ctx.emit(alerts, failure)
        try:
            await ctx.ask("third", "other", failure)
        except Exception:
            return {"again": True}
        return {}

    app.agent(on=second.output, name="fifth")(fails)
    world = settled(app, source, {"k": "a"})
    assert [failure["agent"] for failure in world.outputs(app.failures)] == ["first"]
    assert [len(world.runs(name)) for name in ("second", "third", "fourth", "fifth")] == [1, 2, 1, 1]


@tool(effect=Effect.AT_MOST_ONCE)
async def call(number: int) -> None:
    raise TimeoutError("no answer")


def test_doubts_and_failures_do_not_feed_each_other() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    app.agent(on=source, name="first", on_doubt="park")(calls)
    app.agent(on=app.doubts, name="on_doubts", on_doubt="park")(calls)
    app.agent(on=app.doubts, name="failing_on_doubts")(fails)
    app.agent(on=app.failures, name="on_failures", on_doubt="park")(calls)
    world = settled(app, source, {"k": "a"})
    assert [doubt["agent"] for doubt in world.outputs(app.doubts)] == ["first"]
    assert [failure["agent"] for failure in world.outputs(app.failures)] == ["failing_on_doubts"]
    assert len(world.doubts()) == 3


async def calls(ctx: Context[Json], event: Json) -> None:
    await call(1)


def test_what_refuses_dead_letters_makes_none_of_them() -> None:
    app = App("small")
    source = app.source("in", jsonl("in"), key="k")
    app.dead_letters.map(lambda letter: letter["no such field"], name="bad").sink(jsonl("bad"))
    app.dead_letters.merge(source, name="both").map(lambda value: value["no such field"], name="worse")
    alerts = app.stream("alerts")
    alerts.map(lambda value: value["no such field"], name="worst")

    @app.agent(on=app.dead_letters)
    async def handle(ctx: Context[Json], letter: Json) -> None:
        ctx.emit(alerts, letter)

    world = settled(app, source, {"no": "key"}, {"k": "a"})
    told = [(letter["stream"], letter["position"]) for letter in world.outputs(app.dead_letters)]
    assert sorted(told) == [("in", 1), ("worse", 2)]
    kept = [(letter.stream, letter.position) for letter in world.dead_letters()]
    assert kept.count(("bad", None)) == 2
    assert kept.count(("worst", None)) == 2
    assert kept.count(("worse", None)) == 2
    assert ("worse", 2) in kept


def test_an_id_tells_which_of_the_apps_own_streams_an_event_came_through() -> None:
    both = frozenset((FAILURES_STREAM, DOUBTS_STREAM))
    assert marked("42-1-17/3", frozenset()) == "42-1-17/3"
    assert marked("42-1-17/3", both) == "42-1-17/3~doubts+failures"
    assert own_streams(None, "42-1-17/3~doubts+failures") == both
    assert own_streams(None, "42-1-17/3~doubts+failures#1#0") == both
    assert own_streams(None, "42-1-17/3") == frozenset()
    assert own_streams(None, f"42-1-17/a~failures/doubt~{LETTERS_STREAM}") == {LETTERS_STREAM}
    assert own_streams("orders", "o-1~failures") == frozenset()
