"""Cancelling an effect that was started: the tool is told, and the handler goes on when the outcome is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.testing import AppRun

said: list[str] = []


@tool(effect=Effect.IDEMPOTENT)
async def slow() -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        said.append("told")
        await asyncio.sleep(5)
        said.append("ended")
        return "done after all"
    return "done"


async def asyncio_timeout() -> None:
    async with asyncio.timeout(10):
        await slow()


async def wait_for() -> None:
    await asyncio.wait_for(slow(), 10)


async def anyio_fail_after() -> None:
    with anyio.fail_after(10):
        await slow()


async def sibling_fails() -> None:
    async def failing() -> None:
        await asyncio.sleep(10)
        raise TimeoutError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
            group.create_task(failing())
    except* TimeoutError:
        raise TimeoutError from None


@pytest.mark.parametrize("put_away", [False, True], ids=["live", "replayed"])
@pytest.mark.parametrize("way", [asyncio_timeout, wait_for, anyio_fail_after, sibling_fails])
def test_the_handler_goes_on_when_the_outcome_is_recorded(way: Callable[[], Coroutine[Any, Any, None]], put_away: bool) -> None:
    said.clear()
    app = App("cancelling")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        try:
            await way()
        except TimeoutError:
            if not said[2:]:
                said.append("timed out")
        await ctx.receive("go")
        return "goes on"

    with AppRun(app, put_away=put_away) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("9s")
        (attempt,) = world.attempts(slow)
        assert (attempt.ended, said) == (None, []), "it is under way"
        world.advance("3s")
        assert (attempt.ended, said) == (None, ["told"]), "its time is over, and the handler waits for its end"
        world.settle()
        assert said == ["told", "ended", "timed out"]
        world.signal("a", "go", key="a")
        world.settle()
        run = world.run().expect("done")
        assert run.output == "goes on"
        assert run.step(slow).result == "done after all"
        assert (attempt.ended, world.effects(slow).total()) == ("returned", 1)
