"""The agent request, as both sides do it: its events, the mock model (~500 bytes), the mock tool (~100 bytes), the memory."""

from __future__ import annotations

import asyncio
from typing import Any

REMEMBERED = 20  # messages
WARM_UP = 2_000  # requests before a burst, so that what is measured is its own memory and not that of caches being filled
FILL = "lorem ipsum dolor sit amet " * 15  # 405 characters

keys = 5_000
latency_s = 0.0  # of the mock model


def event(number: int) -> dict[str, Any]:
    return {"id": number, "key": f"card-{number % keys}", "text": f"please look up order {number}"}


def answer(order: int, final: bool) -> dict[str, Any]:
    """What the model says: which tool it wants, or its last word."""
    if final:
        return {"role": "assistant", "content": FILL, "finish": "stop", "usage": {"in": 812, "out": 96}}
    return {
        "role": "assistant",
        "tool": "lookup",
        "args": {"order": order},
        "content": FILL[:360],
        "usage": {"in": 512, "out": 64},
    }


def found(order: int) -> dict[str, Any]:
    """What the tool says."""
    return {"order": order, "status": "shipped", "eta": "2026-11-30", "carrier": "acme express parcel"}


async def answer_of_model(order: int, final: bool) -> dict[str, Any]:
    await asyncio.sleep(latency_s)
    return answer(order, final)


async def look_up(order: int) -> dict[str, Any]:
    return found(order)


def remember(messages: list[Any], text: str, answer: dict[str, Any]) -> list[Any]:
    more = [{"role": "user", "content": text}, {"role": "assistant", "content": answer["content"]}]
    return (messages + more)[-REMEMBERED:]
