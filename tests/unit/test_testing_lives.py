"""The lives of the process under test: stopped, started again, with the next version, with its resources.

How it dies, and what is left of it then, is in test_testing_crashes.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from millstream import INJECTED, App, Context, Effect, ToolCall, jsonl, tool
from millstream.testing import AppRun


@tool(effect=Effect.IDEMPOTENT, timeout="30s")
async def charge(order_id: str, cents: int) -> str:
    await asyncio.sleep(2)
    return "charged"


def version(cents: int) -> tuple[App, Any]:
    app = App("versions")
    source = app.source("in", jsonl("in"), key="k")

    @app.agent(on=source)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await charge("o1", cents)
        await ctx.receive("go")

    return app, source


def test_a_stop_and_a_start_lose_nothing_and_the_next_version_goes_on() -> None:
    app, source = version(cents=1)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        world.restart()
        world.settle()
        run = world.run().expect("waiting")
        changed, _ = version(cents=2)  # asks to charge something else than what is recorded
        world.restart(changed)
        world.signal(run, "go")
        world.settle()
        assert run.expect("diverged").error is not None
        assert sum(world.effects(charge).values()) == 1
        assert "the handler now asks for it with" in run.story()


def test_a_stop_gives_steps_in_flight_their_grace() -> None:
    app, source = version(cents=1)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.advance("1s")
        world.restart(grace="5s")
        assert world.now == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
        world.settle()
        assert sum(world.effects(charge).values()) == len(world.attempts()) == 1


def test_resources_are_the_lifespans_or_the_tests() -> None:
    life: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        await asyncio.sleep(1)
        life.append("begun")
        yield "real"
        life.append("ended")

    @tool(effect=Effect.READ)
    async def look(call: ToolCall = INJECTED) -> str:
        resources: str = call.resources
        return resources

    app = App("alive", lifespan)
    source = app.source("in", jsonl("in"), key="k")

    @app.agent(on=source)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> list[str]:
        return [await look(), ctx.resources]

    with AppRun(app, resources="fake") as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == [["fake", "fake"]]
    assert life == []
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == [["real", "real"]]
        world.crash()  # a dead process lets go of nothing
        assert life == ["begun", "begun"]
    assert life == ["begun", "begun", "ended"]


def test_a_lifespan_that_fails_fails_the_test() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    with pytest.raises(ValueError, match="no database"), AppRun(App("dead", lifespan)):
        pass
