"""The agent request on Millstream, in its public API, and what is measured of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.bare import figures
from benchmarks.feed import Feed, Outlet
from benchmarks.measure import resident_bytes
from millstream import App, Context, Effect, tool
from millstream.engine.engine import Engine
from millstream.runtime.local import engine


@tool(effect=Effect.READ)
async def model(order: int, final: bool) -> dict[str, Any]:
    return await workload.answer_of_model(order, final)


@tool(effect=Effect.IDEMPOTENT)
async def lookup(order: int) -> dict[str, Any]:
    return await workload.look_up(order)


def requests_app(feed: Feed) -> App:
    app = App("requests")
    requests = app.source("requests", feed, key="key", id="id")

    @app.agent(on=requests, state=list)
    async def handle(ctx: Context[Any], event: dict[str, Any]) -> dict[str, Any]:
        asked = await model(event["id"], False)
        await lookup(asked["args"]["order"])
        answer = await model(event["id"], True)
        ctx.state = workload.remember(ctx.state, event["text"], answer)
        return {"id": event["id"], **answer}

    handle.output.sink(Outlet(feed))
    return app


@asynccontextmanager
async def running(app: App, folder: str) -> AsyncIterator[Engine]:
    """An engine that reads its sources."""
    async with engine(app.graph(), Path(folder) / "data", grace=1.0) as started:
        started.start()
        task = asyncio.create_task(started.run())
        yield started
        started.stop()
        await task


async def load(folder: str, in_flight: int, seconds: float) -> dict[str, float]:
    """A closed loop: so many requests in flight, for so long, after a warm-up."""
    feed = Feed()
    async with running(requests_app(feed), folder):
        feed.allow(in_flight)
        await asyncio.sleep(1.0)
        feed.latencies.clear()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        found = sorted(feed.latencies)
        feed.looping = False
    return figures(found, took, cpu)


async def burst(folder: str, count: int, latency_s: float) -> dict[str, float]:
    """All at once, with a model that takes its time. A key for each: runs of one key take turns."""
    workload.keys = count
    feed = Feed()
    async with running(requests_app(feed), folder):
        feed.allow(100)
        await feed.until_done(workload.WARM_UP)
        feed.looping = False
        await asyncio.sleep(0.5)  # the last of them
        warm = feed.done
        workload.latency_s = latency_s
        before = peak = resident_bytes()

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, resident_bytes())
                await asyncio.sleep(0.05)

        watcher = asyncio.create_task(watch())
        began, cpu = time.perf_counter(), time.process_time()
        feed.allow(count)
        await feed.until_done(warm + count)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        watcher.cancel()
    return {"took_s": took, "cpu_s": cpu, "run_kb": (peak - before) / count / 1e3}
