"""Crashes through the kit: each point, each class of effects; what is dead stays dead; every moment of a scenario."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from millstream import INJECTED, App, Connection, Context, Done, Effect, NotDone, ToolCall, UsageError, jsonl, tool
from millstream.testing import AppRun, every_crash, process
from millstream.testing.crashes import POINTS, Point

# --- the crash matrix -----------------------------------------------------------------------------------------------------------


class FarSide:
    """The world outside: what really happened there, and how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.acts: list[str] = []
        self.keys: set[str] = set()
        self.database = folder / "far.db"

    def act(self, what: str) -> str:
        self.acts.append(what)
        return what

    def act_once(self, key: str) -> str:
        """An API that honours idempotency keys."""
        if key not in self.keys:
            self.keys.add(key)
            self.acts.append("charged")
        return "charged"

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.database, timeout=30)
        connection.execute("CREATE TABLE IF NOT EXISTS booked (what TEXT)")
        return connection

    @property
    def booked(self) -> int:
        connection = self.connect()
        try:
            return int(connection.execute("SELECT count(*) FROM booked").fetchone()[0])
        finally:
            connection.close()

    @property
    def happened(self) -> int:
        return len(self.acts) + self.booked


def tools(far: FarSide) -> dict[str, Any]:
    """One for each class, as a coroutine (whose effect is between two awaits) and in a thread."""

    @tool(effect=Effect.READ)
    async def read() -> str:
        await asyncio.sleep(1)
        return far.act("read")

    @tool(effect=Effect.READ)
    def read_in_thread() -> str:
        return far.act("read")

    @tool(effect=Effect.IDEMPOTENT)
    async def idempotent(call: ToolCall = INJECTED) -> str:
        await asyncio.sleep(1)
        result = far.act_once(call.idempotency_key)
        await asyncio.sleep(1)
        return result

    @tool(effect=Effect.IDEMPOTENT)
    def idempotent_in_thread(call: ToolCall = INJECTED) -> str:
        return far.act_once(call.idempotency_key)

    @tool(effect=Effect.TRANSACTIONAL, database=far.connect)
    def transactional(conn: Connection = INJECTED) -> str:
        conn.execute("INSERT INTO booked VALUES ('x')")
        return "booked"

    async def probe(call: ToolCall) -> Done[str] | NotDone:
        await asyncio.sleep(1)
        return Done("shipped") if "shipped" in far.acts else NotDone()

    @tool(effect=Effect.VERIFIED, verify=probe)
    async def verified() -> str:
        await asyncio.sleep(1)
        far.act("shipped")
        await asyncio.sleep(1)
        return "shipped"

    @tool(effect=Effect.VERIFIED, verify=probe)
    def verified_in_thread() -> str:
        return far.act("shipped")

    @tool
    async def at_most_once() -> str:
        await asyncio.sleep(1)
        far.act("sent")
        await asyncio.sleep(1)
        return "sent"

    @tool
    def at_most_once_in_thread() -> str:
        return far.act("sent")

    @tool
    async def acts_before_it_waits() -> str:
        far.act("sent")
        await asyncio.sleep(1)
        return "sent"

    return {name: value for name, value in locals().items() if name not in ("far", "probe")}


def app_of(one: Any) -> tuple[App, Any, Any]:
    app = App("one")
    source = app.source("in", jsonl("in"), key="k", id="id")

    @app.agent(on=source, state=dict)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        result = await one()
        ctx.state["runs"] = ctx.state.get("runs", 0) + 1
        return str(result)

    return app, source, agent


TOOLS = list(tools(FarSide(Path())))
CRASHES: tuple[Point, ...] = ("before_intent", "intended", "sent", "performed", "recorded")


@pytest.mark.parametrize("point", CRASHES)
@pytest.mark.parametrize("name", TOOLS)
def test_the_promise_of_the_class_holds_at_every_point(name: str, point: Point, tmp_path: Path) -> None:
    far = FarSide(tmp_path)
    one = tools(far)[name]
    app, source, agent = app_of(one)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with world.crash_at(one, point) as crash:
            world.settle()
        assert crash.happened == 1
        run = world.run_of("1")
        bodies = Counter(attempt.ended for attempt in world.attempts(one) if not attempt.probe)
        if one.spec.policy.effect is Effect.AT_MOST_ONCE and point in ("intended", "sent", "performed"):
            # Never performed again, and never silently lost.
            expected = {"intended": 0, "sent": int(name == "acts_before_it_waits"), "performed": 1}[point]
            assert far.happened == expected
            assert sum(bodies.values()) == (0 if point == "intended" else 1)
            run.expect("in_doubt")
            world.resolve(world.doubts()[0], result="by hand")
            world.settle()
            assert far.happened == expected
            assert world.outputs(agent.output) == ["by hand"]
        else:
            run.expect("done")
            if one.spec.policy.effect is Effect.READ:
                assert 1 <= far.happened <= 2
            else:
                assert far.happened == 1
            assert world.outputs(agent.output) == [run.step(one).result]
        assert world.state(agent, "a") == {"runs": 1}
        assert len(world.runs()) == 1


