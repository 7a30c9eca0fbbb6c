"""``AppRun``: an app in memory and in virtual time, driven, looked at, and explained when a test fails."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import millstream.testing
from millstream import (
    INJECTED,
    App,
    AskFailed,
    Context,
    Effect,
    NotFound,
    Retry,
    ToolCall,
    ToolFailed,
    UsageError,
    jsonl,
    tool,
)
from millstream.errors import CommitFailed
from millstream.testing import AppRun, MemorySource, process

BIG = {"order_id": "o1", "customer": "ann", "cents": 500_000}
SMALL = {"order_id": "o2", "customer": "ann", "cents": 5}

app = App("orders")
orders = app.source("orders", jsonl("there-is-no-such-file.jsonl"), key="customer", id="order_id")


@tool(effect=Effect.IDEMPOTENT, timeout="30s")
async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> dict[str, Any]:
    await asyncio.sleep(2)
    return {"order": order_id, "cents": cents, "key": call.idempotency_key}


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> dict[str, Any] | None:
    if order["cents"] > 100_000:
        answer = await ctx.receive("approval", about=order["order_id"], timeout="24h")
        if not answer.value["ok"]:
            return {"order": order["order_id"], "refused_by": answer.by}
    await charge(order["order_id"], order["cents"])
    ctx.state["spent"] = ctx.state.get("spent", 0) + order["cents"]
    return {"order": order["order_id"], "spent": ctx.state["spent"]}


fulfil.output.sink(jsonl("/there/is/no/such/folder/receipts.jsonl"))


def agent_of(handler: Any, **options: Any) -> tuple[App, Any, Any]:
    """An app of one source and one agent."""
    small = App("small")
    source = small.source("in", jsonl("in"), key="k")
    return small, source, small.agent(on=source, **options)(handler)


# --- the whole of it ------------------------------------------------------------------------------------------------------------


def test_a_run_waits_is_signalled_charges_and_answers_in_no_time() -> None:
    with AppRun(app) as world:
        world.send(orders, BIG, SMALL)
        world.settle()
        run = world.run_of("o1").expect("waiting")
        assert run.waits_for == ["approval"]
        assert world.run_of("o2").status == "queued"
        assert world.attempts(charge) == []
        assert world.signal(run, "approval", {"ok": True}, about="o1", by="bob")
        world.settle()
        assert run.status == "done"
        assert world.outputs(fulfil.output) == [{"order": "o1", "spent": 500_000}, {"order": "o2", "spent": 500_005}]
        assert world.state(fulfil, "ann") == {"spent": 500_005}
        step = run.step(charge)
        assert (step.status, step.attempts, step.effect) == ("done", 1, Effect.IDEMPOTENT)
        assert (step.args, step.kwargs) == (["o1", 500_000], {})
        assert step.result["key"] == step.key
        assert world.effects(charge) == {step.key: 1, world.run_of("o2").step("charge").key: 1}
        assert world.now == datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)


def test_a_wait_ends_when_its_time_has_come_and_not_before() -> None:
    with AppRun(app) as world:
        world.send(orders, BIG)
        world.settle()
        world.advance("23h")
        world.settle()
        run = world.run(fulfil, key="ann").expect("waiting")
        world.advance("1h")
        assert run.expect("failed").error is not None
        assert run.error == {"type": "TimeoutError", "message": run.error["message"], "data": run.error["data"]}
        assert run.finished == datetime(2026, 1, 2, tzinfo=UTC)


def test_nothing_is_read_or_written_outside_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with AppRun(app) as world:
        world.send(orders, SMALL)
        world.settle()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_one_scenario_are_the_same_to_the_letter() -> None:
    def scenario(seed: int) -> str:
        with AppRun(app, seed=seed) as world:
            world.send(orders, BIG, SMALL, {"order_id": "o3", "customer": "bea", "cents": 3})
            world.settle()
            world.signal(fulfil, "approval", {"ok": False}, key="ann", about="o1", by="bob")
            world.settle()
            return world.story()

    assert scenario(0) == scenario(0)
    assert scenario(0) != scenario(1)


# --- what is sent ---------------------------------------------------------------------------------------------------------------


@dataclass
class Order:
    customer: str
    cents: int


def typed() -> tuple[App, Any, Any]:
    typed = App("typed")
    source = typed.source("orders", jsonl("x"), key="customer", type=Order)

    @typed.agent(on=source, state=Seen)
    async def keep(ctx: Context[Seen], order: Order) -> Order:
        ctx.state.cents.append(order.cents)
        return Order(order.customer, order.cents * 2)

    return typed, source, keep


@dataclass
class Seen:
    cents: list[int] = field(default_factory=list)


def test_values_go_through_the_source_and_come_out_with_their_types() -> None:
    app, source, keep = typed()
    with AppRun(app) as world:
        world.send(source, Order("ann", 1), {"customer": "ann", "cents": 2}, b'{"cents": 3, "customer": "ann"}')
        world.send("orders", {"customer": 7, "cents": 4}, {"cents": 5}, b"{")
        world.settle()
        assert world.outputs(source) == [Order("ann", 1), Order("ann", 2), Order("ann", 3)]
        assert world.outputs(keep.output) == [Order("ann", 2), Order("ann", 4), Order("ann", 6)]
        assert world.state(keep, "ann") == Seen([1, 2, 3])
        assert world.state("keep", "nobody") == Seen()
        assert world.run_of("orders:1").event == Order("ann", 1)
        letters = world.dead_letters()
        assert [(letter.stream, letter.position) for letter in letters] == [("orders", 4), ("orders", 5), ("orders", 6)]
        assert "malformed JSON" in letters[2].error
        assert letters[2].data == "{"
        assert [letter["position"] for letter in world.outputs(app.dead_letters)] == [4, 5, 6]
        answer = world.retry_letters()
        assert (answer["retried"], answer["refused"], answer["remaining"]) == (0, 3, 3)


def test_an_id_is_one_event_until_its_time_is_over() -> None:
    with AppRun(app) as world:
        world.send(orders, SMALL, SMALL)
        world.settle()
        world.advance("6d")
        world.send(orders, SMALL)
        world.settle()
        assert len(world.runs()) == 1
        world.advance("2d")
        world.send(orders, SMALL)
        world.settle()
        assert len(world.runs()) == 2


def test_an_agent_can_be_sent_to_without_a_stream() -> None:
    app, _, keep = typed()
    with AppRun(app) as world:
        world.send(keep, Order("zoe", 1), {"customer": "zoe", "cents": 2}, key="ann")
        world.send("keep", Order("zoe", 3), key=7)
        world.settle()
        assert world.state(keep, "ann") == Seen([1, 2])
        assert world.run(keep, key=7).event == Order("zoe", 3)
        with pytest.raises(UsageError, match=r"agent keep handles Order, which \{'no': 1\} is not"):
            world.send(keep, {"no": 1}, key="ann")
        with pytest.raises(UsageError, match="give key="):
            world.send(keep, Order("zoe", 1))


def test_what_cannot_be_sent_says_so() -> None:
    app, source, keep = typed()
    with AppRun(app) as world:
        with pytest.raises(NotFound, match="there is no source or agent 'ordrs'; there are orders"):
            world.send("ordrs", {})
        with pytest.raises(NotFound, match=r"keep.output is no source; events come from orders"):
            world.send(keep.output, {})
        with pytest.raises(UsageError, match="makes the keys of its events itself"):
            world.send(source, {}, key="ann")
        with pytest.raises(UsageError, match="cannot be written as JSON"):
            world.send(source, object())


# --- time -----------------------------------------------------------------------------------------------------------------------


def test_sleeps_and_back_offs_are_waited_for_and_cost_nothing() -> None:
    failures = iter([TimeoutError, TimeoutError, None])

    @tool(effect=Effect.READ, retry=Retry(attempts=3, backoff="1h", max_backoff="90m", jitter=0.0))
    async def flaky() -> int:
        if failure := next(failures):
            raise failure
        return 1

    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        await flaky()
        before = ctx.now()
        await ctx.sleep("300d")
        await asyncio.sleep(0.25)
        return str(ctx.now() - before)

    app, source, agent = agent_of(handler)
    with AppRun(app, start=datetime(2030, 6, 1, tzinfo=UTC)) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == ["300 days, 0:00:00.250000"]
        assert world.now - datetime(2030, 6, 1, tzinfo=UTC) == timedelta(minutes=150, days=300, milliseconds=250)
        assert [attempt.ended for attempt in world.attempts(flaky)] == ["raised", "raised", "returned"]


def test_time_outs_of_tools_pass_in_no_time() -> None:
    @tool(effect=Effect.READ, timeout="30s", retry=Retry(attempts=1))
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        try:
            await hang()
        except ToolFailed as error:
            return error.type
        return "?"

    app, source, agent = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == ["TimeoutError"]
        assert world.now == datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
        assert [attempt.ended for attempt in world.attempts()] == ["cancelled"]


def test_advance_lets_exactly_so_much_time_pass_and_everything_happen_when_it_is_due() -> None:
    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        await ctx.sleep(event["for"])
        return f"{event['for']} at {ctx.now():%H:%M:%S}"

    app, source, agent = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "for": "10s"}, {"k": "b", "for": "3s"}, {"k": "c", "for": "40m"}, {"k": "d", "for": "3s"})
        world.advance("2s")
        assert world.outputs(agent.output) == []
        world.advance("1s")
        assert world.outputs(agent.output) == ["3s at 00:00:03", "3s at 00:00:03"]
        world.advance("1h")
        assert world.outputs(agent.output)[2:] == ["10s at 00:00:10", "40m at 00:40:00"]
        assert world.now == datetime(2026, 1, 1, 1, 0, 3, tzinfo=UTC)


def test_an_app_that_never_rests_is_told_from_one_that_does() -> None:
    async def poll(ctx: Any, event: dict[str, Any]) -> None:
        while True:
            await ctx.sleep("1h")

    app, source, _ = agent_of(poll)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        with pytest.raises(AssertionError, match=r"does not come to rest: after 48 waits.*asleep: .*advance\(\)"):
            world.settle(within="2d")
        world.advance("3h")
        assert world.run().status == "waiting"


def test_a_time_zone_is_asked_for() -> None:
    with pytest.raises(UsageError, match="has no zone"):
        AppRun(app, start=datetime(2026, 1, 1))  # noqa: DTZ001


# --- threads, sockets: what no clock hurries ------------------------------------------------------------------------------------


def test_blocking_tools_run_in_threads_and_are_really_waited_for() -> None:
    together = threading.Barrier(2, timeout=10)

    @tool(effect=Effect.READ, timeout="30s")
    def block(name: str) -> str:
        together.wait()
        time.sleep(0.02)
        return f"{name} in {threading.current_thread().name}"

    @tool(effect=Effect.READ, timeout="30s")
    async def beside() -> int:
        return await asyncio.to_thread(lambda: time.sleep(0.05) or 7)

    async def handler(ctx: Any, event: dict[str, Any]) -> list[Any]:
        return [*await asyncio.gather(block("a"), block("b")), await beside()]

    app, source, agent = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == [["a in millstream block", "b in millstream block", 7]]
        assert world.now == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_thread_that_outlives_its_time_out_is_in_doubt_and_a_late_result_settles_it() -> None:
    let_go = threading.Event()

    @tool(timeout="50ms")
    def stuck() -> str:
        let_go.wait(10)
        return "late"

    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        return await stuck()

    app, source, agent = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert [doubt.tool for doubt in world.doubts()] == ["stuck"]
        assert world.doubts()[0].status == "in_doubt"
        let_go.set()
        while world.doubts():  # when it ends is for the machine to say
            world.settle()
        assert world.outputs(agent.output) == ["late"]


@contextmanager
def slow_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10)
                time.sleep(0.3)  # longer than the kit waits for what it does not understand
                connection.sendall(b"pong\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_no_time_passes_over_a_tool_that_waits_for_a_socket() -> None:
    with slow_server() as port:

        @tool(effect=Effect.READ, timeout="5s", retry=Retry(attempts=1))
        async def ping() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"ping")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line.decode().strip()

        async def handler(ctx: Any, event: dict[str, Any]) -> str:
            return await ping()

        app, source, agent = agent_of(handler)
        with AppRun(app) as world:
            world.send(source, {"k": "a"})
            world.settle()
            assert world.outputs(agent.output) == ["pong"]


# --- what people do -------------------------------------------------------------------------------------------------------------


def test_a_signal_with_an_id_counts_once() -> None:
    with AppRun(app) as world:
        world.send(orders, BIG)
        world.settle()
        assert world.signal(fulfil, "approval", {"ok": False}, key="ann", about="o1", id="s1", by="bob")
        assert not world.signal("fulfil", "approval", {"ok": True}, key="ann", about="o1", id="s1")
        world.settle()
        assert world.outputs(fulfil.output) == [{"order": "o1", "refused_by": "bob"}]
        (step,) = world.run_of("o1").steps("approval")
        assert (step.kind, step.result, step.by) == ("signal", {"ok": False}, "bob")
        with pytest.raises(UsageError, match="is done: it receives nothing any more"):
            world.signal(world.run_of("o1"), "approval")


@tool
async def mail(to: str) -> str:
    raise ConnectionResetError("gone")


async def mailing(ctx: Any, event: dict[str, Any]) -> str:
    try:
        return await mail(event["k"])
    except ToolFailed as error:
        return error.message


def test_a_doubt_is_settled_with_a_result_a_retry_or_a_failure() -> None:
    app, source, agent = agent_of(mailing)
    with AppRun(app) as world:
        world.send(source, {"k": "a"}, {"k": "b"}, {"k": "c"})
        world.settle()
        a, b, c = world.doubts()
        assert (a.status, a.tool, a.args, a.attempts) == ("in_doubt", "mail", ["a"], 1)
        assert a.error == {"type": "ConnectionResetError", "message": "gone", "data": None}
        assert world.run(key="a").expect("in_doubt").step("mail").id == a.id
        assert [doubt["step"] for doubt in world.outputs(app.doubts)] == [a.id, b.id, c.id]
        world.resolve(a, result="it was sent", by="bob")
        world.resolve(b.id, fail="it was not sent")
        world.resolve(c, retry=True)
        world.settle()
        assert world.outputs(agent.output) == ["it was sent", "it was not sent"]
        assert world.run(key="a").step(mail).by == "bob"
        assert [doubt.attempts for doubt in world.doubts()] == [2]
        for how in ({}, {"retry": False}, {"result": None, "fail": "x"}):
            with pytest.raises(UsageError, match="give one of result=, retry=True and fail="):
                world.resolve(c, **how)


def test_a_run_is_retried_and_cancelled() -> None:
    broken = [True]
    undone: list[str] = []

    @tool(effect=Effect.READ)
    async def look() -> None:
        if broken:
            raise ValueError("broken")

    @tool
    async def undo(what: str) -> None:
        undone.append(what)

    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        await look()
        try:
            await ctx.receive("go")
        except asyncio.CancelledError:
            await undo(ctx.key)
            raise
        return "gone"

    app, source, _ = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run().expect("failed")
        assert run.error is not None
        assert run.error["type"] == "ValueError"
        assert [failure["run"] for failure in world.outputs(app.failures)] == [run.id]
        broken.clear()
        world.retry(run, by="bob")
        world.settle()
        assert run.expect("waiting").retries == 1
        with pytest.raises(UsageError, match="only failed, diverged and cancelled runs can be retried"):
            world.retry(run)
        world.cancel(run)
        world.settle()
        assert run.status == "cancelled"
        assert undone == ["a"]


# --- what is found --------------------------------------------------------------------------------------------------------------


def test_agents_ask_send_and_emit_and_every_stream_can_be_looked_at() -> None:
    app = App("several")
    source = app.source("in", jsonl("in"), key="k")
    alerts = app.stream("alerts", key="about")
    loud = alerts.map(lambda alert: {alert["about"]}, name="loud").filter(lambda names: "b" not in names, name="rare")

    @app.agent(on=None)
    async def teller(ctx: Context[dict[str, Any]], question: dict[str, Any]) -> str:
        if question["ask"] == "b":
            raise ValueError("who?")
        return f"{ctx.key}: {question['ask']}"

    @app.agent(on=source)
    async def asker(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        ctx.emit(alerts, {"about": ctx.key})
        ctx.send(teller, "late", {"ask": "later"})
        try:
            told = await ctx.ask(teller, "oracle", {"ask": ctx.key})
        except AskFailed as failed:
            told = failed.message
        return str(told)

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        world.send(source, {"k": "b"})
        world.settle()
        first, second = world.runs(asker)
        assert first.output == "oracle: a"
        assert "who?" in second.output
        assert world.outputs(teller.output) == ["oracle: a", "late: later", "late: later"]
        assert world.outputs(alerts) == [{"about": "a"}, {"about": "b"}]
        assert world.outputs("loud") == [["a"], ["b"]]
        assert world.outputs(loud) == [["a"]]
        step = first.step(teller.name)
        assert (step.kind, step.status, step.args, step.result) == ("ask", "done", [{"ask": "a"}], "oracle: a")
        with pytest.raises(NotFound, match="there is no stream 'alarms'; there are alerts, "):
            world.outputs("alarms")


def test_runs_are_found_by_agent_key_and_status_and_a_wrong_number_of_them_is_told() -> None:
    with AppRun(app) as world:
        world.send(orders, BIG, SMALL, {"order_id": "o3", "customer": "bea", "cents": 3})
        world.settle()
        assert [run.event_id for run in world.runs()] == ["o1", "o2", "o3"]
        assert [run.event_id for run in world.runs(fulfil, key="ann")] == ["o1", "o2"]
        assert [run.event_id for run in world.runs("fulfil", status="done")] == ["o3"]
        assert world.run(key="bea") == world.run_of("o3") == world.run_of("o3", fulfil)
        assert len({world.run(key="bea"), world.run_of("o3")}) == 1
        with pytest.raises(
            AssertionError, match=r"there is no run of event 'o4'; there are\n  <run .* 'ann': waiting for approval>"
        ):
            world.run_of("o4")
        with pytest.raises(AssertionError, match=r"there is not one such run, but 2:\n  <run"):
            world.run(fulfil, key="ann")
        with pytest.raises(NotFound, match="there is no agent 'fulfill'; there are fulfil"):
            world.runs("fulfill")
        with pytest.raises(NotFound, match="there is no agent 'fulfill'"):
            world.state("fulfill", "ann")


def test_steps_are_found_by_tool_and_by_name() -> None:
    async def handler(ctx: Any, event: dict[str, Any]) -> None:
        await asyncio.gather(charge("o1", 1), charge("o2", cents=2))
        with ctx.scope("again"):
            await charge.using(name="quick", timeout="5s")("o3", 3)
        await ctx.step("plain", lambda: [1])
        await ctx.sleep("1s")
        await ctx.receive("go")

    app, source, _ = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        run = world.run()
        names = [(step.name, step.kind, step.status) for step in run.steps()]
        assert names == [
            ("charge", "tool", "done"),
            ("charge:2", "tool", "done"),
            ("again/quick", "tool", "done"),
            ("plain", "tool", "done"),
            ("timer", "timer", "done"),
            ("signal.go", "signal", "waiting"),
        ]
        assert [step.args for step in run.steps(charge)] == [["o1", 1], ["o2"], ["o3", 3]]
        assert run.step("charge:2").kwargs == {"cents": 2}
        assert run.step("plain").result == [1]
        assert len(world.attempts("charge")) == 3
        assert repr(run.step("plain")) == f"<step {run.id}/plain: done>"
        assert repr(world.attempts()[0]) == f"<attempt 1 of {run.id}/charge: returned>"
        with pytest.raises(AssertionError, match=r"has 3 steps 'charge'; its steps: charge, charge:2, again/quick, (?s:.*)event"):
            run.step(charge)


# --- what is put in place of the app's own --------------------------------------------------------------------------------------


def test_a_run_that_waits_can_be_put_away_every_time() -> None:
    starts = []

    async def handler(ctx: Any, event: dict[str, Any]) -> list[str]:
        starts.append(ctx.key)
        return [(await ctx.receive("go")).value for _ in range(3)]

    for put_away, count in ((False, 1), (True, 4)):
        starts.clear()
        app, source, agent = agent_of(handler)
        with AppRun(app, put_away=put_away) as world:
            world.send(source, {"k": "a"})
            for value in "xyz":
                world.settle()
                world.signal(agent, "go", value, key="a")
            world.settle()
            assert world.outputs(agent.output) == [["x", "y", "z"]]
            assert len(starts) == count


# --- when a test fails, or is wrong ---------------------------------------------------------------------------------------------


def test_a_failing_test_tells_the_story() -> None:
    def scenario() -> None:
        with AppRun(app) as world:
            world.send(orders, BIG, b"[]")
            world.settle()
            world.crash()
            world.run_of("o1").expect("done")

    with pytest.raises(AssertionError) as failure:
        scenario()
    assert "is waiting, not done\nrun" in str(failure.value)
    (note,) = failure.value.__notes__
    assert "fulfil 'ann', event 'o1': waiting" in note
    assert "waits for signal 'approval' about 'o1'" in note
    assert "+1d 00:00:00.000  its next timer" in note
    assert "dead letter of orders at 2: " in note
    assert "the process died: crash()" in note
    assert "now 2026-01-01T00:00:00+00:00" in note


def test_the_story_tells_of_attempts_doubts_and_what_was_settled() -> None:
    app, source, _ = agent_of(mailing)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        world.resolve(world.doubts()[0], retry=True, by="bob")
        world.settle()
        world.resolve(world.doubts()[0], fail="no", by="eve")
        world.settle()
        story = world.story()
        for part in (
            'intended, at_most_once, attempt 1, [["a"],{}], key ',
            "in doubt: ConnectionResetError: gone",
            "settled: retry by bob",
        ):
            assert f"mail: {part}" in story
        assert "mail: at_most_once (attempt 2), settled by eve failed: Denied: no" in story
        assert "done, returned 'no'" in story
        assert any("in doubt" in text for level, text in world.log if level == "warning")


def test_what_the_engine_cannot_go_on_with_is_raised_where_it_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        with AppRun(app) as world:
            world.send(orders, SMALL)
            monkeypatch.setattr(world._store, "write", lambda commit: (_ for _ in ()).throw(CommitFailed("disk on fire")))
            world.settle()

    with pytest.raises(CommitFailed, match="disk on fire"):
        broken()


def test_code_that_never_ends_is_left_behind() -> None:
    @tool(timeout="1s")
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def handler(ctx: Any, event: dict[str, Any]) -> None:
        await stubborn()

    app, source, _ = agent_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        world.run().expect("in_doubt")


def test_what_should_come_and_does_not_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_S", 0.05)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    with pytest.raises(
        AssertionError, match=r"what the test waits for has not come within 0\.05 s: the app's resources are being made"
    ):
        AppRun(App("dead", lifespan)).__enter__()


def test_it_is_used_once_in_a_with_block_and_not_in_a_coroutine() -> None:
    run = AppRun(app)
    with pytest.raises(UsageError, match="use `with AppRun"):
        run.settle()
    with run:
        pass
    with pytest.raises(UsageError, match="used once"), run:
        pass

    async def inside() -> None:
        with pytest.raises(UsageError, match="make the test a plain def"):
            AppRun(app).__enter__()

    asyncio.run(inside())


def test_a_declaration_of_memory_is_as_good_as_a_file() -> None:
    source = MemorySource([SMALL])
    other = App("other")
    other.source("in", source, key="customer")
    with AppRun(other) as world:  # the test's own world: what the declaration holds stays there
        world.settle()
        assert world.outputs("in") == []


def test_the_public_names_are_these_and_cost_no_pytest() -> None:
    assert set(millstream.testing.__all__) == {
        "AppRun", "Limits", "every_crash", "Crash", "CrashAt", "Run", "Step", "Attempt", "DeadLetter",
        "MemorySource", "MemorySink", "VirtualClock", "VirtualLoop",
    }  # fmt: skip
    assert all(getattr(millstream.testing, name).__doc__ for name in millstream.testing.__all__)
    script = "import sys, millstream.testing; print(*sys.modules)"
    there = set(subprocess.check_output([sys.executable, "-c", script], text=True).split())
    assert not there & {"pytest", "apsw", "pydantic", "rich", "typer", "uvloop"}
