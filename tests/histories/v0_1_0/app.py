"""The app of the history that version 0.1.0 wrote. It stays as it is: later versions must run it on what lies beside it.

What an order's kind makes of its run, in the order in which the maker needs them. In the environment: KILL lets ``strike`` kill the
process; EDITED and REPAIRED stand for later versions of this file (which stays one, so that the code's fingerprint does).
"""

import asyncio
import dataclasses
import os
import signal
import sqlite3
from decimal import Decimal
from typing import Any

from millstream import INJECTED, App, Connection, Context, Done, Effect, NotDone, Retry, ToolCall, jsonl, tool

REPAIRED = "REPAIRED" in os.environ

app = App("history")


@dataclasses.dataclass
class Order:
    order: str
    customer: str
    kind: str
    price: Decimal = Decimal("1.50")


@dataclasses.dataclass
class Account:
    orders: list[str] = dataclasses.field(default_factory=list)
    spent: Decimal = Decimal(0)


orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="order", type=Order, dedupe="36500d")
alerts = app.stream("alerts", key="customer")


def enter(what: str, order: str, key: str) -> None:
    with open("ledger", "a") as ledger:
        ledger.write(f"{what} {order} {key}\n")


class Declined(Exception):
    def __init__(self, reason: str, cents: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cents = cents


@tool(effect=Effect.READ)
async def look_up(order: str, call: ToolCall = INJECTED) -> dict[str, str]:
    enter("look_up", order, "-")
    return {"order": order, "status": "known"}


@tool(effect=Effect.IDEMPOTENT, raises=[Declined], key_ttl="36500d", retry=Retry(backoff="10ms"))
async def charge(order: str, price: Decimal, kind: str, call: ToolCall = INJECTED) -> Decimal:
    enter("charge", order, call.idempotency_key)
    if kind == "declined":
        raise Declined("no money", 150)
    if kind == "broken" and not REPAIRED:
        raise ValueError("no such account")
    if kind == "struck" and not REPAIRED:
        await asyncio.sleep(60)
    return price


def bank() -> sqlite3.Connection:
    connection = sqlite3.connect("bank.db", timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS bookings (what TEXT)")
    return connection


@tool(effect=Effect.TRANSACTIONAL, database=bank)
def book(order: str, connection: Connection = INJECTED) -> str:
    connection.execute("INSERT INTO bookings VALUES (?)", (order,))
    return order


async def was_shipped(call: ToolCall, order: str) -> Any:
    with open("ledger") as ledger:
        return Done(order) if any(line.startswith(f"ship {order} ") for line in ledger) else NotDone()


@tool(effect=Effect.VERIFIED, verify=was_shipped, timeout="1s", settle="0s")
async def ship(order: str, call: ToolCall = INJECTED) -> str:
    enter("ship", order, call.idempotency_key)
    return order


@tool
async def text(order: str, kind: str, call: ToolCall = INJECTED) -> str:
    enter("text", order, call.idempotency_key)
    if kind == "doubtful" and not REPAIRED:
        raise ConnectionResetError("the line broke")
    return "sent"


@tool
async def strike(order: str, call: ToolCall = INJECTED) -> str:
    enter("strike", order, call.idempotency_key)
    if "KILL" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return "struck"


@app.agent(on=orders, state=Account)
async def fulfil(ctx: Context[Account], order: Order) -> dict[str, Any] | None:
    said: Any = None
    if order.kind == "noted":
        said = (await ctx.receive("note", timeout="36500d")).value
    if order.kind in ("waiting", "cancelled"):
        answer = await ctx.receive("approval", about=order.order)
        said = [answer.value, answer.by]
    if order.kind == "edited":
        await charge("edited" if "EDITED" in os.environ else order.order, order.price, order.kind)
        said = (await ctx.receive("go")).value
    if order.kind == "asking":
        said = await ctx.ask(desk, order.customer, {"about": order.order})
    if order.kind == "struck":
        async with asyncio.TaskGroup() as group:
            group.create_task(charge(order.order, order.price, order.kind))
            group.create_task(strike(order.order))
    await look_up(order.order)
    try:
        ctx.state.spent += await charge(order.order, order.price, order.kind)
    except Declined as declined:
        return {"order": order.order, "declined": declined.reason, "cents": declined.cents}
    await asyncio.gather(book(order.order), ship(order.order))
    await ctx.sleep("10ms")
    ctx.state.orders.append(order.order)
    ctx.emit(alerts, {"customer": order.customer, "order": order.order})
    return {"order": order.order, "text": await text(order.order, order.kind), "said": said, "so_far": list(ctx.state.orders)}


@app.agent(on=alerts, waiting="release", state=dict)
async def watch(ctx: Context[dict[str, Any]], alert: dict[str, Any]) -> None:
    ctx.state["alerts"] = ctx.state.get("alerts", 0) + 1
    if alert["order"] == "plain-1":
        seen = await ctx.receive("seen")
        ctx.state["seen"] = seen.value


@app.agent()
async def desk(ctx: Context[dict[str, Any]], question: dict[str, Any]) -> str:
    return str((await ctx.receive("answer", about=question["about"])).value)


fulfil.output.sink(jsonl("receipts.jsonl"))
app.doubts.sink(jsonl("doubts.jsonl"))
app.dead_letters.sink(jsonl("letters.jsonl"))
orders.filter(lambda order: order.price > 5, name="large").map(lambda order: order.order, name="large_ids").sink(
    jsonl("large.jsonl"), name="large"
)
