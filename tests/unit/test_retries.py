"""A run that is tried again: what is known is not done again, also where its arguments came from time or chance."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from millstream import (
    App,
    Context,
    Done,
    Effect,
    NotDone,
    NotSent,
    Retry,
    ToolCall,
    ToolFailed,
    Unknown,
    UsageError,
    jsonl,
    tool,
)
from millstream.core.desk import Limits
from millstream.testing import AppRun

paid: list[tuple[Any, ...]] = []
seen: list[datetime] = []


@tool(effect=Effect.IDEMPOTENT)
async def pay(reference: str, cents: int) -> datetime:
    paid.append((reference, cents))
    return datetime.fromisoformat("2026-02-03T04:05:06Z")


def shop(argument: str) -> tuple[App, Any, dict[str, bool]]:
    app, broken = App("shop"), {"is": True}
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        seen.append(ctx.now())
        first = str(ctx.uuid()) if argument == "uuid" else str(ctx.now())
        await pay(first, 1)
        await ctx.sleep("1h")
        seen.append(ctx.now())
        signal = await ctx.receive("go")
        second = str(ctx.uuid()) if argument == "uuid" else str(ctx.now())
        await pay(second, 2)
        if broken["is"]:
            raise ValueError("a bug")
        return str(signal.value)

    return app, source, broken


@pytest.mark.parametrize("argument", ["uuid", "now"])
def test_what_is_paid_is_not_paid_again_where_its_reference_is_made_of_time_or_chance(argument: str) -> None:
    paid.clear()
    seen.clear()
    app, source, broken = shop(argument)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        run = world.run()
        world.signal(run, "go", "went")
        world.settle()
        run.expect("failed")
        before = list(paid)
        world.advance("7d")
        for works in (False, True):
            broken["is"] = not works
            world.retry(run)
            world.settle()
            world.crash()
            world.settle()
        assert run.expect("done").output == "went"
    assert len(before) == 2
    assert paid == before


def test_a_retry_says_in_the_record_who_asked_for_it() -> None:
    app = App("failing")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        raise ValueError("as always")

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        world.retry(world.run(), by="ann")
        world.settle()
        assert '"by":"ann"' in world.story()


def test_runs_that_back_off_take_no_room_from_others() -> None:
    app = App("outage")
    down_source = app.source("down", jsonl("down.jsonl"), key="k", id="id")
    up_source = app.source("up", jsonl("up.jsonl"), key="k", id="id")

    for effect in (Effect.READ, Effect.IDEMPOTENT):

        @tool(effect=effect, retry=Retry(attempts=3, backoff="1h", max_backoff="1h", jitter=0.0), name=f"down_{effect.value}")
        async def down(n: int) -> int:
            raise ConnectionError("down")

        async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any], down: Any = down) -> int:
            try:
                return int(await down(1))
            except ToolFailed:
                return -1

        app.agent(on=down_source, name=f"down_{effect.value}")(handler)

    @app.agent(on=up_source)
    async def up(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> int:
        return 1

    with AppRun(app, limits=Limits(running=4, idle=1)) as world:
        world.send(down_source, *({"k": f"k{n}", "id": n} for n in range(4)))
        world.advance("1m")
        world.send(up_source, {"k": "x", "id": 1})
        world.advance("1m")
        assert [run.status for run in world.runs(up)] == ["done"]
        world.settle()
        assert {run.output for run in world.runs("down_read")} == {-1}
        assert {run.status for run in world.runs("down_idempotent")} == {"in_doubt"}
        assert [len(world.attempts(f"down_{effect.value}")) for effect in (Effect.READ, Effect.IDEMPOTENT)] == [12, 12]


def test_events_can_be_sent_behind_a_crash() -> None:
    app = App("again")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source)
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return event["id"]

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        world.crash()
        world.send(source, {"k": "a", "id": 2})
        world.settle()
        assert world.outputs(handler.output) == [1, 2]


@pytest.mark.parametrize("field", ["name", "key", "about", "by", "id"])
def test_a_signal_whose_text_cannot_be_stored_is_refused(field: str) -> None:
    app = App("texts")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source)
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return (await ctx.receive("go")).value

    texts: dict[str, Any] = {"name": "go", "key": "a", "about": None, "by": None, "id": None, field: "bad\udcff"}
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        with pytest.raises(UsageError, match="is not Unicode text"):
            world.signal(handler, texts.pop("name"), 1, **texts)
        world.signal(handler, "go", 2, key="a")
        world.settle()
        assert world.outputs(handler.output) == [2]


def test_a_run_that_comes_back_with_two_steps_in_doubt_is_parked_when_both_are_in_the_inbox() -> None:
    """Their keys expire before their back-off is over."""

    @tool(effect=Effect.IDEMPOTENT, key_ttl="1h", retry=Retry(backoff="2h", max_backoff="2h", jitter=0.0))
    async def send(n: int) -> int:
        raise ConnectionResetError("hung up")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source, name="a", on_doubt="park")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> list[int]:
        return await asyncio.gather(send(1), send(2))

    with AppRun(app, put_away=True) as world:
        world.send(source, {"k": "a"}, {"k": "a"})
        world.settle()
        run = world.runs()[0].expect("in_doubt")
        assert sum(doubt.id.startswith(f"{run.id}/") for doubt in world.doubts()) == 2
        for doubt in world.doubts():
            world.resolve(doubt, result=7)
        world.settle()
        assert [run.expect("done").output for run in world.runs()] == [[7, 7], [7, 7]]


def stubborn(pay: Any) -> tuple[App, Any, list[bool]]:
    """An app that pays, and whose handler gets stuck after 5 s, until it is mended."""
    app, mended = App("shop"), list[bool]()
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        paying = asyncio.create_task(pay())
        await ctx.sleep("5s")
        while not mended:
            await asyncio.sleep(0)
        await paying

    return app, source, mended


def test_what_was_sent_when_its_run_failed_stays_in_doubt_though_the_attempt_before_it_was_not_sent() -> None:
    """The rest that the record tells of was over before."""
    calls: list[int] = []

    @tool(effect=Effect.IDEMPOTENT, timeout="10s", retry=Retry(attempts=4, backoff="1s", jitter=0.0))
    async def pay() -> None:
        calls.append(1)
        if len(calls) == 2:
            await asyncio.sleep(3600)  # it has reached the bank
        raise NotSent("no line")

    app, source, mended = stubborn(pay)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("30s")
        mended.append(True)
        world.retry(world.run().expect("failed"))
        world.settle()
        world.run().expect("in_doubt")
        assert len(calls) > 2


def test_a_retry_tries_a_failed_step_as_often_as_the_first_time() -> None:
    @tool(effect=Effect.IDEMPOTENT, retry=Retry(attempts=3, backoff="1s", jitter=0.0))
    async def pay() -> None:
        raise NotSent("no line")

    app, source, mended = stubborn(pay)
    mended.append(True)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        attempts = []
        for _ in range(3):
            world.settle()
            attempts.append(len(world.attempts()))
            world.retry(world.run().expect("failed"))
        assert attempts == [3, 6, 9]


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.VERIFIED])
def test_what_was_sent_after_a_rest_is_not_taken_for_unsent_where_the_clock_was_set_back_into_the_rest(effect: Effect) -> None:
    calls: list[int] = []

    async def probe(call: ToolCall) -> Done[None] | NotDone | Unknown:
        return Unknown()

    @tool(effect=effect, retry=Retry(attempts=2, backoff="1m", jitter=0.0), verify=probe if effect is Effect.VERIFIED else None)
    async def pay() -> None:
        calls.append(1)
        if len(calls) == 2:  # it has reached the bank
            world._clock._now -= 30_000_000
        else:
            raise NotSent("no line")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await pay()

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        with world.crash_at(pay, "performed", nth=2):
            world.settle()
        world.run().expect("in_doubt")
        assert len(calls) == (3 if effect is Effect.IDEMPOTENT else 2)


@tool(effect=Effect.IDEMPOTENT)
async def book() -> str:
    return "b1"


@tool(effect=Effect.IDEMPOTENT)
async def unbook(booking: str) -> None: ...


def visits(broken: list[bool]) -> tuple[App, Any]:
    app = App("visits")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def visit(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        booking = await book()
        try:
            await ctx.receive("visited")
            if broken:
                raise ValueError("a bug")
        except (asyncio.CancelledError, ValueError):
            await unbook(booking)
            raise
        return booking

    return app, source


def test_a_cancelled_run_that_has_cleaned_up_is_not_retried_for_what_it_did_is_undone() -> None:
    app, source = visits([])
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        world.cancel(run)
        world.settle()
        assert sum(world.effects(unbook).values()) == 1
        with pytest.raises(UsageError, match=r"was cancelled, and its handler cleaned up \(unbook\): .* Send its event anew"):
            world.retry(run)
        run.expect("cancelled")


def test_a_cancelled_run_that_had_nothing_to_clean_up_is_retried() -> None:
    app, source, _ = shop("uuid")
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.advance("1m")
        run = world.run()
        world.cancel(run)
        world.settle()
        world.retry(run.expect("cancelled"))
        world.settle()
        run.expect("waiting")


def test_a_retry_that_goes_on_with_what_its_last_try_has_undone_diverges_and_is_told_why() -> None:
    broken = [True]
    app, source = visits(broken)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        world.signal(run, "visited", True)
        world.settle()
        broken.clear()
        world.retry(run.expect("failed"))
        world.settle()
        error = run.expect("diverged").error
        assert error is not None
        assert (
            "/unbook is recorded as started, and the handler returned without asking for it. It was asked for before a retry: to"
            in (error["message"])
        )


def test_a_failure_after_which_something_was_done_stands_and_a_retry_does_nothing_new() -> None:
    tries: list[str] = []

    @tool(effect=Effect.IDEMPOTENT)
    async def ship() -> None:
        tries.append("ship")
        if len(tries) == 1:
            raise ValueError("closed")

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        booking = await book()
        try:
            await ship()
        except ToolFailed:
            await unbook(booking)
            raise

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        for _ in range(3):
            run = world.run().expect("failed")
            assert run.error is not None
            assert run.error["message"] == "closed"
            world.retry(run)
            world.settle()
        assert (tries, world.effects(unbook).total()) == (["ship"], 1)


def bank(effect: Effect, calls: list[Effect]) -> tuple[App, Any]:
    app = App("bank")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    async def probe(call: ToolCall) -> Done[str] | NotDone | Unknown:
        return Done("found")

    verify = probe if effect is Effect.VERIFIED else None

    @tool(effect=effect, retry=Retry(attempts=3, backoff="1m", jitter=0.0), verify=verify)
    async def transfer() -> str:
        calls.append(effect)
        if len(calls) == 1:
            raise ConnectionResetError("hung up")
        return "done"

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        return await transfer()

    return app, source


@pytest.mark.parametrize(
    ("before", "now", "calls", "output"),
    [
        (Effect.VERIFIED, Effect.IDEMPOTENT, 2, "done"),
        (Effect.VERIFIED, Effect.READ, 2, "done"),
        (Effect.VERIFIED, Effect.AT_MOST_ONCE, 1, None),
        (Effect.IDEMPOTENT, Effect.AT_MOST_ONCE, 1, None),
        (Effect.IDEMPOTENT, Effect.VERIFIED, 1, "found"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["while it rests", "when its rest is over"])
def test_what_follows_a_rest_is_what_the_class_of_today_allows(
    before: Effect, now: Effect, calls: int, output: str | None, late: bool
) -> None:
    made: list[Effect] = []
    app, source = bank(before, made)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.advance("1s")
        assert made == [before]
        if late:
            world._clock.move_to(world._clock.now() + 3_600_000_000)
        world.restart(bank(now, made)[0])
        world.settle()
        run = world.run().expect("in_doubt" if output is None else "done")
        assert (len(made), None if output is None else run.output) == (calls, output)
