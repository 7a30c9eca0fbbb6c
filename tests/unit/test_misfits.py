"""Values that do not fit the type they are declared as: of a recorded result, a settlement, a signal."""

from __future__ import annotations

from typing import Any

import msgspec

from millstream import App, Context, Effect, Unknown, jsonl, tool
from millstream.testing import AppRun


class Approval(msgspec.Struct):
    ok: bool


performed: list[str] = []


def bank(result: Any) -> Any:
    """An app whose handler takes any exception for a reason to pay elsewhere."""
    app = App("bank")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @tool(effect=Effect.IDEMPOTENT)
    async def pay(cents: int) -> Any:
        performed.append("pay")
        return "paid"

    pay.fn.__annotations__["return"] = result
    pay = tool(effect=Effect.IDEMPOTENT)(pay.fn)

    @tool(effect=Effect.IDEMPOTENT)
    async def pay_elsewhere(cents: int) -> str:
        performed.append("pay elsewhere")
        return "paid elsewhere"

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        try:
            paid = await pay(5)
        except Exception:
            paid = await pay_elsewhere(5)
        await ctx.receive("go")
        return str(paid)

    return app, source


def test_a_recorded_result_that_does_not_fit_stops_the_run_and_no_except_takes_it_for_an_answer() -> None:
    performed.clear()
    app, source = bank(str)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        world.restart(bank(int)[0])
        run = world.run()
        world.signal(run, "go", True)
        world.settle()
        error = run.expect("diverged").error
        assert error is not None
        assert "the recorded result of pay does not fit its declared type int: Expected `int`, got `str`" in error["message"]
        assert performed == ["pay"]
        world.restart(app)
        world.settle()
        world.retry(run)
        world.settle()
        assert run.expect("done").output == "paid"
    assert performed == ["pay"]


def test_a_settlement_that_does_not_fit_can_be_given_anew() -> None:
    app = App("bank")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    async def pay() -> str:
        raise ConnectionResetError("hung up")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        try:
            return await ctx.step("pay", pay, effect=Effect.AT_MOST_ONCE)
        except Exception:
            return "not paid"

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        (doubt,) = world.doubts()
        world.resolve(doubt, result={"id": "r1"}, by="bob")
        world.settle()
        run = world.run().expect("diverged")
        world.retry(run)
        world.settle()
        run.expect("diverged")  # what bob said is on record
        world.resolve(doubt, result="r1", by="bob")
        world.settle()
        assert run.expect("done").output == "r1"


def test_a_signal_that_does_not_fit_is_noted_and_another_is_waited_for() -> None:
    app = App("approvals")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> list[Any]:
        first = await ctx.receive("approval", type=Approval, timeout="1h")
        second = await ctx.receive("approval", type=Approval)
        return [first.value.ok, first.by, second.value.ok]

    for put_away in (False, True):
        with AppRun(app, put_away=put_away) as world:
            world.send(source, {"k": "a", "id": 1})
            world.settle()
            run = world.run()
            for value in ({"ok": "yes"}, 3, {"ok": True}):
                world.signal(run, "approval", value, by=f"bob {value}")
            world.settle()
            run.expect("waiting")
            world.crash()
            world.signal(run, "approval", {"ok": False})
            world.settle()
            assert run.expect("done").output == [True, "bob {'ok': True}", False]
            assert sum("is not what it waits for: Expected `bool`, got `str` - at `$.ok`" in str(entry) for entry in world.log) == 1


def test_a_probe_that_cannot_tell_leaves_the_evidence_of_the_attempt() -> None:
    said: list[Exception | Unknown] = [Unknown(), KeyError("x")]

    async def probe(call: Any, n: int) -> Unknown:
        answer = said[n]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @tool(effect=Effect.VERIFIED, verify=probe)
    async def ship(n: int) -> None:
        raise TimeoutError("no answer")

    app = App("shipping")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="n")

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await ship(event["n"])

    with AppRun(app) as world:
        world.send(source, {"k": "a", "n": 0}, {"k": "b", "n": 1})
        world.settle()
        assert [doubt.error for doubt in world.doubts()] == [
            {"type": "TimeoutError", "message": "no answer; its probe cannot tell", "data": None},
            {"type": "TimeoutError", "message": "no answer; its probe failed 3 times, at last with KeyError: 'x'", "data": None},
        ]


def test_a_forgotten_await_is_named() -> None:
    app = App("forgetful")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    async def later() -> int:
        return 1

    @app.agent(on=source, name="a")
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return later()

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": 1})
        world.settle()
        error = world.run().expect("failed").error
    assert error is not None
    assert error["message"].endswith("later, which nobody has awaited: add the await")
    assert error["message"].startswith("agent a returned the coroutine")


