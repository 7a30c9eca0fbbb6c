"""VERIFIED: when the probe is asked, of what, and what comes between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from millstream import App, Context, Done, Effect, NotDone, Retry, ToolFailed, jsonl, tool
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


class Line:
    """A payment that is made, an answer that is lost, and a probe that finds the line broken so many times."""

    def __init__(self, broken: int, how: str = "raises", **options: Any) -> None:
        self.broken, self.how = broken, how
        self.app = App("shop")
        self.source = self.app.source("in", jsonl("in.jsonl"), key="k", id="id")

        @tool(effect=Effect.VERIFIED, verify=self.probe, timeout="20s", settle="10s", name="transfer", **options)
        async def transfer() -> str:
            raise ConnectionError("reset")

        @self.app.agent(on=self.source, name="a")
        async def a(ctx: Ctx, event: dict[str, Any]) -> str:
            return await transfer()

    async def probe(self, call: Any) -> Any:
        self.broken -= 1
        if self.broken < 0:
            return Done("found")
        if self.how == "raises":
            raise ConnectionRefusedError("no line")
        if self.how == "hangs":
            await asyncio.sleep(3600)
        try:  # does not let itself be cancelled
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        raise ConnectionRefusedError("no line")


def seconds(world: AppRun) -> list[float]:
    """When the probe was asked, counted from the start."""
    return [(at.at - world.attempts()[0].at).total_seconds() for at in world.attempts() if at.probe]


EVERY_SECOND = Retry(attempts=3, backoff="1s", factor=2.0, jitter=0.0)


def test_a_probe_that_raises_is_asked_again_with_the_back_off_of_the_tool() -> None:
    line = Line(2, retry=EVERY_SECOND)
    with AppRun(line.app, put_away=True) as world:
        world.send(line.source, {"k": "a", "id": 1})
        world.settle()
        assert seconds(world) == [30, 31, 33]
        assert world.run().expect("done").output == "found"
        assert not any("in doubt" in text for _, text in world.log)


def test_a_probe_that_takes_too_long_is_asked_again() -> None:
    line = Line(2, "hangs", retry=EVERY_SECOND)
    with AppRun(line.app) as world:
        world.send(line.source, {"k": "a", "id": 1})
        world.settle()
        assert seconds(world) == [30, 51, 73]
        assert world.run().expect("done").output == "found"


def test_a_probe_that_never_answers_is_asked_as_often_as_the_step_may_be_attempted() -> None:
    for attempts in (1, 3):
        line = Line(100, retry=Retry(attempts=attempts, backoff="1s", jitter=0.0))
        with AppRun(line.app) as world:
            world.send(line.source, {"k": "a", "id": 1})
            world.settle()
            assert len(seconds(world)) == attempts
            (doubt,) = world.doubts()
            assert doubt.error is not None
            often = " 3 times, at last" if attempts == 3 else ""
            assert doubt.error["message"] == f"reset; its probe failed{often} with ConnectionRefusedError: no line"


def test_how_often_a_probe_was_asked_is_on_record_and_a_crash_uses_none_up() -> None:
    line = Line(100, "hangs", retry=EVERY_SECOND)
    with AppRun(line.app) as world:
        world.send(line.source, {"k": "a", "id": 1})
        world.advance("40s")
        world.crash()  # while it is asked for the first time
        world.advance("20500ms")
        world.crash()  # between the first and the second
        world.settle()
        assert [attempt.ended for attempt in world.attempts() if attempt.probe] == ["crashed", *["cancelled"] * 3]
        (doubt,) = world.doubts()
        assert doubt.error is not None
        assert doubt.error["message"].startswith("reset; its probe failed 3 times, at last with TimeoutError: the probe of")


def test_a_probe_whose_code_outlives_its_time_out_is_in_doubt_until_it_ends_and_is_then_asked_again() -> None:
    line = Line(1, "lingers", retry=EVERY_SECOND)
    with AppRun(line.app) as world:
        world.send(line.source, {"k": "a", "id": 1})
        world.advance("60s")  # asked after 30 s, cancelled after 50 s
        assert [doubt.name for doubt in world.doubts()] == ["transfer"]
        world.advance("2m")
        assert seconds(world) == [30, 111]
        assert world.doubts() == []
        assert world.run().expect("done").output == "found"


def test_what_a_probe_says_uses_no_attempt_up_not_even_when_the_run_comes_back() -> None:
    async def denies(call: Any) -> Any:
        return NotDone()

    @tool(effect=Effect.VERIFIED, verify=denies, timeout="20s", settle="10s", retry=EVERY_SECOND)
    async def transfer() -> str:
        raise ConnectionError("reset")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        try:
            return await transfer()
        except ToolFailed as failed:
            return failed.type

    for put_away in (False, True):
        with AppRun(app, put_away=put_away) as world:
            world.send(source, {"k": "a", "id": 1})
            world.settle()
            assert sum(not attempt.probe for attempt in world.attempts()) == 3
            assert world.run().expect("done").output == "NotDone"


def test_what_waits_behind_the_code_of_an_earlier_start_is_done_when_that_code_says_that_it_worked() -> None:
    """It would else stay in doubt for ever: the attempt that waited behind it has taken too long meanwhile."""
    mended: list[bool] = []

    @tool(effect=Effect.VERIFIED, verify=not_done, timeout="10s", settle="0s")
    async def transfer(n: int) -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(60)  # does not let itself be cancelled
        return "sent"

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        sent = asyncio.create_task(transfer(1))
        await ctx.sleep("1s")
        while not mended:
            await asyncio.sleep(0)
        return await sent

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("2s")
        mended.append(True)
        world.retry(world.run().expect("failed"))
        world.advance("10m")
        assert world.run().expect("done").output == "sent"
        assert len(world.attempts()) == 1
