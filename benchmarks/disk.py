"""F9: what an agent request leaves on disk, beside the bytes of its payloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks import workload
from benchmarks.agent import requests_app, running
from benchmarks.feed import Feed
from benchmarks.measure import Bench, Line, median

COUNT = 20_000


def f9(bench: Bench) -> list[Line]:
    count = bench.size(COUNT, 5_000)
    bench.say(f"the disk of {count:,} agent requests")
    bare = bench.child("benchmarks.bare:disk", count=count)
    millstream = bench.child("benchmarks.disk:disk", count=count)
    ratio = millstream["bytes"] / millstream["payload"]
    return [
        Line(
            "F9",
            "bytes in the store of an agent request",
            median([bare], "bytes"),
            millstream["bytes"],
            "B",
            ratio,
            "<= 2.5x its payloads",
            ratio <= 2.5,
            f"ratio to its payloads, {millstream['payload']:,.0f} B",
        )
    ]


async def disk(folder: str, count: int) -> dict[str, float]:
    """The files of the data folder after a clean stop (so after a checkpoint), per request."""
    feed = Feed()
    feed.looping = False
    async with running(requests_app(feed), folder):
        for first in range(0, count, 64):
            feed.allow(min(64, count - first))
            await feed.until_done(min(count, first + 64))
    size = sum(file.stat().st_size for file in (Path(folder) / "data").iterdir())
    payload = _payload_bytes(count)
    return {"bytes": size / count, "payload": payload / count}


def _payload_bytes(count: int) -> int:
    """The JSON of the event, of each step's arguments and result, of the state that was left, and of the output; each once."""
    states: dict[str, list[Any]] = {}
    total = 0
    for number in range(count):
        event = workload.event(number)
        first, found, last = workload.answer(number, False), workload.found(number), workload.answer(number, True)
        state = states[event["key"]] = workload.remember(states.get(event["key"], []), event["text"], last)
        arguments = ([[number, False], {}], [[number], {}], [[number, True], {}])
        total += sum(
            len(msgspec.json.encode(part)) for part in (event, *arguments, first, found, last, state, {"id": number, **last})
        )
    return total
