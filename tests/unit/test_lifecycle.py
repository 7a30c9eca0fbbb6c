"""The life of runs, many of them: alarms of those that have ended, numbers that are used up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from millstream import App, Context, Effect, Retry, jsonl, tool
from millstream.core.identity import EPOCH_BITS
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]


@tool(effect=Effect.READ)
async def look(n: int) -> int:
    await asyncio.sleep(0)
    return n


def app_of(handler: Any) -> tuple[App, Any]:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")
    app.agent(on=source, name="a", state=dict)(handler)
    return app, source


def machine(world: AppRun) -> Any:
    return world._alive.engine.machine


# ---------------------------------------------------------------------------------------------------------------- alarms


async def looks_with_a_time_out(ctx: Ctx, event: dict[str, Any]) -> None:
    async with ctx.timeout("1h"):
        await look(1)


def test_alarms_of_runs_that_have_ended_do_not_pile_up() -> None:
    app, source = app_of(looks_with_a_time_out)
    with AppRun(app) as world:
        for start in range(0, 3_000, 500):
            world.send(source, *[{"k": f"k{n}", "id": n} for n in range(start, start + 500)])
            world.advance("1s")
        assert len(world.runs(status="done")) == 3_000
        assert len(machine(world).desk.alarms) <= 1_501, "1,000 and those that run at once"


def test_an_alarm_of_a_run_that_has_ended_reads_nothing_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    app, source = app_of(looks_with_a_time_out)
    with AppRun(app) as world:
        world.send(source, *[{"k": f"k{n}", "id": n} for n in range(5)])
        world.settle()
        read: list[int] = []
        histories = MemoryStore.histories

        def counted(self: MemoryStore, runs: Sequence[int]) -> Any:
            read.extend(runs)
            return histories(self, runs)

        monkeypatch.setattr(MemoryStore, "histories", counted)
        world.advance("2h")
        assert read == []


# --------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_start_that_has_used_its_numbers_up_takes_those_of_the_next(end: str) -> None:
    app, source = app_of(looks_with_a_time_out)
    with AppRun(app) as world:
        machine(world).desk._next = (2 << EPOCH_BITS) - 3  # as after four thousand million
        for round in range(3):
            world.send(source, *[{"k": f"k{n}", "id": f"{round}-{n}"} for n in range(5)])
            if round and end == "killed":
                world.crash()  # and they are read by the next life
            elif round:
                world.restart()
            world.settle()
        runs = world.runs(status="done")
        assert len({run.id for run in runs}) == 15
        assert {run.id.split("-")[1] for run in runs} >= {"1", "2", "3"}


# ------------------------------------------------------------------------------------------------------------- cancelled


async def waits(ctx: Ctx, event: dict[str, Any]) -> None:
    await ctx.receive("go")


@pytest.mark.parametrize("put_away", [False, True], ids=["in memory", "put away"])
@pytest.mark.parametrize("by", ["ann", None])
def test_the_error_of_a_cancelled_run_says_who_cancelled_it(put_away: bool, by: str | None) -> None:
    """One waits; the other, behind it in line, has not begun."""
    app, source = app_of(waits)
    with AppRun(app, put_away=put_away) as world:
        world.send(source, {"k": "a", "id": 1}, {"k": "a", "id": 2})
        world.settle()
        for run in reversed(world.runs()):
            world.cancel(run, by=by)
        world.settle()
        for run in world.runs():
            error = run.expect("cancelled").error
            assert error is not None
            assert (error["type"], error["message"]) == ("Cancelled", "cancelled by ann" if by else "cancelled")


# ----------------------------------------------------------------------------------------------------- what a run takes


@tool(effect=Effect.IDEMPOTENT)
async def file(n: int) -> int:
    return n


async def works_for_long(ctx: Ctx, event: dict[str, Any]) -> int:
    done = 0
    for n in range(50):
        done += await look(n) + await file(n)
    await ctx.receive("go")
    await ctx.sleep("1h")
    return done


def test_a_handler_that_lives_for_long_does_not_keep_its_steps_in_memory() -> None:
    """Neither those that it took, nor those that were handed to it again after a crash."""
    app, source = app_of(works_for_long)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        (run,) = machine(world).lifecycle.residents.values()
        assert list(run.steps) == ["signal.go"]
        world.crash()
        world.settle()
        world.signal(world.run(), "go")
        world.advance("10m")
        (run,) = machine(world).lifecycle.residents.values()
        assert list(run.steps) == []
        world.settle()
        assert world.run().output == 2 * sum(range(50))


@tool(effect=Effect.READ, retry=Retry(backoff="1h", max_backoff="1h"))
async def fails(n: int) -> None:
    raise ConnectionError("down")


@tool(effect=Effect.READ)
async def hangs(n: int) -> None:
    await asyncio.sleep(3600)


async def fails_until(ctx: Ctx, n: int) -> None:
    async with ctx.timeout("1s"):
        await fails(n)


async def hangs_until(ctx: Ctx, n: int) -> None:
    async with ctx.timeout("1s"):
        await hangs(n)


async def listens_until(ctx: Ctx, n: int) -> None:
    await ctx.receive("no one sends this", timeout="1s")


@pytest.mark.parametrize("waits_in_vain", [listens_until, fails_until, hangs_until])
def test_a_handler_that_lives_for_long_does_not_keep_the_steps_that_it_gave_up_in_memory(waits_in_vain: Any) -> None:
    async def gives_up(ctx: Ctx, event: dict[str, Any]) -> None:
        for n in range(20):
            with suppress(TimeoutError):
                await waits_in_vain(ctx, n)
        await ctx.receive("go")

    app, source = app_of(gives_up)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("1m")
        (run,) = machine(world).lifecycle.residents.values()
        assert list(run.steps) == ["signal.go"]
