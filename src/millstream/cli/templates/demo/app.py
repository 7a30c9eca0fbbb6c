"""Five tools, one of each effect class, and an agent that uses all of them for every order.

The class says what a tool's author knows of its far side, and so what Millstream may do with a step that was under way
when the process died: do it again, ask whether it happened, or hold it for a person.
"""

from __future__ import annotations

from typing import Any

import far_side

from millstream import INJECTED, App, Connection, Context, Done, Effect, NotDone, ToolCall, jsonl, tool

app = App("demo")
orders = app.source("orders", jsonl("orders.jsonl"), key="order", id="order")


@tool(effect=Effect.READ)
async def quote(order: str) -> int:
    """No side effect: asked again. The price is another one each time, but the one that was recorded stands."""
    return await far_side.quote(order)


@tool(effect=Effect.IDEMPOTENT)
async def charge(order: str, cents: int, call: ToolCall = INJECTED) -> str:
    """The bank does nothing twice under one key: done again, with the same key."""
    return await far_side.charge(call.idempotency_key, order, cents)


@tool(effect=Effect.TRANSACTIONAL, database=far_side.warehouse, max_concurrency=1)
def reserve(order: str, conn: Connection = INJECTED) -> str:
    """SQL in a transaction that holds Millstream's key too: done again, and the key tells whether it was done."""
    far_side.asked("reserve", order)
    conn.execute("INSERT INTO reserved (order_id) VALUES (?)", (order,))
    far_side.pause(0.02)
    return "reserved"


async def is_booked(call: ToolCall, order: str) -> Done[str] | NotDone:
    """The courier can be asked for the bookings of an order."""
    booking = far_side.find_booking(order)
    return NotDone() if booking is None else Done(booking)


@tool(effect=Effect.VERIFIED, verify=is_booked, timeout="1s", settle="0s")
async def book(order: str) -> str:
    """The courier takes no key, but can be asked: asked first, then done only if it was not."""
    return await far_side.book(order)


@tool(effect=Effect.AT_MOST_ONCE)
async def post_letter(order: str) -> str:
    """A letter box takes no key and answers no question: never done again, but held for a person to look."""
    return await far_side.post_letter(order)


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> dict[str, Any]:
    """One order, in five steps."""
    name = order["order"]
    cents = await quote(name)
    receipt = await charge(name, cents)
    await reserve(name)
    booking = await book(name)
    letter = await post_letter(name)
    ctx.state["spent"] = cents
    return {"order": name, "cents": cents, "receipt": receipt, "booking": booking, "letter": letter}


fulfil.output.sink(jsonl("receipts.jsonl"))
