"""F6: recovery after SIGKILL with 10,000 unfinished runs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from benchmarks import load, workload
from benchmarks.agent import requests_app, running
from benchmarks.feed import Feed
from benchmarks.measure import Bench, Line, median, run_child, start_child

FIRST_STEP_S = 3.0

_answer_of_model = workload.answer_of_model


def f6(bench: Bench) -> list[Line]:
    count = bench.size(10_000, 2_000)
    bench.say(f"SIGKILL with {count:,} unfinished runs")
    found = bench.alternate({"millstream": lambda: _killed_and_recovered(bench, count)})["millstream"]
    rate, drained = load.millstream_rate(bench), median(found, "rate")
    first = median(found, "first_step_s")
    return [
        Line(
            "F6",
            f"killed with {count:,} unfinished runs: first step",
            None,
            first,
            "s",
            None,
            f"<= {FIRST_STEP_S:g} s",
            first <= FIRST_STEP_S,
            "from the start of the process",
        ),
        Line(
            "F6",
            "drained (beside: rate of F2)",
            rate,
            drained,
            "/s",
            drained / rate,
            ">= 0.5x the rate of F2",
            drained >= 0.5 * rate,
            f"all of {count:,} done, each once; {median(found, 'again'):,.0f} tools again",
        ),
    ]


def _killed_and_recovered(bench: Bench, count: int) -> Any:
    with bench.place() as folder:
        process = start_child("benchmarks.recovery:begin", folder=folder, count=count)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the run to be killed ended by itself; see above")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        return run_child("benchmarks.recovery:recover", folder=folder, count=count, began=time.time())


async def begin(folder: str, count: int) -> None:
    """Half of the runs hang in their first model call, the others in their second, behind a tool that was called."""
    hanging = 0

    async def answer_or_hang(order: int, final: bool) -> dict[str, Any]:
        nonlocal hanging
        if final or order % 2:
            hanging += 1
            await asyncio.Event().wait()
        return await _answer_of_model(order, final)

    workload.answer_of_model = answer_or_hang
    feed = Feed()
    async with running(requests_app(feed), folder):
        feed.allow(count)
        while hanging < count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # all that they have done is durable
        print("ready", flush=True)
        await asyncio.Event().wait()


async def recover(folder: str, count: int, began: float) -> dict[str, float]:
    first = 0.0
    tools = 0

    async def answer(order: int, final: bool) -> dict[str, Any]:
        nonlocal first
        first = first or time.time()
        return await _answer_of_model(order, final)

    look_up = workload.look_up

    async def counted(order: int) -> dict[str, Any]:
        nonlocal tools
        tools += 1
        return await look_up(order)

    workload.answer_of_model = answer
    workload.look_up = counted
    feed = Feed()
    feed.looping = False
    async with running(requests_app(feed), folder):
        await feed.until_done(count)
        ended = time.time()
        await asyncio.sleep(0.2)
    if feed.done != count:
        raise RuntimeError(f"{count} runs were unfinished, and {feed.done} outputs came")
    return {"first_step_s": first - began, "rate": count / (ended - began), "again": tools - count // 2}
