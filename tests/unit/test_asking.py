"""Asking: circles that can never be answered."""

from __future__ import annotations

import asyncio
from typing import Any

from millstream import App, Context, jsonl
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]


def test_a_retry_that_takes_up_an_ask_of_its_last_try_finds_that_the_asked_key_asks_it_meanwhile() -> None:
    broken = [True]
    app = App("two")
    to_a = app.source("to_a", jsonl("a.jsonl"), key="k")
    to_b = app.source("to_b", jsonl("b.jsonl"), key="k")

    @app.agent(on=to_a, name="a", on_error="block")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        if "k" not in event:
            return "asked"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.ask("b", "y", {}))
                if broken:
                    await ctx.sleep("1m")
                    raise ValueError("a bug")
        except ExceptionGroup as raised:
            if broken:
                raise
            return type(raised.exceptions[0]).__name__
        return "answered"

    @app.agent(on=to_b, name="b")
    async def b(ctx: Ctx, event: dict[str, Any]) -> str:
        if "k" not in event:
            return "asked"
        await ctx.sleep("1h")
        return str(await ctx.ask("a", "x", {}))

    with AppRun(app) as world:
        world.send(to_b, {"k": "y"})
        world.advance("1s")
        world.send(to_a, {"k": "x"})  # it asks b, whose key is held
        world.advance("2m")
        first = world.runs(agent="a")[0].expect("failed")  # and holds its own
        world.advance("1h")  # b asks a, and waits behind it
        broken.clear()
        world.retry(first)
        world.settle()
        assert first.expect("done").output == "Deadlock"
        assert sorted(world.outputs(a.output)) == ["Deadlock", "asked"]
        assert world.outputs(b.output) == ["asked", "asked"]
