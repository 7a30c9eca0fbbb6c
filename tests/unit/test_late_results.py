"""What code of an effect says in the end, when its run has failed meanwhile: evidence, for the run to be tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millstream import App, Context, Effect, NotSent, Unknown, jsonl, tool
from millstream.core.effects import Ended
from millstream.core.facts import AttemptEnded, CancelRequested, Settled
from millstream.errors import IoInRun
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]


class Shop:
    """An app whose handler gets stuck while a payment is under way, or just before it is sent, until it is mended."""

    def __init__(self, ends: Any, *, gets_stuck_after: str, effect: Effect = Effect.AT_MOST_ONCE, on_error: Any = "park") -> None:
        self.mended = False
        self.app = App("shop")
        self.source = self.app.source("in", jsonl("in.jsonl"), key="k", id="id")

        async def cannot_tell(call: Any) -> Unknown:
            return Unknown()

        @tool(effect=effect, timeout="1h", verify=cannot_tell if effect is Effect.VERIFIED else None)
        async def pay() -> str:
            fails = isinstance(ends, Exception) and not self.mended
            await asyncio.sleep(60)
            if fails:
                raise ends
            return "paid"

        @self.app.agent(on=self.source, name="a", on_error=on_error)
        async def a(ctx: Ctx, event: dict[str, Any]) -> str:
            await ctx.sleep("1s")
            async with asyncio.TaskGroup() as group:
                paid = group.create_task(pay())
                await ctx.sleep(gets_stuck_after)
                while not self.mended:
                    await asyncio.sleep(0)
            return paid.result()

    def world(self) -> AppRun:
        return AppRun(self.app)


def failed(shop: Shop, world: AppRun) -> Any:
    """Its one run, which has failed; its payment has not ended."""
    world.send(shop.source, {"k": "a", "id": 1})
    world.advance("30s")
    run = world.run().expect("failed")
    assert run.error is not None
    assert run.error["type"] == "HandlerStuck"
    return run


@pytest.mark.parametrize("on_error", ["park", "block"])
@pytest.mark.parametrize("effect", [Effect.AT_MOST_ONCE, Effect.IDEMPOTENT])
def test_a_result_that_comes_when_its_run_has_failed_is_known_to_a_retry(effect: Effect, on_error: str) -> None:
    shop = Shop("paid", gets_stuck_after="10s", effect=effect, on_error=on_error)
    with shop.world() as world:
        run = failed(shop, world)
        world.advance("40s")
        assert (world.attempts()[0].ended, run.status) == ("returned", "failed")
        world.crash()
        shop.mended = True
        world.retry(run)
        world.settle()
        assert world.doubts() == []
        assert run.expect("done").output == "paid"
        assert sum(world.effects("pay").values()) == 1
        assert run.step("pay").effect is effect


def test_a_failure_that_comes_when_its_run_has_failed_is_no_doubt_and_a_retry_performs_it_again() -> None:
    shop = Shop(ValueError("no such account"), gets_stuck_after="10s")
    with shop.world() as world:
        run = failed(shop, world)
        world.advance("40s")
        assert world.attempts()[0].ended == "raised"
        shop.mended = True
        world.retry(run)
        world.settle()
        assert world.doubts() == []
        assert run.expect("done").output == "paid"


def test_what_says_that_it_was_not_sent_when_its_run_has_failed_is_no_doubt_either() -> None:
    shop = Shop(NotSent("no line"), gets_stuck_after="10s")
    with shop.world() as world:
        run = failed(shop, world)
        world.advance("40s")
        shop.mended = True
        world.retry(run)
        world.settle()
        assert world.doubts() == []
        assert run.expect("done").output == "paid"


def test_what_was_not_sent_because_its_run_failed_first_is_no_doubt() -> None:
    shop = Shop("paid", gets_stuck_after="0s")
    with shop.world() as world:
        run = failed(shop, world)
        assert world.attempts() == []
        shop.mended = True
        world.retry(run)
        world.settle()
        assert world.doubts() == []
        assert run.expect("done").output == "paid"
        assert sum(world.effects("pay").values()) == 1


def test_a_result_that_comes_when_its_run_was_retried_settles_the_doubt() -> None:
    shop = Shop("paid", gets_stuck_after="10s")
    with shop.world() as world:
        run = failed(shop, world)
        shop.mended = True
        world.retry(run)
        world.advance("20s")
        assert [doubt.name for doubt in world.doubts()] == ["pay"]
        world.settle()
        assert world.doubts() == []
        assert run.expect("done").output == "paid"
        assert sum(world.effects("pay").values()) == 1


def test_a_person_who_has_settled_it_meanwhile_has_the_last_word() -> None:
    shop = Shop("paid", gets_stuck_after="10s")
    with shop.world() as world:
        run = failed(shop, world)
        shop.mended = True
        world.retry(run)
        world.advance("1s")
        world.resolve(world.doubts()[0], fail="the bank knows nothing of it")
        world.advance("2m")
        step = run.step("pay")
        assert (world.attempts()[0].ended, step.status, step.error and step.error["type"]) == ("returned", "failed", "Denied")


def test_a_result_that_comes_while_a_retry_waits_to_ask_the_probe_is_evidence_too() -> None:
    shop = Shop("paid", gets_stuck_after="10s", effect=Effect.VERIFIED)
    with shop.world() as world:
        run = failed(shop, world)
        shop.mended = True
        world.retry(run)
        world.settle()
        assert run.expect("done").output == "paid"
        assert [attempt.probe for attempt in world.attempts()] == [False]


@pytest.mark.parametrize(
    ("raised", "status"),
    [(ValueError("no money"), "failed"), (ConnectionResetError("hung up"), "in_doubt")],
    ids=["failed", "unclear"],
)
def test_a_failure_that_comes_while_a_retry_waits_to_ask_the_probe_is_evidence_and_what_is_unclear_is_left_to_the_probe(
    raised: Exception, status: str
) -> None:
    shop = Shop(raised, gets_stuck_after="20s", effect=Effect.VERIFIED)
    with shop.world() as world:
        run = failed(shop, world)
        shop.mended = True
        world.retry(run)
        world.advance("22s")  # it waits for the payment
        run.expect("waiting")
        world.advance("1m")  # the code of the first attempt has ended
        assert run.status == ("failed" if status == "failed" else "waiting")
        world.settle()
        run.expect(status)


def test_a_result_that_comes_with_a_cancellation_does_not_undo_it() -> None:
    shop = Shop("paid", gets_stuck_after="10h", on_error="block")
    with shop.world() as world:
        world.send(shop.source, {"k": "a", "id": 1}, {"k": "a", "id": 2})
        world.advance("30s")
        number, engine = world.runs()[0]._number, world._alive.engine
        now = engine.clock.now()
        soon = engine.loop.call_soon
        soon(engine._fail, number, IoInRun("a thread called"))  # nothing is durable of this when the others come
        soon(engine.feed, CancelRequested(now, number, "ann"))
        soon(engine.feed, AttemptEnded(now, number, "pay", 1, Ended.SUCCEEDED, '"paid"'))
        world.advance("1s")
        assert [run.status for run in world.runs()] == ["cancelled", "running"], "it blocks its key no more"


def test_a_result_that_comes_before_the_next_attempt_is_sent_is_evidence_too() -> None:
    """The run was retried while the code of its payment ran, and somebody has said that it did not happen."""
    shop = Shop("paid", gets_stuck_after="10s")
    with shop.world() as world:
        run = failed(shop, world)
        shop.mended = True
        world.retry(run)
        world.advance("1s")
        (doubt,) = world.doubts()
        number, step = run._number, doubt.name
        engine = world._alive.engine
        now = engine.clock.now()
        settled = Settled(now, number, step, "retry", None, "ann")
        engine.loop.call_soon(engine.feed, settled)  # its intent is not durable yet
        engine.loop.call_soon(engine.feed, AttemptEnded(now, number, step, 1, Ended.SUCCEEDED, '"paid"'))
        world.settle()
        assert run.expect("done").output == "paid"
        assert len(world.attempts()) == 1


def test_a_run_that_gives_up_what_waits_behind_the_code_of_an_earlier_start_is_put_away_when_that_has_ended() -> None:
    mended: list[bool] = []

    @tool(effect=Effect.READ, timeout="10s")
    async def look() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(60)  # a slow clean-up

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> None:
        looks = asyncio.create_task(look())
        await ctx.sleep("1s")
        if not mended:
            raise ValueError("a bug")
        looks.cancel()
        await ctx.receive("go")

    with AppRun(app, put_away=True) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("2s")
        mended.append(True)
        world.retry(world.run().expect("failed"))
        world.advance("1h")
        world.run().expect("waiting")
        assert world._alive.engine.machine.lifecycle.residents == {}


def test_of_two_people_who_settle_a_step_of_a_failed_run_at_once_the_second_is_told_that_it_is_settled() -> None:
    shop = Shop(TimeoutError("who knows"), gets_stuck_after="2m")
    with shop.world() as world:
        world.send(shop.source, {"k": "a", "id": 1})
        world.advance("5m")
        number, engine = world.run().expect("failed")._number, world._alive.engine
        answers = []
        for by in ("ann", "bob"):
            token, answer = engine.token()
            engine.feed(Settled(engine.clock.now(), number, world.doubts()[0].name, "result", f'"{by}"', by, token))
            answers.append(answer)
        world.advance("1s")
        assert [answer.result()[0] for answer in answers] == [None, f"step {world.run().id}/pay is not in doubt"]
        shop.mended = True
        world.retry(world.run())
        world.settle()
        assert world.run().expect("done").output == "ann"