def test_a_body_is_performed_again_only_where_its_class_allows(tmp_path: Path) -> None:
    far = FarSide(tmp_path)
    performed = {}
    for name, one in tools(far).items():
        app, source, _ = app_of(one)
        far.acts.clear()
        with AppRun(app, seed=len(performed)) as world:
            world.send(source, {"k": "a", "id": "1"})
            with world.crash_at(name, "performed"):
                world.settle()
            performed[name] = sum(world.effects(name).values())
    assert performed == {
        "read": 2,
        "read_in_thread": 2,
        "idempotent": 2,  # the same key: once at the far side
        "idempotent_in_thread": 2,
        "transactional": 1,  # asked by inserting the key row again
        "verified": 1,  # asked by its probe
        "verified_in_thread": 1,
        "at_most_once": 1,
        "at_most_once_in_thread": 1,
        "acts_before_it_waits": 1,
    }


def test_a_probe_can_die_as_well(tmp_path: Path) -> None:
    far = FarSide(tmp_path)
    one = tools(far)["verified"]
    app, source, agent = app_of(one)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with world.crash_at(one, "performed"), world.crash_at(one, "probed", times=2):
            world.settle()
        assert world.outputs(agent.output) == ["shipped"]
        assert far.acts == ["shipped"]
        assert [attempt.probe for attempt in world.attempts(one)] == [False, True, True, True]


def test_what_a_transaction_did_before_its_commit_is_gone(tmp_path: Path) -> None:
    far = FarSide(tmp_path)
    one = tools(far)["transactional"]
    app, source, _ = app_of(one)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with world.crash_at(one, "sent", times=2):
            world.settle()
        assert [attempt.ended for attempt in world.attempts(one)] == ["crashed", "crashed", "returned"]
        assert far.booked == 1


# --- crash_at ---------------------------------------------------------------------------------------------------------------------


def test_the_nth_time_of_a_point_is_chosen(tmp_path: Path) -> None:
    one = tools(FarSide(tmp_path))["idempotent"]
    app = App("three")
    source = app.source("in", jsonl("in"), key="k")

    @app.agent(on=source)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        for _ in range(3):
            await one()

    for which in ("idempotent:2", one):
        with AppRun(app) as world:
            world.send(source, {"k": "a"})
            with world.crash_at(which, "intended", nth=1 if isinstance(which, str) else 2) as crash:
                world.settle()
            assert (
                repr(crash) == f"<crash at {'idempotent:2' if isinstance(which, str) else 'idempotent'} intended, 1 of 1 happened>"
            )
            assert [attempt.number for attempt in world.attempts()] == [1, 2, 1]


def test_a_crash_that_does_not_happen_fails_the_test(tmp_path: Path) -> None:
    one = tools(FarSide(tmp_path))["read"]
    app, source, _ = app_of(one)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with (
            pytest.raises(
                AssertionError, match=r"0 of 1 crashes happened; the point was reached 0 times\. Of this step: .*/read performed"
            ),
            world.crash_at(one, "probed"),
        ):
            world.settle()
        with pytest.raises(AssertionError, match="it was not seen at all"), world.crash_at("reed", "sent"):
            world.settle()
        with (
            pytest.raises(AssertionError, match=r"0 times, and 1 times before the block was entered: signal\(\), "),
            world.crash_at(one, "sent"),
        ):
            world.settle()
        with pytest.raises(UsageError, match="there is no such point; there are before_intent, intended, "):
            world.crash_at(one, "sentt")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="count from 1"):
            world.crash_at(one, "sent", times=0)


def test_a_run_that_kills_the_process_every_time_is_failed_as_poisoned(tmp_path: Path) -> None:
    one = tools(FarSide(tmp_path))["idempotent"]
    app, source, _ = app_of(one)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with world.crash_at(one, "performed", times=6):
            world.settle()
        run = world.run().expect("failed")
        assert run.error is not None
        assert run.error["type"] == "Poisoned"
        world.retry(run)
        world.settle()
        run.expect("done")


# --- dead means dead --------------------------------------------------------------------------------------------------------------


