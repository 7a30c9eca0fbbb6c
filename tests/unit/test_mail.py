"""Signals find who waits for them: a run that goes on without what it was promised leaves it to another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.core.facts import CancelRequested, Signalled
from millstream.core.identity import parse_run_id
from millstream.core.tables import MAIL, Commit, MailRow
from millstream.testing import AppRun

Ctx = Context[dict[str, Any]]


@tool(effect=Effect.IDEMPOTENT)
async def pay(cents: int) -> int:
    return cents


def shop(cents: int = 1) -> tuple[App, Any, Any]:
    """Two runs of a key wait at the same time, and each signal is for whichever comes first."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict, waiting="release")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        await pay(cents if event["id"] == "first" else 0)
        try:
            return str((await ctx.receive("go")).value)
        except asyncio.CancelledError:
            await ctx.sleep("1d")  # no hurry with giving the money back
            await pay(-cents)
            raise

    return app, source, a


def test_what_was_promised_to_a_run_that_does_not_follow_its_record_is_for_the_next_one() -> None:
    app, source, _ = shop()
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "first"}, {"k": "one", "id": "second"})
        world.settle()
        edited, _, agent = shop(cents=2)
        world.restart(edited)
        world.signal(agent, "go", "went", key="one")
        world.settle()
        world.run_of("first").expect("diverged")
        assert world.run_of("second").expect("done").output == "went"


def test_what_was_promised_to_a_run_that_is_cancelled_meanwhile_is_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    app, source, agent = shop()
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "first"}, {"k": "one", "id": "second"})
        world.settle()
        first, engine = world.run_of("first"), world._alive.engine
        durable, now, number = engine.committer._done, engine.clock.now(), parse_run_id(first.id).number
        promised: list[int] = []

        def told(commit: Commit, took: float) -> None:
            """The signal is durable, and promised to the first run; that is brought back behind what has gathered meanwhile."""
            monkeypatch.undo()
            engine.feed(Signalled(now, None, "a", "another", "noise", "1", None, None, None))
            durable(commit, took)
            promised.extend(engine.machine.mail._promised)
            engine.feed(CancelRequested(now, number))

        monkeypatch.setattr(engine.committer, "_done", told)
        world.signal(agent, "go", "went", key="one")
        world.advance("1s")
        assert promised == [number]
        first.expect("waiting")  # it is on its way out, and has let go of the key
        assert world.run_of("second").expect("done").output == "went"
        world.settle()
        first.expect("cancelled")


def test_who_waits_for_just_this_is_served_before_who_takes_any() -> None:
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a", state=dict, waiting="release")
    async def a(ctx: Ctx, event: dict[str, Any]) -> Any:
        return (await ctx.receive("go", about=event["about"])).value

    @app.agent(on=source, name="both", state=dict)
    async def both(ctx: Ctx, event: dict[str, Any]) -> Any:
        if event["about"]:
            return [signal.value for signal in await asyncio.gather(ctx.receive("go"), ctx.receive("go", about="this"))]

    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": "any", "about": None}, {"k": "one", "id": "this", "about": "this"})
        world.settle()
        for agent in (a, both):
            world.signal(agent, "go", "for this", key="one", about="this")
            world.signal(agent, "go", "for any", key="one", about="that")
        world.settle()
        assert [world.run_of(id, a).output for id in ("this", "any")] == ["for this", "for any"]
        assert world.run_of("this", both).output == ["for any", "for this"]


def asking(until: str) -> tuple[App, Any, Any]:
    """An agent asks, does not wait long enough for the answer, which takes an hour, and goes on for a while."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")
    broken = {"broken": False}

    @app.agent(name="slow")
    async def slow(ctx: Ctx, event: dict[str, Any]) -> str:
        await ctx.sleep("1h")
        return "answered"

    @app.agent(on=source, name="a")
    async def a(ctx: Ctx, event: dict[str, Any]) -> str:
        try:
            return str(await ctx.ask("slow", "s", {}, timeout="1m"))
        except TimeoutError:
            await ctx.sleep(until)
            if broken["broken"]:
                raise RuntimeError("broken") from None
            return "too late"

    return app, source, broken


def in_the_mail(world: AppRun) -> list[Any]:
    return list(world._store.tables()["mail"].values())


@pytest.mark.parametrize("put_away", [False, True], ids=["in memory", "put away"])
@pytest.mark.parametrize("until", ["1s", "2h"], ids=["comes when the run is done", "comes while the run goes on"])
def test_an_answer_that_nobody_waited_for_is_not_kept_when_the_run_is_done(until: str, put_away: bool) -> None:
    app, source, _ = asking(until)
    with AppRun(app, put_away=put_away) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        assert [run.output for run in world.runs()] == ["too late", "answered"]
        assert in_the_mail(world) == []


def test_an_answer_that_nobody_waited_for_is_there_for_a_retry_of_a_run_that_failed() -> None:
    app, source, broken = asking("1s")
    broken["broken"] = True
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        run = world.run("a").expect("failed")
        assert [mail.kind for mail in in_the_mail(world)] == ["reply"]
        world.retry(run)
        world.settle()
        assert run.expect("done").output == "answered"
        assert in_the_mail(world) == []


def test_an_answer_that_a_crash_has_left_is_found_at_the_next_start() -> None:
    app, source, _ = asking("1s")
    with AppRun(app) as world:
        world.send(source, {"k": "one", "id": 1})
        world.settle()
        left = MailRow(7 << 32, 0, "a", "one", world.run("a")._number, "reply", "ask.slow", None, "x", None, 0, 0, "1", None)
        commit = Commit(1)
        commit.put(MAIL, left)
        world._store.write(commit)
        world.crash()
        world.settle()
        assert in_the_mail(world) == []
