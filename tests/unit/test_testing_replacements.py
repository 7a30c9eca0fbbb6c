"""Other bodies for tools: they keep the promises of the tools, or are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from millstream import (
    INJECTED,
    App,
    Connection,
    Context,
    DeclarationError,
    Done,
    Effect,
    NotDone,
    ToolCall,
    UsageError,
    jsonl,
    tool,
)
from millstream.testing import AppRun

app = App("orders")
orders = app.source("orders", jsonl("in"), key="customer", id="order_id")
ORDER = {"order_id": "o2", "customer": "ann", "cents": 5}


@tool(effect=Effect.IDEMPOTENT)
async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> dict[str, Any]:
    raise AssertionError("a test must not charge")


@tool(effect=Effect.AT_MOST_ONCE)
async def mail(order_id: str, cents: int) -> None:
    raise AssertionError("a test must not mail")


@app.agent(on=orders)
async def fulfil(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> None:
    await charge(order["order_id"], order["cents"])


def test_another_body_keeps_the_tool_and_its_promises() -> None:
    seen = []

    def fake(order_id: str, cents: int, call: ToolCall = INJECTED) -> dict[str, Any]:
        seen.append(call.idempotency_key)
        return {"faked": order_id}

    with AppRun(app, tools={charge: fake}) as world:
        world.send(orders, ORDER)
        world.settle()
        step = world.run_of("o2").step(charge)
        assert step.result == {"faked": "o2"}
        assert step.effect is Effect.IDEMPOTENT
        assert seen == [step.key]
        assert world.effects("charge") == {step.key: 1}

    mock = AsyncMock(return_value={"mocked": True})
    with AppRun(app, tools={"charge": mock}) as world:
        world.send(orders, ORDER)
        world.settle()
        assert world.run_of("o2").step(charge).result == {"mocked": True}
    mock.assert_awaited_once_with("o2", 5)


def test_a_tool_brings_its_own_probe_and_database(tmp_path: Path) -> None:
    def production() -> Any:
        raise AssertionError("a test must not reach it")

    async def real_probe(call: ToolCall, what: str) -> NotDone:
        raise AssertionError("a test must not ask it")

    @tool(effect=Effect.TRANSACTIONAL, database=production)
    def book(what: str, conn: Connection = INJECTED) -> int:
        conn.execute("INSERT INTO booked VALUES (?)", (what,))
        return 1

    @tool(effect=Effect.VERIFIED, verify=real_probe, settle="0s")
    async def ship(what: str) -> str:
        raise AssertionError("a test must not ship")

    async def fake_probe(call: ToolCall, what: str) -> Done[str]:
        return Done(f"found {what}")

    @tool(effect=Effect.VERIFIED, verify=fake_probe)
    async def fake_ship(what: str) -> str:
        raise TimeoutError

    def connect() -> Any:
        connection = sqlite3.connect(tmp_path / "far.db")
        connection.execute("CREATE TABLE IF NOT EXISTS booked (what TEXT)")
        return connection

    async def handler(ctx: Any, event: dict[str, Any]) -> str:
        await book(event["k"])
        return await ship(event["k"])

    shop = App("shop")
    source = shop.source("in", jsonl("in"), key="k")
    agent = shop.agent(on=source)(handler)
    with AppRun(shop, tools={book: book.using(database=connect), ship: fake_ship}) as world:
        world.send(source, {"k": "a"})
        world.settle()
        assert world.outputs(agent.output) == ["found a"]
        assert [(attempt.probe, attempt.ended) for attempt in world.attempts(ship)] == [(False, "raised"), (True, "returned")]
        assert sum(world.effects(book).values()) == 1
        assert sum(world.effects(ship).values()) == 0


def test_a_replacement_that_is_none_is_found_before_anything_runs() -> None:
    with pytest.raises(
        UsageError, match=r"the replacement is called as charge\(order_id, cents\) is: too many positional arguments"
    ):
        AppRun(app, tools={charge: lambda order_id: None})
    with pytest.raises(UsageError, match="no agent names such a tool; they name charge"):
        AppRun(app, tools={"chrge": lambda order_id, cents: None})
    with pytest.raises(UsageError, match="it is AT_MOST_ONCE, and charge is IDEMPOTENT"):
        AppRun(app, tools={charge: mail})
    with pytest.raises(UsageError, match="give a function or a tool"):
        AppRun(app, tools={charge: 7})  # type: ignore[dict-item]

    async def fake(what: str, conn: Connection = INJECTED) -> int:
        return 1

    @tool(effect=Effect.TRANSACTIONAL, database=lambda: None)
    def book(what: str, conn: Connection = INJECTED) -> int:
        return 1

    with pytest.raises(DeclarationError, match="make it a def"):
        AppRun(app, tools={book: fake})