def test_nothing_of_a_dead_process_runs_on() -> None:
    done: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async def in_background() -> None:
            while True:
                await asyncio.sleep(10)
                done.append("in the background")

        task = asyncio.ensure_future(in_background())
        try:
            yield
        finally:
            done.append("let go")
            task.cancel()

    @tool(effect=Effect.IDEMPOTENT)
    async def slow(call: ToolCall = INJECTED) -> None:
        try:
            done.append(f"begun {call.attempt}")
            await asyncio.sleep(5)
            done.append(f"acted {call.attempt}")
        finally:
            done.append(f"finally {call.attempt}")

    app = App("dead", lifespan)
    source = app.source("in", jsonl("in"), key="k")

    @app.agent(on=source)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        try:
            await slow()
        finally:
            done.append("handler")

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.advance("3s")
        world.crash()
        gc.collect()
        assert done == ["begun 1"]
        assert [attempt.ended for attempt in world.attempts()] == ["crashed"]
        world.settle()
        assert done == ["begun 1", "begun 2", "acted 2", "finally 2", "handler"]
        world.advance("1h")
        assert Counter(done)["in the background"] == (3600 + 5) // 10
        assert "let go" not in done
    assert Counter(done)["let go"] == 1


def test_not_even_the_end_of_the_interpreter_runs_a_finally(tmp_path: Path) -> None:
    script = tmp_path / "scenario.py"
    script.write_text("""
import asyncio
from millstream import App, Effect, jsonl, tool
from millstream.testing import AppRun

@tool(effect=Effect.IDEMPOTENT)
async def slow():
    try:
        await asyncio.sleep(5)
    finally:
        print("finally")

app = App("dead")
source = app.source("in", jsonl("in"), key="k")

@app.agent(on=source)
async def agent(ctx, event):
    await slow()

with AppRun(app) as world:
    world.send(source, {"k": "a"})
    world.advance("1s")
    world.crash()
    world.settle()
""")
    ended = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("finally\n", "")


def test_a_thread_cannot_be_stopped_so_the_death_waits_for_it_and_loses_what_it_returned() -> None:
    begun, let_go, acted = threading.Event(), threading.Event(), []

    @tool(timeout="1h")
    def slow() -> str:
        begun.set()
        let_go.wait(30)
        acted.append(1)
        return "acted"

    app, source, _ = app_of(slow)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        world.advance("0s")  # until nothing more happens: a thread is given a moment, and may go on
        assert begun.wait(30)
        assert acted == []
        threading.Timer(0.05, let_go.set).start()
        world.crash()
        assert acted == [1]
        world.settle()
        assert [doubt.tool for doubt in world.doubts()] == ["slow"]
        assert sum(world.effects(slow).values()) == 1


def test_a_thread_that_does_not_end_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "THREADS_END_S", 0.05)
    let_go = threading.Event()

    @tool(timeout="1h")
    def hung() -> None:
        let_go.wait(10)

    app, source, _ = app_of(hung)
    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        world.advance("0s")
        with pytest.raises(UsageError, match=r"tool hung still runs in a thread after 0.05 s: a thread cannot be killed"):
            world.crash()
    let_go.set()


def test_only_what_was_committed_is_left() -> None:
    @tool(effect=Effect.READ)
    async def read() -> str:
        return "read"

    @tool(effect=Effect.IDEMPOTENT)
    async def act() -> str:
        await asyncio.sleep(1)
        return "acted"

    app = App("left")
    source = app.source("in", jsonl("in"), key="k", id="id")

    @app.agent(on=source, state=dict)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return await read() + await act()

    with AppRun(app) as world:
        world.send(source, {"k": "a", "id": "1"})
        with world.crash_at(act, "before_intent") as crash:
            world.advance("0s")
            assert crash.happened == 1
        # The event was accepted in the commit that was lost: it is read again, and so is what the run had read.
        assert [attempt.ended for attempt in world.attempts(read)] == ["returned", "returned"]
        assert world.state(agent, "a") == {}
        world.settle()
        assert world.outputs(agent.output) == ["readacted"]
        assert world.state(agent, "a") == {"n": 1}


def test_who_asked_a_process_that_died_is_told_and_what_was_committed_is_kept() -> None:
    app = App("asked")
    source = app.source("in", jsonl("in"), key="k", id="id")

    @app.agent(on=source)
    async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return (await ctx.receive("go")).value

    moments = 0
    for crash in every_crash():
        with AppRun(app, crash=crash) as world:
            world.send(source, {"k": "a", "id": "1"})
            world.settle()
            try:
                world.signal(agent, "go", 7, key="a", id="once")
            except ConnectionResetError:
                moments += 1
                world.signal(agent, "go", 7, key="a", id="once")
            world.settle()
            assert world.outputs(agent.output) == [7]
    assert moments >= 2


