"""A handler that was edited while a run waits: what the record decides, and what stops the run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import App, Context, Effect, jsonl, tool
from millstream.core.desk import Limits
from millstream.core.facts import DivergedLoaded
from millstream.core.identity import run_id
from millstream.runtime.local import engine
from millstream.runtime.operations import Operations
from millstream.stores.memory import MemoryStore
from millstream.testing import AppRun

performed: list[str] = []


@tool(effect=Effect.READ)
async def look(what: str) -> str:
    performed.append(f"look {what}")
    return what


@tool(effect=Effect.IDEMPOTENT)
async def pay(cents: int) -> int:
    performed.append(f"pay {cents}")
    return cents


@tool(effect=Effect.IDEMPOTENT)
async def reserve(cents: int) -> int:
    performed.append(f"reserve {cents}")
    return cents


@tool(effect=Effect.IDEMPOTENT)
async def pay_by_card(cents: int) -> int:
    performed.append(f"pay_by_card {cents}")
    return cents


async def paying() -> int:
    return await pay(5)


def app(edition: str) -> App:
    made = App("shop")
    orders = made.source("orders", jsonl("orders.jsonl"), key="id")

    async def handler(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> dict[str, Any]:
        looked = await look("tall" if edition == "other prompt" else "small")
        if edition == "one more look":
            await look("again")
        paid = 0
        if edition == "renamed":
            paid = await pay_by_card(5)
        elif edition == "moved":
            paid = await asyncio.create_task(paying())
        elif edition == "another before it":
            await reserve(5)
            paid = await pay(5)
        elif edition != "no pay":
            paid = await pay(6 if edition == "other amount" else 5)
        answer = await ctx.receive("go")
        return {"looked": looked, "paid": paid, "answer": answer.value}

    handler.__qualname__ = handler.__name__ = "handler"
    agent = made.agent(on=orders, name="shop")(handler)
    agent.output.sink(jsonl("out.jsonl"))
    return made


def run(folder: Path, edition: str, *, signal: bool = False) -> tuple[str, dict[str, Any] | None]:
    """Run an edition until it is idle; the status and error of the one run."""

    async def main() -> tuple[str, dict[str, Any] | None]:
        graph = app(edition).graph()
        agents = {name: _replaced(spec, edition) for name, spec in graph.agents.items()}
        if edition == "renamed":
            graph.tools.pop("pay")
        async with engine(msgspec.structs.replace(graph, agents=agents), folder / "data") as running:
            running.start()
            if signal:
                row = next(iter(running.store.runs()))
                await Operations(running).signal("go", True, run=run_id(row.partition, row.run))
            await asyncio.wait_for(running.run(until_idle=True), 20)
            row = next(iter(running.store.runs()))
            return row.status, None if row.error is None else json.loads(row.error)

    return asyncio.run(main())


def _replaced(spec: Any, edition: str) -> Any:
    return msgspec.structs.replace(spec, fingerprint=edition)  # as if the source text were another one


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "orders.jsonl").write_text('{"id": "a"}\n')
    monkeypatch.chdir(tmp_path)
    performed.clear()
    assert run(tmp_path, "first")[0] == "waiting"
    assert performed == ["look small", "pay 5"]
    performed.clear()
    return tmp_path


def out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_unchanged_code_goes_on_without_doing_anything_again(folder: Path) -> None:
    assert run(folder, "first", signal=True) == ("done", None)
    assert performed == []
    assert out(folder) == [{"looked": "small", "paid": 5, "answer": True}]


def test_other_arguments_of_a_read_do_not_stop_a_run_and_the_record_wins(folder: Path) -> None:
    assert run(folder, "other prompt", signal=True) == ("done", None)
    assert performed == []
    assert out(folder)[0]["looked"] == "small"


def test_a_new_read_is_performed_and_the_recorded_rest_is_not(folder: Path) -> None:
    assert run(folder, "one more look", signal=True) == ("done", None)
    assert performed == ["look again"]


def test_other_arguments_of_a_recorded_effect_are_a_divergence_that_shows_both(folder: Path) -> None:
    status, error = run(folder, "other amount", signal=True)
    assert status == "diverged"
    assert error is not None
    assert "[[5],{}]" in error["message"]
    assert "[[6],{}]" in error["message"]
    assert performed == []
    assert not (folder / "out.jsonl").read_text()


def test_a_recorded_effect_that_is_not_asked_for_any_more_is_a_divergence(folder: Path) -> None:
    status, error = run(folder, "no pay", signal=True)
    assert status == "diverged"
    assert error is not None
    assert "pay" in error["message"]


@pytest.mark.parametrize("edition", ["renamed", "moved"])
def test_a_recorded_effect_under_another_name_is_a_divergence_before_it_is_performed_again(folder: Path, edition: str) -> None:
    status, error = run(folder, edition, signal=True)
    assert status == "diverged"
    assert error is not None
    assert "is the same request as step" in error["message"]
    assert performed == []
    assert run(folder, "first")[0] in ("waiting", "done"), "the version before goes on"


def test_another_effect_before_a_recorded_one_is_performed(folder: Path) -> None:
    assert run(folder, "another before it", signal=True) == ("done", None)
    assert performed == ["reserve 5"]


def test_a_diverged_run_is_tried_again_when_the_code_is_another_one(folder: Path) -> None:
    assert run(folder, "other amount", signal=True)[0] == "diverged"
    assert run(folder, "other amount")[0] == "diverged"
    assert run(folder, "first")[0] in ("waiting", "done")
    assert performed == []


def test_a_new_step_of_a_handler_is_not_taken_for_another_of_the_record(tmp_path: Path) -> None:
    """Both have no arguments, and neither is a declared tool: nothing says that one is the other."""
    done: list[str] = []

    def edition(more: bool) -> tuple[App, Any]:
        made = App("shop")
        orders = made.source("orders", jsonl("orders.jsonl"), key="id")

        async def pay() -> None:
            done.append("pay")

        async def reserve() -> None:
            done.append("reserve")

        @made.agent(on=orders, name="shop")
        async def handler(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> str:
            if more:
                await ctx.step("reserve", reserve, effect=Effect.IDEMPOTENT)
            await ctx.step("pay", pay, effect=Effect.IDEMPOTENT)
            return str((await ctx.receive("go")).value)

        return made, orders

    first, orders = edition(False)
    with AppRun(first, put_away=True) as world:
        world.send(orders, {"id": "a"})
        world.settle()
        world.restart(edition(True)[0])
        world.signal(world.run(), "go", "went")
        world.settle()
        assert world.run().expect("done").output == "went"
    assert done == ["pay", "reserve"]


def test_diverged_runs_are_tried_again_page_by_page_and_in_the_order_of_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more of them than fit into memory."""

    def edition(kind: Any) -> tuple[App, Any]:
        made = App("shop")
        orders = made.source("orders", jsonl("orders.jsonl"), key="key")

        async def handler(ctx: Context[dict[str, Any]], order: Any) -> int:
            ctx.state.setdefault("seen", []).append(order["n"])
            return int(order["n"])

        handler.__annotations__["order"] = kind
        made.agent(on=orders, name="shop", state=dict)(handler)
        graph = made.graph()
        agents = {name: _replaced(spec, str(kind)) for name, spec in graph.agents.items()}
        made.graph = lambda: msgspec.structs.replace(graph, agents=agents)  # type: ignore[method-assign]
        return made, orders

    read: list[int] = []
    histories = MemoryStore.histories

    def counted(self: MemoryStore, runs: Sequence[int]) -> Any:
        read.append(len(runs))
        return histories(self, runs)

    monkeypatch.setattr(MemoryStore, "histories", counted)
    first, orders = edition(dict[str, str])
    with AppRun(first, limits=Limits(page=7)) as world:
        world.send(orders, *[{"key": f"k{n % 10}", "n": n} for n in range(50)])
        world.settle()
        assert len(world.runs(status="diverged")) == 50
        world.restart()
        world.settle()
        assert len(world.runs(status="diverged")) == 50, "the code is the same"
        read.clear()
        world.restart(edition(dict[str, int | str])[0])
        world.settle()
        assert len(world.runs(status="done")) == 50
        assert max(read) <= 7
        assert all(world.state("shop", f"k{key}") == {"seen": list(range(key, 50, 10))} for key in range(10))


def test_changed_code_does_not_undo_a_cancellation_that_comes_while_the_store_is_asked_for_diverged_runs() -> None:
    def edition(cents: int) -> tuple[App, Any]:
        made = App("shop")
        orders = made.source("orders", jsonl("orders.jsonl"), key="id")

        @made.agent(on=orders, name="shop")
        async def handler(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> None:
            await pay(cents)
            await ctx.receive("go")

        return made, orders

    first, orders = edition(5)
    with AppRun(first) as world:
        world.send(orders, {"id": "a"})
        world.settle()
        world.restart(edition(6)[0])
        world.signal("shop", "go", key="a")
        world.settle()
        run, engine = world.run().expect("diverged"), world._alive.engine
        store: Any = engine.store
        read = store.run(run._number)._replace(fingerprint="other code")
        world.cancel(run)
        engine.feed(DivergedLoaded(engine.clock.now(), [read], False))
        world.settle()
        run.expect("cancelled")
        assert store.run(run._number).generation == read.generation
