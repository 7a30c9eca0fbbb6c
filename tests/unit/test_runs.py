"""The resident runs: what ends one from outside its handler, and what is told of them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from millstream import App, Context, jsonl
from millstream.errors import IoInRun
from millstream.testing import AppRun


def app_of(handler: Any) -> tuple[App, Any]:
    app = App("runs")
    source = app.source("in", jsonl("in.jsonl"), key="k")
    app.agent(on=source, name="handler")(handler)
    return app, source


def test_errors_call_the_run_by_the_id_that_people_know() -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await asyncio.to_thread(print)

    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        assert run.expect("failed").error["message"].startswith(f"run {run.id}: loop.run_in_executor() (by asyncio.to_thread) was")


def test_a_stuck_handler_is_told_by_its_own_line_even_below_other_coroutines() -> None:
    line = 0

    async def poll() -> None:
        nonlocal line
        while True:
            line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
            await asyncio.sleep(0)

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await poll()

    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        message = run.expect("failed").error["message"]
        assert f"run {run.id}: " in message
        assert f" at tests/unit/test_runs.py:{line}." in message


def test_a_thread_that_calls_into_a_run_fails_it() -> None:
    loops: list[Any] = []
    refused: list[IoInRun] = []

    def call_in() -> None:
        try:
            loops[0].call_soon_threadsafe(print)
        except IoInRun as error:
            refused.append(error)

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        loops.append(asyncio.get_running_loop())
        await ctx.step("call in", call_in)
        await asyncio.get_running_loop().create_future()

    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        error = run.expect("failed").error
        assert error["type"] == "IoInRun"
        assert error["message"].startswith(f"run {run.id}: a thread ")
        assert len(refused) == 1
        world.send(source, {"k": "a"})
        world.settle()  # its key goes on


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_asyncio_reports_of_a_handler_is_a_warning_with_the_run_s_id_and_is_kept_nowhere() -> None:
    async def fails() -> None:
        raise ValueError("nobody looks")

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(1)
        del task
        await asyncio.sleep(1)

    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        said = [text for level, text in world.log if level == "warning"]
        assert said == [
            f"run {run.id} of handler 'a': RunTask exception was never retrieved: ValueError: nobody looks",
        ]
        assert not hasattr(world._alive.engine.runs, "problems")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("first", [0, 1], ids=["before the first wait", "behind it"])
def test_what_asyncio_reports_of_a_handler_is_said_when_it_happens_and_not_by_every_replay(first: int) -> None:
    async def fails(what: str) -> None:
        raise ValueError(what)

    async def lost(what: str) -> None:
        task = asyncio.ensure_future(fails(what))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        if first:
            await asyncio.sleep(1)
        await lost("one")
        await ctx.receive("go")
        await lost("two")
        await ctx.receive("go")

    app, source = app_of(handler)
    with AppRun(app, put_away=True) as world:

        def said() -> list[str]:
            return [text.rpartition(" ")[2] for level, text in world.log if "never retrieved" in text]

        world.send(source, {"k": "a"})
        world.settle()
        assert said() == ["one"]
        world.crash()
        world.signal(world.run(), "go")
        world.settle()
        assert said() == ["one", "two"]
        world.restart()
        world.signal(world.run(), "go")
        world.settle()
        world.run().expect("done")
        assert said() == ["one", "two"]


def test_a_task_whose_exception_has_no_text_is_a_warning_and_stops_nothing() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    app = App("mute")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    async def failing() -> None:
        raise Mute("x")

    @app.agent(on=source)
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        return "done"

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        assert world.run().expect("done").output == "done"
        assert any("Mute: (its text cannot be had: RuntimeError)" in str(entry) for entry in world.log)
