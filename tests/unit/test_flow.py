"""Memory is bounded in bytes: sources wait, waiting handlers are put away, commits are cut, large queued payloads read again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.core.desk import Limits
from millstream.core.lines import KEPT_BYTES
from millstream.core.machine import Machine
from millstream.core.tables import Commit
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]
SIZE = 1_000
TEXT = "x" * SIZE


@tool(effect=Effect.READ)
async def slow() -> None:
    await asyncio.sleep(10)


@tool(effect=Effect.READ)
async def fetch(size: int) -> str:
    return "x" * size


def app_of(handler: Any) -> tuple[App, Any]:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")
    app.agent(on=source, name="a", state=dict)(handler)
    return app, source


def machine(world: AppRun) -> Machine:
    return world._alive.engine.machine


def paused(world: AppRun) -> str | None:
    return world._alive.engine.stats.paused


# --------------------------------------------------------------------------------------------------------- sources are paused


async def is_slow(ctx: Ctx, event: dict[str, Any]) -> None:
    await slow()


async def fetches_much(ctx: Ctx, event: dict[str, Any]) -> None:
    await fetch(SIZE)
    await slow()


@pytest.mark.parametrize(("handler", "text"), [(is_slow, TEXT), (fetches_much, "")])
def test_sources_wait_while_the_handlers_hold_too_many_bytes_and_go_on_then(handler: Any, text: str) -> None:
    app, source = app_of(handler)
    with AppRun(app, limits=Limits(memory_bytes=5 * SIZE)) as world:
        world.send(source, *[{"k": f"k{n}", "id": n, "text": text} for n in range(5)])
        world.advance("1s")
        assert "bytes of payloads are in memory (limit 5,000)" in (paused(world) or "it goes on")
        world.send(source, *[{"k": f"k{n}", "id": n, "text": text} for n in range(5, 10)])
        world.advance("1s")
        assert len(world.runs()) == 5
        world.advance("9s")
        assert [run.status for run in world.runs()] == ["done"] * 5 + ["running"] * 5
        world.settle()
        assert [run.status for run in world.runs()] == ["done"] * 10
        assert (paused(world), machine(world).lifecycle.bytes) == (None, 0)


def test_sources_wait_while_too_many_bytes_are_not_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_quick(ctx: Ctx, event: dict[str, Any]) -> None:
        pass

    app, source = app_of(is_quick)
    with AppRun(app, limits=Limits(memory_bytes=5 * SIZE)) as world:
        committer, held = world._alive.engine.committer, []

        def hold(commit: Commit) -> None:
            committer.busy = True
            held.append(commit)

        with monkeypatch.context() as slow_disk:
            slow_disk.setattr(committer, "write", hold)
            for start in (0, 5):  # the first batch is being written, the second has gathered
                world.send(source, *[{"k": f"k{n}", "id": n, "text": TEXT} for n in range(start, start + 5)])
                world.advance("1s")
            assert (machine(world).lifecycle.bytes, len(held)) == (0, 1)
            assert "bytes of payloads are in memory (limit 5,000)" in (paused(world) or "it goes on")
        committer.write(held[0])
        world.settle()
        assert [run.status for run in world.runs()] == ["done"] * 10
        assert (paused(world), machine(world).desk.bytes) == (None, 0)


# ------------------------------------------------------------------------------------------------- handlers that wait


async def waits(ctx: Ctx, event: dict[str, Any]) -> str:
    if event.get("fetch"):
        await fetch(event["fetch"])
    return str((await ctx.receive("go")).value)


@pytest.mark.parametrize("of_what", ["events", "results"])
def test_waiting_handlers_are_put_away_when_they_hold_too_many_bytes_the_longest_waiting_first(of_what: str) -> None:
    app, source = app_of(waits)
    with AppRun(app, limits=Limits(idle_bytes=int(3.5 * SIZE))) as world:
        for n in range(6):
            what = {"text": TEXT} if of_what == "events" else {"fetch": SIZE}
            world.send(source, {"k": f"k{n}", "id": n, **what})
            world.settle()
        lifecycle = machine(world).lifecycle
        assert [run.key for run in lifecycle.residents.values()] == ["k3", "k4", "k5"]
        assert 3 * SIZE < lifecycle.idle_bytes == lifecycle.bytes < 3.5 * SIZE
        for run in world.runs():
            world.signal(run, "go", run.key)
        world.settle()
        assert [run.output for run in world.runs()] == [f"k{n}" for n in range(6)]
        assert (lifecycle.bytes, lifecycle.idle_bytes) == (0, 0)


# ------------------------------------------------------------------------------------------------- commits and lines


def test_a_commit_is_cut_when_it_holds_enough_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def returns_much(ctx: Ctx, event: dict[str, Any]) -> str:
        return TEXT

    app, source = app_of(returns_much)
    sizes: list[int] = []
    write = MemoryStore.write

    def measured(self: MemoryStore, commit: Commit) -> None:
        sizes.append(commit.bytes)
        write(self, commit)

    monkeypatch.setattr(MemoryStore, "write", measured)
    with AppRun(app, limits=Limits(cut_bytes=5 * SIZE)) as world:
        world.send(source, *[{"k": f"k{n}", "id": n} for n in range(50)])
        world.settle()
        assert len(world.outputs("a.output")) == 50
    assert 5 * SIZE <= max(sizes) < 8 * SIZE, "and the entry that it was too small for"
    assert sum(sizes) > 50 * SIZE


@pytest.mark.parametrize(("size", "kept"), [(KEPT_BYTES // 2, True), (KEPT_BYTES + 1, False)])
def test_a_large_payload_that_waits_for_its_turn_is_read_again_when_it_comes(size: int, kept: bool) -> None:
    async def says_how_large(ctx: Ctx, event: dict[str, Any]) -> int:
        await ctx.receive("go")
        return len(event["text"])

    app, source = app_of(says_how_large)
    with AppRun(app) as world:
        world.send(source, *[{"k": "one", "id": n, "text": "x" * size} for n in range(3)])
        world.settle()
        (instance,) = machine(world).lines.instances.values()
        assert [queued.event is not None for queued in instance.line] == [kept, kept]
        for _ in range(3):
            world.signal("a", "go", key="one")
            world.settle()
        assert [run.output for run in world.runs()] == [size] * 3


@pytest.mark.parametrize(("size", "kept"), [(KEPT_BYTES // 2, True), (KEPT_BYTES + 1, False)])
def test_a_large_payload_that_waits_for_a_free_handler_is_read_again_too(size: int, kept: bool) -> None:
    app, source = app_of(is_slow)
    with AppRun(app, limits=Limits(running=1)) as world:
        world.send(source, *[{"k": f"k{n}", "id": n, "text": "x" * size} for n in range(3)])
        world.advance("1s")
        assert [queued.event is not None for ready in machine(world).lines.ready for queued in ready.line] == [kept, kept]
        world.settle()
        assert [run.status for run in world.runs()] == ["done"] * 3
