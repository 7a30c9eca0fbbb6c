"""An app with a tool of each effect class. Every tool writes what it does to a ledger, synced, that outlives any crash."""

import asyncio
import os
import sqlite3
from typing import Any

from millstream import INJECTED, App, Connection, Context, Done, Effect, NotDone, ToolCall, jsonl, tool

app = App("five_classes")
orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="order_id")

LEDGER = os.open("ledger", os.O_RDWR | os.O_CREAT | os.O_APPEND)
if (size := os.fstat(LEDGER).st_size) and os.pread(LEDGER, 1, size - 1) != b"\n":
    os.write(LEDGER, b"\n")  # a kill has cut the last line, which lies on two pages: that did not happen


def enter(effect: str, order_id: str, key: str = "-") -> None:
    os.write(LEDGER, f"{effect} {order_id} {key} .\n".encode())
    os.fsync(LEDGER)


@tool(effect=Effect.READ)
async def look_up(order_id: str) -> dict[str, str]:
    enter("read", order_id)
    return {"order": order_id}


@tool(effect=Effect.IDEMPOTENT)
async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> int:
    await asyncio.sleep(0.001)
    enter("idempotent", order_id, call.idempotency_key)
    await asyncio.sleep(0.001)
    return cents


def bank() -> sqlite3.Connection:
    connection = sqlite3.connect("bank.db", timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS bookings (order_id TEXT)")
    connection.commit()
    return connection


@tool(effect=Effect.TRANSACTIONAL, database=bank)
def book(order_id: str, connection: Connection = INJECTED) -> str:
    connection.execute("INSERT INTO bookings VALUES (?)", (order_id,))
    return order_id


async def was_shipped(call: ToolCall, order_id: str) -> Any:
    with open("ledger") as ledger:
        shipped = any(line.startswith(f"verified {order_id} ") and line.endswith(" .\n") for line in ledger)
    return Done(order_id) if shipped else NotDone()


@tool(effect=Effect.VERIFIED, verify=was_shipped, timeout="1s", settle="0s")
async def ship(order_id: str) -> str:
    await asyncio.sleep(0.001)
    enter("verified", order_id)
    await asyncio.sleep(0.001)
    return order_id


@tool
async def text_customer(order_id: str, call: ToolCall = INJECTED) -> str:
    await asyncio.sleep(0.001)
    enter("at_most_once", order_id, call.step_id)
    await asyncio.sleep(0.001)
    return "sent"


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> dict[str, Any]:
    order_id = order["order_id"]
    await look_up(order_id)
    await asyncio.gather(charge(order_id, order["cents"]), book(order_id))
    await ship(order_id)
    ctx.state["orders"] = [*ctx.state.get("orders", []), order_id]
    text = await text_customer(order_id)
    return {"order": order_id, "text": text, "so_far": ctx.state["orders"]}


fulfil.output.sink(jsonl("receipts.jsonl"))
