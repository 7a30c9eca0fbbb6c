"""However a handler fails, and whatever texts it makes, its own run fails and nothing else: the engine and the other runs go on."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from millstream import App, Context, Effect, ToolFailed, jsonl, tool
from millstream.testing import AppRun

BAD = "caf\udce9"  # what os.fsdecode makes of a byte that is no UTF-8: a str that has no UTF-8 either

Ctx = Context[dict[str, Any]]


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("a bug in the exception itself")


@tool(effect=Effect.IDEMPOTENT, key=lambda key: key)
async def pay(key: str) -> str:
    return key


async def read() -> int:
    return 1


def app_of(fails: Callable[[Ctx], Awaitable[None]]) -> tuple[App, Any]:
    """The handler of the key "bad" does it, the others do nothing; failures go on to a stream of their own."""
    app = App("shop")
    app.stream("notes")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> dict[str, Any]:
        if event["k"] == "bad":
            await fails(ctx)
        return {"did": event["id"]}

    app.failures.sink(jsonl("failures.jsonl"))
    return app, source


def error_of(fails: Callable[[Ctx], Awaitable[None]]) -> dict[str, Any]:
    """Of the bad run: it alone fails, durably, and the engine goes on, through a crash and on to what comes later."""
    app, source = app_of(fails)
    with AppRun(app) as world:
        world.send(source, {"k": "bad", "id": "1"}, {"k": "good", "id": "2"})
        world.settle()
        world.send(source, {"k": "good", "id": "3"})
        world.crash()
        world.settle()
        assert [run.status for run in world.runs(key="good")] == ["done", "done"]
        error = world.run_of("1").expect("failed").error
        assert error is not None
        assert [failure["error"]["type"] for failure in world.outputs(app.failures)] == [error["type"]]
        world.retry(world.run_of("1"))
        world.settle()
        assert world.run_of("1").expect("failed").error == error, "it is as it was, and was handled again"
    return error


async def says_what_has_no_utf8(ctx: Ctx) -> None:
    raise ValueError(f"cannot open {BAD}")


async def cannot_say_it(ctx: Ctx) -> None:
    raise WithoutText


async def fails_with_odd_data(ctx: Ctx) -> None:
    raise ToolFailed(BAD, BAD, {BAD: WithoutText()})


async def exits(ctx: Ctx) -> None:
    sys.exit("nothing to do")


async def is_a_generator(ctx: Ctx) -> None:
    raise GeneratorExit


@pytest.mark.parametrize(
    ("fails", "type_", "message"),
    [
        (says_what_has_no_utf8, "ValueError", "cannot open caf\\udce9"),
        (cannot_say_it, "WithoutText", "(its text cannot be had: RuntimeError)"),
        (fails_with_odd_data, "caf\\udce9", "caf\\udce9"),
        (exits, "SystemExit", "nothing to do"),
        (is_a_generator, "GeneratorExit", ""),
    ],
)
def test_whatever_a_handler_raises_is_written_down_and_fails_that_run_alone(
    fails: Callable[[Ctx], Awaitable[None]], type_: str, message: str
) -> None:
    error = error_of(fails)
    assert (error["type"], error["message"]) == (type_, message)


async def uses_it_as_a_business_key(ctx: Ctx) -> None:
    await pay(BAD[:-1] + "e")  # a good one first
    await pay.using(key=lambda key: BAD)("x")


async def emits_under_it(ctx: Ctx) -> None:
    ctx.emit("notes", {}, key=BAD)


async def sends_to_it(ctx: Ctx) -> None:
    ctx.send("a", BAD, {})


async def asks_it(ctx: Ctx) -> None:
    await ctx.ask("a", BAD, {})


async def waits_for_what_is_about_it(ctx: Ctx) -> None:
    await ctx.receive("go", about=BAD)


async def waits_for_a_signal_of_that_name(ctx: Ctx) -> None:
    await ctx.receive(BAD)


async def names_a_step_so(ctx: Ctx) -> None:
    await ctx.step(BAD, read)


@pytest.mark.parametrize(
    "names",
    [
        uses_it_as_a_business_key,
        emits_under_it,
        sends_to_it,
        asks_it,
        waits_for_what_is_about_it,
        waits_for_a_signal_of_that_name,
        names_a_step_so,
    ],
)
def test_a_text_that_cannot_be_stored_is_refused_where_the_handler_gives_it(names: Callable[[Ctx], Awaitable[None]]) -> None:
    error = error_of(names)
    assert error["type"] == "ValueError"
    assert "is not Unicode text (surrogates not allowed): 'caf\\udce9'" in error["message"]
    assert names.__name__ in error["data"]["traceback"], "it tells the line that gave it"
