"""Async generators inside and outside of runs, in one thread: each is closed by the loop that it was opened on."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

from millstream.engine import asyncgens
from millstream.engine.runloop import RunLoop
from millstream.errors import RunPutAway

closed: list[str] = []


async def numbers(name: str) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        closed.append(f"{name} on {type(asyncio.get_running_loop()).__name__}")


async def opens_and_drops(name: str) -> None:
    async for _ in numbers(name):
        break


async def holds(name: str, box: list[Any]) -> None:
    box.append(numbers(name))
    await anext(box[0])


def driven(coro: Any) -> RunLoop:
    loop = RunLoop(1, 0)
    loop.start(coro)
    loop.drain()
    return loop


def put_away(loop: RunLoop) -> None:
    loop.put_away(RunPutAway("away"))


def test_each_is_closed_by_the_loop_that_it_was_opened_on() -> None:
    async def engine() -> None:
        closed.clear()
        kept: list[Any] = [numbers("outside")]
        await anext(kept[0])  # before any run was driven
        run = driven(opens_and_drops("run"))
        assert closed == ["run on RunLoop"]
        await opens_and_drops("between")
        kept.clear()
        put_away(run)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outside = type(asyncio.get_running_loop()).__name__
        assert closed == ["run on RunLoop", f"between on {outside}", f"outside on {outside}"]

    asyncio.run(engine())


def test_one_that_is_dropped_after_its_run_was_put_away_is_closed_already() -> None:
    async def engine() -> None:
        closed.clear()
        box: list[Any] = []
        run = driven(holds("kept", box))
        assert closed == []
        put_away(run)
        assert closed == ["kept on RunLoop"]
        box.clear()
        await asyncio.sleep(0)
        assert closed == ["kept on RunLoop"]

    asyncio.run(engine())


def test_one_that_resists_being_closed_is_let_be_when_it_is_dropped() -> None:
    async def resists() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except BaseException:
                closed.append("asked")

    async def handler(box: list[Any]) -> None:
        box.append(resists())
        await anext(box[0])

    async def engine() -> None:
        closed.clear()
        box: list[Any] = []
        run = driven(handler(box))
        put_away(run)
        asked = len(closed)
        assert asked
        box.clear()
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(closed) == asked

    asyncio.run(engine())


def test_an_address_that_is_used_again_belongs_to_the_new_generator() -> None:
    async def engine() -> None:
        closed.clear()
        run = driven(asyncio.sleep(3600))
        stale = object.__new__(asyncgens._Nobody)
        kept = numbers("outside")
        asyncgens._owners[id(kept)] = stale  # as if another had ended at this address
        await anext(kept)
        del kept
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert closed == [f"outside on {type(asyncio.get_running_loop()).__name__}"]
        put_away(run)

    asyncio.run(engine())


def test_nothing_is_kept_of_a_run_that_has_ended() -> None:
    async def engine() -> None:
        before = len(asyncgens._owners)

        async def to_the_end() -> None:
            async def three() -> AsyncIterator[int]:
                for number in range(3):
                    yield number

            assert [number async for number in three()] == [0, 1, 2]

        put_away(driven(to_the_end()))
        assert len(asyncgens._owners) == before

    asyncio.run(engine())


def test_the_hooks_are_those_of_before_when_the_loop_has_ended() -> None:
    before = sys.get_asyncgen_hooks()

    async def engine() -> None:
        inside = sys.get_asyncgen_hooks()
        put_away(driven(opens_and_drops("run")))
        assert sys.get_asyncgen_hooks() != inside  # one pair for all runs, until this loop ends
        pair = sys.get_asyncgen_hooks()
        put_away(driven(opens_and_drops("run")))
        assert sys.get_asyncgen_hooks() == pair

    asyncio.run(engine())
    assert sys.get_asyncgen_hooks() == before
