"""Events that take the process with them: in the handler, and in the bodies of tools, at once."""

import os
import signal
from typing import Any

from millstream import App, Context, Effect, jsonl, tool

app = App("poison")
events = app.source("events", jsonl("events.jsonl"), key="k", id="k")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@tool(effect=Effect.READ)
async def read(how: str) -> str:
    if how == "read":
        die()
    return how


@tool(effect=Effect.IDEMPOTENT)
async def charge(how: str) -> str:
    if how == "idempotent":
        die()
    return how


@app.agent(on=events)
async def handle(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
    if event["how"] == "handler":
        die()
    await read(event["how"])
    return await charge(event["how"])


handle.output.sink(jsonl("out.jsonl"))