class Order(msgspec.Struct):
    cents: int


class PricedOrder(msgspec.Struct):
    cents: int
    currency: str


class Total(msgspec.Struct):
    cents: int = 0


class NamedTotal(msgspec.Struct):
    cents: str = ""


def shop(order: Any, total: Any, waiting: Any = "hold") -> Any:
    """An app whose handler looks at its state behind a wait, takes any exception for a reason to pay, and adds up."""
    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key=lambda event: "a", type=order)

    @tool(effect=Effect.IDEMPOTENT)
    async def pay(cents: int) -> str:
        performed.append("pay")
        return "paid"

    async def handler(ctx: Any, event: Any) -> int:
        await ctx.receive("go")
        try:
            ctx.state.cents += event.cents
        except BaseException:
            await pay(event.cents)
            raise
        return int(ctx.state.cents)

    handler.__annotations__ = {"ctx": Context[total], "event": order}
    app.agent(on=source, state=total, waiting=waiting, name="a")(handler)
    return app, source


def diverged(world: AppRun) -> str:
    error = world.runs()[-1].expect("diverged").error
    assert error is not None
    return str(error["message"])


def test_a_recorded_event_that_an_edited_type_cannot_read_stops_the_run_until_it_can() -> None:
    app, source = shop(Order, Total)
    with AppRun(app, put_away=True) as world:
        world.send(source, {"cents": 5})
        world.settle()
        world.restart(shop(PricedOrder, Total)[0])
        world.signal("a", "go", True, key="a")
        world.settle()
        said = diverged(world)
        assert "the event does not fit PricedOrder, which a handles: Object missing required field `currency`" in said
        assert 'Recorded is {"cents":5}; let the type take what is recorded' in said
        assert "The run is kept and tried again when the agent's code changes" in said
        figures = world._alive.engine.snapshot()
        assert (figures.failed, figures.diverged) == (0, 1)
        world.restart(app)
        world.retry(world.run())  # here both versions are one file; otherwise it is tried again by itself
        world.settle()
        assert world.run().expect("done").output == 5


def test_a_queued_run_whose_event_cannot_be_read_at_its_first_start_diverges_too() -> None:
    app, source = shop(Order, Total)
    with AppRun(app, put_away=True) as world:
        world.send(source, {"cents": 5}, {"cents": 6})  # the second one waits for its turn
        world.settle()
        world.restart(shop(PricedOrder, Total)[0])
        world.cancel(world.runs()[0])
        world.settle()
        assert "the event does not fit PricedOrder" in diverged(world)


def test_a_state_that_an_edited_type_cannot_read_stops_the_run_and_nothing_is_performed_for_it() -> None:
    for waiting in ("hold", "release"):
        performed.clear()
        app, source = shop(Order, Total, waiting)
        with AppRun(app, put_away=True) as world:
            world.send(source, {"cents": 5})
            world.settle()
            world.signal("a", "go", True, key="a")
            world.settle()
            world.send(source, {"cents": 6})
            world.settle()
            world.restart(shop(Order, NamedTotal, waiting)[0])
            world.signal("a", "go", True, key="a")
            world.settle()
            assert "the state of this key does not fit NamedTotal: Expected `str`, got `int` - at `$.cents`" in diverged(world)
            assert performed == [], "not even where the handler takes it for an error"
            world.restart(app)
            world.retry(world.runs()[-1])
            world.settle()
            assert world.runs()[-1].expect("done").output == 11


def test_an_answer_that_an_edited_type_cannot_read_says_what_is_recorded() -> None:
    def version(answer: Any) -> Any:
        app = App("asking")
        source = app.source("in", jsonl("in.jsonl"), key=lambda event: "a")

        async def answering(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
            return "five" if answer is str else 5

        answering.__annotations__["return"] = answer
        app.agent(name="answering")(answering)

        @app.agent(on=source, name="asking")
        async def asking(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
            answered = await ctx.ask("answering", "b", {})
            await ctx.receive("go")
            return answered

        return app, source

    app, source = version(str)
    with AppRun(app, put_away=True) as world:
        world.send(source, {})
        world.settle()
        world.restart(version(int)[0])
        world.signal("asking", "go", True, key="a")
        world.settle()
        error = world.run("asking").expect("diverged").error
        assert error is not None
        assert "a recorded answer does not fit int, which the asked agent now returns: Expected `int`" in error["message"]
        assert 'Recorded is "five"' in error["message"]
