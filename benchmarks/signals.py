"""F5: 100,000 runs that wait for a signal. What they cost, waking one, and waking all."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks import load
from benchmarks.agent import running
from benchmarks.feed import Feed, Outlet
from benchmarks.measure import Bench, Line, median, percentile, resident_bytes
from millstream import App, Context
from millstream.engine.engine import Engine
from millstream.runtime.operations import Operations
from millstream.stores.sqlite import SqliteStore

MEMORY_MB = 50.0
AT_ONCE = 500  # signals under way while all are woken
SAMPLES = 300  # waking one


def f5(bench: Bench) -> list[Line]:
    count = bench.size(100_000, 10_000)
    bench.say(f"{count:,} runs that wait for a signal")
    found = bench.alternate({"millstream": lambda: bench.child("benchmarks.signals:wait_and_wake", count=count)})["millstream"]
    p50, rate = load.millstream_p50_ms(bench), load.millstream_rate(bench)
    memory, wake, all_rate = median(found, "memory_mb"), median(found, "wake_p50_ms"), median(found, "wake_all_rate")
    return [
        Line(
            "F5",
            f"{count:,} waiting runs: memory above idle",
            None,
            memory,
            "MB",
            None,
            f"<= {MEMORY_MB:g} MB",
            memory <= MEMORY_MB,
            f"came in at {median(found, 'begin_rate'):,.0f}/s, at most {median(found, 'peak_mb'):.0f} MB",
        ),
        Line(
            "F5",
            "waking one, p50 (beside: p50 of F3)",
            p50,
            wake,
            "ms",
            wake / p50,
            "<= 3x p50 of F3",
            wake <= 3 * p50,
            f"p99 {median(found, 'wake_p99_ms'):.1f}",
        ),
        Line(
            "F5",
            "waking all (beside: rate of F2)",
            rate,
            all_rate,
            "/s",
            all_rate / rate,
            ">= 0.25x the rate of F2",
            all_rate >= 0.25 * rate,
            f"at most {median(found, 'wake_peak_mb'):.0f} MB above idle",
        ),
    ]


def _event(number: int) -> dict[str, Any]:
    return {"id": number, "key": f"order-{number}", "text": f"please approve order {number}"}


def _app(feed: Feed) -> App:
    app = App("approvals")
    requests = app.source("requests", feed, key="key", id="id")

    @app.agent(on=requests, name="approve")
    async def approve(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> dict[str, Any]:
        answer = await ctx.receive("approval")
        return {"id": event["id"], "approved": answer.value["ok"]}

    approve.output.sink(Outlet(feed))
    return app


async def wait_and_wake(folder: str, count: int) -> dict[str, float]:
    feed = Feed(_event)
    feed.looping = False
    async with running(_app(feed), folder) as engine:
        signal = Operations(engine).signal

        async def approve(number: int) -> None:
            await signal("approval", {"ok": True}, agent="approve", key=f"order-{number}", by="benchmark")

        feed.allow(100)
        await _until_waiting(engine, 100)
        await asyncio.sleep(0.5)
        idle = resident_bytes()

        watch = _Peak()
        began = time.perf_counter()
        feed.allow(count)
        await _until_waiting(engine, 100 + count)
        begin_s = time.perf_counter() - began
        await asyncio.sleep(1.0)
        memory, peak = resident_bytes() - idle, watch.stop() - idle

        latencies = []
        for number in range(100, 100 + SAMPLES):
            began = time.perf_counter()
            done = feed.done
            await approve(number)
            await feed.until_done(done + 1)
            latencies.append(time.perf_counter() - began)
        latencies.sort()

        watch = _Peak()
        left = iter(range(100 + SAMPLES, 100 + count))

        async def one_after_another() -> None:
            for number in left:
                await approve(number)

        began = time.perf_counter()
        await asyncio.gather(*[one_after_another() for _ in range(AT_ONCE)])
        await feed.until_done(count)
        wake_s = time.perf_counter() - began
        wake_peak = watch.stop() - idle
    return {
        "begin_rate": count / begin_s,
        "memory_mb": memory / 1e6,
        "peak_mb": peak / 1e6,
        "wake_p50_ms": percentile(latencies, 0.5) * 1e3,
        "wake_p99_ms": percentile(latencies, 0.99) * 1e3,
        "wake_all_rate": (count - SAMPLES) / wake_s,
        "wake_peak_mb": wake_peak / 1e6,
    }


async def _until_waiting(engine: Engine, count: int) -> None:
    """All have come in and wait, durably."""
    store = engine.store
    assert isinstance(store, SqliteStore)
    while store.open_runs().get("waiting", 0) < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


class _Peak:
    """The most memory between its making and ``stop``."""

    def __init__(self) -> None:
        self._most = 0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self._most = max(self._most, resident_bytes())
            await asyncio.sleep(0.05)

    def stop(self) -> int:
        self._task.cancel()
        return max(self._most, resident_bytes())