# --- every crash ------------------------------------------------------------------------------------------------------------------


def test_a_scenario_ends_the_same_wherever_it_crashes(tmp_path: Path) -> None:
    crashes = []
    for crash in every_crash():
        folder = tmp_path / str(len(crashes))
        folder.mkdir()
        far = FarSide(folder)
        every = [
            one for name, one in tools(far).items() if name in ("read", "idempotent", "transactional", "verified", "at_most_once")
        ]
        app = App("every")
        source = app.source("in", jsonl("in"), key="k", id="id")

        @app.agent(on=source, state=dict)
        async def agent(ctx: Context[dict[str, Any]], event: dict[str, Any], every: Any = every) -> list[str]:
            results = [await every[0](), *await asyncio.gather(*(one() for one in every[1:]))]
            await ctx.sleep("1h")
            ctx.state["runs"] = ctx.state.get("runs", 0) + 1
            return [*results, (await ctx.receive("go")).by or ""]

        with AppRun(app, crash=crash) as world:
            world.send(source, {"k": "a", "id": "1"}, {"k": "a", "id": "1"})
            world.settle()
            for doubt in world.doubts():
                assert doubt.tool == "at_most_once"
                world_acts = far.acts.count("sent")
                world.resolve(doubt, result="sent" if world_acts else "given up")
                world.settle()
            while not world.run().waits_for:
                world.settle()
            try:
                world.signal(agent, "go", key="a", by="bob", id="s")
            except ConnectionResetError:
                world.signal(agent, "go", key="a", by="bob", id="s")
            world.settle()
            (output,) = world.outputs(agent.output)
            assert output[:4] == ["read", "charged", "booked", "shipped"]
            assert output[5] == "bob"
            assert far.booked == far.acts.count("charged") == far.acts.count("shipped") == 1
            assert far.acts.count("sent") == (output[4] == "sent")
            assert world.state(agent, "a") == {"runs": 1}
        crashes.append(crash)
    assert len(crashes) > 25
    assert crashes[0].happened == 0
    assert all(crash.happened for crash in crashes[1:])
    places = {str(crash).rpartition(" ")[2] for crash in crashes}
    assert {"sent", "performed"} <= places


def test_every_crash_wants_to_be_given_to_the_run_and_to_be_finite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give it to the run: AppRun\(app, crash=crash\)"):
        for _ in every_crash():
            pass
    one = tools(FarSide(tmp_path))["read"]
    app, source, _ = app_of(one)

    def scenario() -> None:
        for crash in every_crash(at_most=3):
            with AppRun(app, crash=crash) as world:
                world.send(source, {"k": "a", "id": "1"})
                world.settle()

    with pytest.raises(UsageError, match=r"more than at_most=3"):
        scenario()


def test_a_failure_says_at_which_crash(tmp_path: Path) -> None:
    one = tools(FarSide(tmp_path))["read"]
    app, source, agent = app_of(one)

    def scenario() -> None:
        for crash in every_crash():
            with AppRun(app, crash=crash) as world:
                world.send(source, {"k": "a", "id": "1"})
                world.settle()
                assert world.outputs(agent.output) == ["read"]
                assert len(world.attempts(one)) == 1, "it was performed twice"

    with pytest.raises(AssertionError, match="performed twice") as failure:
        scenario()
    (note,) = failure.value.__notes__
    assert note.splitlines()[0].startswith("crash 2: ")
    assert "/read sent" in note.splitlines()[0]


def test_the_points_are_documented() -> None:
    from millstream.testing import crashes

    assert crashes.__doc__ is not None
    assert [line.split()[0] for line in crashes.__doc__.splitlines() if line.split()[:1] and line.split()[0] in POINTS] == list(
        POINTS
    )


def test_what_waited_for_a_slot_was_not_sent_and_is_not_in_doubt() -> None:
    sent: list[int] = []

    @tool(max_concurrency=1)  # AT_MOST_ONCE
    async def page(n: int) -> int:
        sent.append(n)
        await asyncio.sleep(1)
        return n

    app = App("pages")
    source = app.source("in", jsonl("in.jsonl"), key="k", id="id")

    @app.agent(on=source)
    async def on_call(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> int:
        return await page(event["id"])

    with AppRun(app) as world:
        world.send(source, *({"k": f"k{n}", "id": n} for n in range(4)))
        with world.crash_at(page, "sent", nth=2):
            world.settle()
        assert [doubt.args for doubt in world.doubts()] == [[1]]
        assert sent == [0, 1, 2, 3]
        assert sorted(world.outputs(on_call.output)) == [0, 2, 3]
