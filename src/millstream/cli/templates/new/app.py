"""PROJECT: orders are charged, and receipts written. An order of more than 1,000.00 waits until somebody approves it."""

from __future__ import annotations

from typing import Any

from millstream import INJECTED, App, Context, Effect, ToolCall, jsonl, tool

app = App("PROJECT")
orders = app.source("orders", jsonl("orders.jsonl"), key="customer", id="order_id")


@tool(effect=Effect.IDEMPOTENT, timeout="30s")
async def charge(order_id: str, cents: int, call: ToolCall = INJECTED) -> dict[str, Any]:
    """Charge an order.

    Put the request to your payment provider here, and give it the idempotency key: after a crash the same call is made again
    with the same key. If your provider knows no keys, choose another effect class.
    """
    return {"charged": cents, "key": call.idempotency_key}


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict[str, Any]], order: dict[str, Any]) -> dict[str, Any]:
    """One order. Orders of one customer are handled one after the other, those of different customers at once."""
    if order["cents"] > 100_000:
        answer = await ctx.receive("approval", about=order["order_id"], timeout="24h")  # for a day; a restart does not matter
        if not answer.value["ok"]:
            return {"order": order["order_id"], "refused_by": answer.by}
    receipt = await charge(order["order_id"], order["cents"])
    ctx.state["spent"] = ctx.state.get("spent", 0) + order["cents"]
    return {"order": order["order_id"], "receipt": receipt, "spent": ctx.state["spent"]}


fulfil.output.sink(jsonl("receipts.jsonl"))
