"""The bare baseline: the agent request by hand on asyncio and sqlite3 (WAL, synchronous=FULL), with one commit thread.

The practical limit of plain Python here: it does this one job and nothing else. No intents, no replay, no lines of runs, no
history of states, no dedupe, no output that is written once; a crash in the tool's gap does the tool again.

``strict``: every step waits for its own record, and a commit starts as soon as the last one has returned. ``relaxed``: only
the tool and the end wait for what is before them, and a commit gathers for 5 ms.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import workload
from benchmarks.measure import percentile, resident_bytes

SCHEMA = """
CREATE TABLE journal(run INTEGER, step INTEGER, data TEXT, PRIMARY KEY(run, step)) WITHOUT ROWID;
CREATE TABLE state("key" TEXT PRIMARY KEY, data TEXT) WITHOUT ROWID;
CREATE TABLE output(run INTEGER PRIMARY KEY, data TEXT);
"""
PUT_STATE = 'INSERT INTO state VALUES (?, ?) ON CONFLICT("key") DO UPDATE SET data = excluded.data'

encode = msgspec.json.Encoder().encode


class Journal:
    """Group commit: rows gather while the last ones are written; one future for all that are written together."""

    def __init__(self, path: str, linger_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._linger_s = linger_s
        self._steps: list[tuple[int, int, bytes]] = []
        self._ends: list[tuple[str, bytes, int, bytes]] = []
        self._durable: asyncio.Future[None] = self._loop.create_future()
        self._work = threading.Event()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(SCHEMA)
        threading.Thread(target=self._commit_for_ever, daemon=True).start()

    def step(self, run: int, step: int, value: Any) -> asyncio.Future[None]:
        """Record a step; await the result to know that it is durable."""
        self._steps.append((run, step, encode(value)))
        self._work.set()
        return self._durable

    def end(self, run: int, key: str, state: Any, output: Any) -> asyncio.Future[None]:
        self._ends.append((key, encode(state), run, encode(output)))
        self._work.set()
        return self._durable

    def _take(self, box: list[Any], taken: threading.Event) -> None:
        box += [self._steps, self._ends, self._durable]
        self._steps, self._ends, self._durable = [], [], self._loop.create_future()
        taken.set()

    def _commit_for_ever(self) -> None:
        db = self._db
        while True:
            self._work.wait()
            self._work.clear()
            if self._linger_s:
                time.sleep(self._linger_s)
            box: list[Any] = []
            taken = threading.Event()
            self._loop.call_soon_threadsafe(self._take, box, taken)
            taken.wait()
            steps, ends, durable = box
            if steps or ends:
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO journal VALUES (?, ?, ?)", steps)
                db.executemany(PUT_STATE, [(key, state) for key, state, _, _ in ends])
                db.executemany("INSERT INTO output VALUES (?, ?)", [(run, output) for _, _, run, output in ends])
                db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_set, durable)


def _set(durable: asyncio.Future[None]) -> None:
    if not durable.done():  # at the end of a measurement its waiters were cancelled, and it with them
        durable.set_result(None)


def agent(journal: Journal, strict: bool) -> Callable[[dict[str, Any]], Any]:
    states: dict[str, list[Any]] = {}

    async def handle(event: dict[str, Any]) -> None:
        run, key = event["id"], event["key"]
        durable = journal.step(run, 0, event)
        if strict:
            await durable
        asked = await workload.answer_of_model(run, False)
        await journal.step(run, 1, asked)
        found = await workload.look_up(asked["args"]["order"])
        durable = journal.step(run, 2, found)
        if strict:
            await durable
        answer = await workload.answer_of_model(run, True)
        durable = journal.step(run, 3, answer)
        if strict:
            await durable
        state = states[key] = workload.remember(states.get(key, []), event["text"], answer)
        await journal.end(run, key, state, answer)

    return handle


def _open(folder: str, strict: bool) -> Callable[[dict[str, Any]], Any]:
    return agent(Journal(os.path.join(folder, "bare.db"), 0.0 if strict else 0.005), strict)


async def load(folder: str, in_flight: int, seconds: float, strict: bool) -> dict[str, float]:
    """A closed loop: so many requests in flight, for so long, after a warm-up."""
    handle = _open(folder, strict)
    latencies: list[float] = []
    numbers = iter(range(1 << 60))

    async def one_after_another() -> None:
        while True:
            began = time.perf_counter()
            await handle(workload.event(next(numbers)))
            latencies.append(time.perf_counter() - began)

    tasks = [asyncio.create_task(one_after_another()) for _ in range(in_flight)]
    await asyncio.sleep(1.0)
    latencies.clear()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    found = sorted(latencies)
    for task in tasks:
        task.cancel()
    return figures(found, took, cpu)


def figures(latencies: list[float], took: float, cpu: float) -> dict[str, float]:
    """Of a closed loop; the latencies sorted."""
    count = len(latencies)
    return {
        "rate": count / took,
        "cpu_s_per_1000": cpu / count * 1000,
        "p50_ms": percentile(latencies, 0.5) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
    }


async def burst(folder: str, count: int, latency_s: float) -> dict[str, float]:
    """All at once, with a model that takes its time."""
    workload.keys = count
    handle = _open(folder, True)
    for first in range(-workload.WARM_UP, 0, 100):
        await asyncio.gather(*[handle(workload.event(number)) for number in range(first, first + 100)])
    workload.latency_s = latency_s
    before = peak = resident_bytes()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_bytes())
            await asyncio.sleep(0.05)

    watcher = asyncio.create_task(watch())
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[handle(workload.event(number)) for number in range(count)])
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    watcher.cancel()
    return {"took_s": took, "cpu_s": cpu, "run_kb": (peak - before) / count / 1e3}


async def disk(folder: str, count: int) -> dict[str, float]:
    """Bytes a request leaves in the database."""
    handle = _open(folder, True)
    for first in range(0, count, 64):
        await asyncio.gather(*[handle(workload.event(number)) for number in range(first, min(count, first + 64))])
    path = os.path.join(folder, "bare.db")
    other = sqlite3.connect(path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {"bytes": Path(path).stat().st_size / count}  # noqa: ASYNC240
