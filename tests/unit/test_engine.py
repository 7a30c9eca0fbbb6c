"""The engine around the core: what it commits, when it looks at the clock, and how it stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from millstream import App, Context, Effect, NotSent, jsonl, tool
from millstream.core.desk import Limits
from millstream.core.facts import AttemptEnded
from millstream.core.intake import Intake
from millstream.core.machine import Machine
from millstream.core.mail import SIGNALS
from millstream.core.tables import SEEN, Commit, SeenRow
from millstream.engine import engine as module
from millstream.engine.clock import SystemClock
from millstream.engine.engine import Engine
from millstream.errors import CommitRefused, StoreError
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun, MemorySource

PATIENCE_S = 20.0  # what should come does so at once; without its safeguard it never would
MINUTE = 60_000_000

Ctx = Context[dict[str, Any]]


@tool(effect=Effect.READ)
async def look(n: int) -> int:
    return n


# ------------------------------------------------------------------------------------------------------------------- rounds


def test_the_ends_that_one_turn_of_the_loop_brings_are_told_in_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    handle = Machine.handle

    def spied(self: Machine, facts: list[Any]) -> list[Any]:
        if ends := sum(isinstance(fact, AttemptEnded) for fact in facts):
            rounds.append(ends)
        return handle(self, facts)

    monkeypatch.setattr(Machine, "handle", spied)
    app = App("looks")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def handler(ctx: Ctx, event: dict[str, Any]) -> int:
        return await look(1) + await look(2)

    with AppRun(app) as world:
        world.send(source, *({"k": f"k{number}"} for number in range(20)))
        world.settle()
        assert world.outputs(handler.output) == [3] * 20
    assert rounds == [20, 20]


# ------------------------------------------------------------------------------------------------------------ torn entries


class Bug(Exception):
    pass


def raises_once(monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, nth: int) -> None:
    """The core has a bug: the nth call of this method raises."""
    method, calls = getattr(owner, name), 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise Bug
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    [
        (Intake, "_new_run", 7),  # behind three of ``busy``: of six events three have their run
        (Intake, "emit", 3),  # the state of the third is changed, and nothing emitted
        (Intake, "_to_sink", 5),  # its output has its place in the line of outputs, and is not in it
    ],
)
def test_an_entry_that_the_core_has_half_made_is_never_committed(
    monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, nth: int
) -> None:
    app = App("shop")
    others = app.source("others", jsonl("others.jsonl"), key="k")
    orders = app.source("orders", jsonl("orders.jsonl"), key="k")  # without an id: only its position says what was read

    @app.agent(on=orders, state=dict)
    async def count(ctx: Ctx, event: dict[str, Any]) -> dict[str, Any]:
        await look(1)
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return {"id": event["id"], "n": ctx.state["n"]}

    @app.agent(on=others, state=dict)
    async def busy(ctx: Ctx, event: dict[str, Any]) -> None:
        """There is always something to commit."""
        for n in range(100):
            await look(n)

    with AppRun(app) as world:
        raises_once(monkeypatch, owner, name, nth)
        world.send(others, *[{"k": f"k{n}"} for n in range(3)])
        world.send(orders, *[{"k": "one", "id": n} for n in range(6)])
        with pytest.raises(Bug):
            world.settle()
        (read,) = [row.events for row in world._store.sources() if row.source == "orders"] or [0]
        assert len(world.runs(count)) == read, "what was read and what is handled are one entry"
        assert world.state(count, "one").get("n", 0) == len(world.runs(count, status="done")), "so are a change and its run's end"
        world.crash()
        world.settle()
        assert [run.status for run in world.runs(count)] == ["done"] * 6
        assert world.state(count, "one") == {"n": 6}
        assert world.outputs(count.output) == [{"id": n, "n": n + 1} for n in range(6)]


def test_a_store_that_cannot_be_read_when_a_commit_is_durable_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("shop")
    orders = app.source("orders", jsonl("orders.jsonl"), key="k")

    @app.agent(on=orders)
    async def count(ctx: Ctx, event: dict[str, Any]) -> None:
        pass

    def damaged(self: MemoryStore, *what: Any) -> Any:
        raise StoreError("the file is damaged")

    with AppRun(app) as world:
        world.settle()
        monkeypatch.setattr(MemoryStore, "receivers", damaged)  # read once a signal is durable
        with pytest.raises(StoreError, match="damaged"):
            world.signal(count, "go", 1, key="one")
        monkeypatch.undo()
        world.crash()
        world.settle()


# ---------------------------------------------------------------------------------------- an engine that lives in real time


@asynccontextmanager
async def opened(app: App, store: MemoryStore, wall: Callable[[], int] | None = None) -> AsyncIterator[Engine]:
    graph = app.graph()
    engine = Engine(
        graph,
        store,
        SystemClock() if wall is None else SystemClock(wall=wall),
        sources={name: spec.connector.as_source() for name, spec in graph.sources.items()},
        sinks={name: spec.connector.as_sink() for name, spec in graph.sinks.items()},
    )
    engine.open()
    async with asyncio.timeout(PATIENCE_S):
        try:
            yield engine
        finally:
            await engine.close(0.0)


async def until(what: Callable[[], Any]) -> None:
    while not what():
        await asyncio.sleep(0)


def app_of(name: str, handler: Any) -> App:
    """An app with one event and this agent."""
    app, events = App("shop"), MemorySource([{"k": "a"}])
    events.end()
    app.agent(on=app.source("in", events, key="k"), name=name, state=dict)(handler)
    return app


def sleeps(duration: str) -> Any:
    async def sleep(ctx: Ctx, event: dict[str, Any]) -> None:
        await ctx.sleep(duration)

    return sleep


async def ignores(ctx: Ctx, event: dict[str, Any]) -> None:
    pass


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.clock, self.ahead = SystemClock(), 0
        self.clock.start(0)

    def __call__(self) -> int:
        return (self.clock.now() + self.ahead) * 1000


@pytest.mark.parametrize("duration", ["50s", "40m"])
def test_what_a_leap_of_the_clock_makes_due_is_done_at_the_next_heartbeat(duration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    app, store, wall = app_of("sleeper", sleeps(duration)), MemoryStore(app="shop"), Wall()

    async def main() -> None:
        async with opened(app, store, wall) as engine:
            engine.start()
            await until(lambda: list(store.runs(status="waiting")))
            wall.ahead = 49 * MINUTE  # less than max_clock_jump
            await engine.run(until_idle=True)
            assert [run.status for run in store.runs()] == ["done"]

    asyncio.run(main())


def test_a_sleeping_run_of_an_agent_that_is_not_in_the_app_any_more_keeps_nobody_waiting() -> None:
    store = MemoryStore(app="shop")

    async def until_it_sleeps() -> None:
        async with opened(app_of("sleeper", sleeps("30d")), store) as engine:
            engine.start()
            await until(lambda: list(store.runs(status="waiting")))

    async def until_idle() -> None:
        async with opened(app_of("other", ignores), store) as engine:
            engine.start()
            await engine.run(until_idle=True)

    asyncio.run(until_it_sleeps())
    asyncio.run(until_idle())
    assert [(run.agent, run.status) for run in store.runs()] == [("sleeper", "waiting")], "it is kept until its agent comes back"


# -------------------------------------------------------------------------------------------------------- ids are forgotten


def test_ids_whose_time_is_over_are_all_forgotten_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(module, "FORGET_ROWS", 10)
    app, events = App("shop"), MemorySource()
    app.agent(on=app.source("in", events, key="k", id="id", dedupe="1m"), name="a", state=dict)(ignores)
    store, old = MemoryStore(app="shop"), Commit(0)
    for source in ("in", SIGNALS):
        for n in range(95):
            old.put(SEEN, SeenRow(source, str(n), 0, 1))
    store.write(old)

    async def main() -> None:
        async with opened(app, store) as engine:
            engine.start()
            await until(lambda: not store.tables()["seen"])  # with one look a minute it would take ten minutes

    asyncio.run(main())


def test_each_source_remembers_its_ids_for_its_own_time() -> None:
    app = App("shop")
    short = app.source("short", jsonl("short.jsonl"), key="k", id="id", dedupe="10m")
    long = app.source("long", jsonl("long.jsonl"), key="k", id="id", dedupe="30d")
    app.agent(on=[short, long], name="a", state=dict)(ignores)
    with AppRun(app) as world:
        for wait in ("5m", "1h", "7d"):
            for source in (short, long):
                world.send(source, {"k": "a", "id": "1"})
            world.advance(wait)
        assert {row.source: (row.events, row.duplicates) for row in world._store.sources()} == {"short": (2, 1), "long": (1, 2)}


# ----------------------------------------------------------------------------------------------------------------- stopping


class Full(MemoryStore):
    """A disk that is full when it is told to be."""

    full = False

    def write(self, commit: Commit) -> None:
        if self.full:
            raise CommitRefused("the disk is full")
        super().write(commit)


def test_an_engine_that_is_stopped_while_the_store_refuses_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.05)
    app, store = app_of("a", ignores), Full(app="shop")

    async def stopped_while_it_is_full() -> None:
        async with opened(app, store) as engine:
            store.full = True
            engine.start()
            await until(lambda: engine.refusal)
            engine.stop()
            await engine.run()

    async def until_idle() -> None:
        async with opened(app, store) as engine:
            engine.start()
            await engine.run(until_idle=True)

    with pytest.raises(CommitRefused, match=r"stopped without the last commit \(the disk is full\); what is not durable will be"):
        asyncio.run(stopped_while_it_is_full())
    assert list(store.runs()) == []
    store.full = False
    asyncio.run(until_idle())
    assert [run.status for run in store.runs()] == ["done"]


@pytest.mark.parametrize(
    ("says", "sent", "status"),
    [
        ("late", 1, "done"),
        (NotSent("no line"), 2, "done"),
        (asyncio.CancelledError(), 1, "in_doubt"),
        (ValueError(), 1, "in_doubt"),
    ],
    ids=["a result", "not sent", "nothing", "a failure"],
)
def test_what_code_says_that_a_stop_has_ended_is_recorded_if_it_tells_whether_it_happened(
    says: Any, sent: int, status: str
) -> None:
    """A failure may be nothing but how a library takes a cancellation."""
    calls: list[int] = []

    @tool(timeout="1h")  # AT_MOST_ONCE
    async def letter() -> str:
        calls.append(1)
        if len(calls) == 1:
            try:
                await asyncio.sleep(3_000)
            except asyncio.CancelledError:
                if isinstance(says, BaseException):
                    raise says from None
        return "late"

    app = App("post")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def handler(ctx: Ctx, event: dict[str, Any]) -> str:
        return await letter()

    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.advance("1s")
        world.restart(grace="5s")
        world.settle()
        assert not [text for _, text in world.log if "in doubt" in text and "Lost" not in text], (
            "a doubt that the stop did not record"
        )
        world.run().expect(status)
        assert len(calls) == sent


def test_an_engine_that_stops_looks_at_no_timer_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with AppRun(App("idle")) as world:
        engine, fed = world._alive.engine, []
        with monkeypatch.context() as patch:
            patch.setattr(engine, "feed", fed.append)
            engine._due()
            assert len(fed) == 1
            patch.setattr(engine, "_stopped", True)
            engine._due()
            assert len(fed) == 1


# ----------------------------------------------------------------------------------------------------- threads that never end


def test_when_code_that_outlived_its_time_out_has_taken_all_threads_it_is_said_of_which_tools() -> None:
    let_go = threading.Event()

    @tool(effect=Effect.IDEMPOTENT, timeout="50ms")
    def fetch(n: int) -> int:
        assert let_go.wait(PATIENCE_S)
        return n

    @tool(effect=Effect.READ, timeout="50ms")
    def load(n: int) -> int:
        assert let_go.wait(PATIENCE_S)
        return n

    @tool(effect=Effect.READ)
    def quick(n: int) -> int:
        return n

    app = App("shop")
    source = app.source("in", jsonl("in.jsonl"), key="k")

    @app.agent(on=source)
    async def agent(ctx: Ctx, event: dict[str, Any]) -> int:
        return await {"fetch": fetch, "load": load, "quick": quick}[event["k"]](1)

    with AppRun(app, limits=Limits(threads=2)) as world:

        def until(seen: Callable[[], bool]) -> None:
            patience = time.monotonic() + PATIENCE_S  # virtual time runs ahead of a thread that nothing is waited of
            while not seen():
                assert time.monotonic() < patience, f"it never happened: {world.log}"
                world.advance("50ms")

        def said() -> list[str]:
            return [text for level, text in world.log if level == "warning" and "thread" in text]

        engine = world._alive.engine
        world.send(source, {"k": "fetch"})
        until(lambda: bool(world.doubts()))
        assert (said(), engine.snapshot().hung) == ([], None), "there is another one"
        world.send(source, {"k": "load"})
        until(lambda: bool(said()))
        world.send(source, {"k": "quick"})
        world.advance("1s")
        assert world.run(key="quick").status == "running"
        all_taken = "all 2 threads are taken by tools that have outlived their time-out and still run: fetch (1), load (1)"
        assert engine.snapshot().hung == all_taken
        assert [text.partition(";")[0] for text in said()] == [all_taken]
        let_go.set()
        until(lambda: world.run(key="quick").status == "done")
        assert engine.snapshot().hung is None
        assert said()[1:] == ["threads: one is free again, `def` tools go on"]
