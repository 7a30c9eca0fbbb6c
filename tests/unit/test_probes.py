"""VERIFIED: when the probe is asked, of what, and what comes between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from millstream import App, Context, Done, Effect, NotDone, jsonl, tool
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]
MINUTE = timedelta(minutes=1)


async def not_done(call: Any, n: int) -> Any:
    return NotDone()


@tool(effect=Effect.VERIFIED, verify=not_done, timeout="10m", settle="5m", max_concurrency=1)
async def pay(n: int) -> int:
    await asyncio.sleep(8 * 60)
    return n


def shop() -> tuple[App, Any]:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> int:
        return await pay(event["id"])

    return app, source


def test_the_wait_of_a_lost_attempt_counts_from_now_for_nobody_knows_when_it_was_sent() -> None:
    """Its commit may have waited for hours for room on the disk, and what was sent last of all may still be on its way."""
    app, source = shop()
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("6m")
        world.crash()
        died = world.now
        world.settle()
        sent, probed, again = world.attempts(pay)
        assert (sent.ended, probed.probe, again.ended) == ("crashed", True, "returned")
        assert probed.at - died == 15 * MINUTE, "the time-out that it may have had left at most, and settle="
        assert world.run().output == 1


def test_what_waits_for_a_slot_was_not_sent_and_is_not_in_doubt_after_a_crash() -> None:
    app, source = shop()
    with AppRun(app) as world:
        world.send(source, *[{"k": f"k{n}", "id": n} for n in range(3)])
        world.advance("9m")  # the first is done, the second is under way, the third waits
        world.crash()
        world.settle()
        assert [run.output for run in world.runs()] == [0, 1, 2]
        probed = {attempt.args for attempt in world.attempts(pay) if attempt.probe}
        assert probed == {(1,)}
        assert [(attempt.args, attempt.ended) for attempt in world.attempts(pay) if not attempt.probe] == [
            ((0,), "returned"),
            ((1,), "crashed"),
            ((2,), "returned"),
            ((1,), "returned"),
        ]


def test_cancelling_a_step_while_it_is_probed_waits_for_what_the_probe_finds_out() -> None:
    async def done(call: Any) -> Any:
        await asyncio.sleep(10)
        return Done("found")

    @tool(effect=Effect.VERIFIED, verify=done, timeout="60s", settle="0s")
    async def hangs_up() -> str:
        raise ConnectionError("reset")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        try:
            async with ctx.timeout("65s"):  # it is asked after 60 s, for 10 s
                await hangs_up()
        except TimeoutError:
            return "too late, and yet it happened"
        return "in time"

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        assert [(attempt.probe, attempt.ended) for attempt in world.attempts(hangs_up)] == [(False, "raised"), (True, "returned")]
        assert world.doubts() == []
        assert world.run().expect("done").output == "too late, and yet it happened"
