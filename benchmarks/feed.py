"""A source and a sink in this process that close the loop: a new event when an output has come out.

The sink is told of an output by ``append``, which the engine calls after the commit that holds it: what is counted as done is
durable, with its state, its steps and its output.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from benchmarks import workload
from millstream.engine.ports import Lines


class _Output(msgspec.Struct, gc=False):
    id: int


class Feed:
    """The source. ``allow`` lets more events in; every output that comes out of ``Outlet`` lets in another while ``looping``."""

    redelivers = True
    caught_up = False  # it is measured for as long as is said
    bounded = False

    def __init__(self, event: Callable[[int], dict[str, Any]] = workload.event) -> None:
        self.latencies: list[float] = []
        self.done = 0
        self.looping = True
        self.first_done_at = 0.0
        self._event = event
        self._next = 0
        self._allowed = 0
        self._sent: dict[int, float] = {}
        self._more = asyncio.Event()
        self._goal = 0
        self._reached = asyncio.Event()
        self._encode = msgspec.json.Encoder().encode

    def as_source(self) -> Feed:
        return self

    def allow(self, count: int) -> None:
        self._allowed += count
        if self._allowed > 0:
            self._more.set()

    async def until_done(self, count: int) -> None:
        """Wait until so many have come out since the beginning."""
        self._goal = count
        self._reached.clear()
        if self.done < count:
            await self._reached.wait()

    async def open(self, name: str, position: Any | None) -> None:
        self._next = 0 if position is None else position

    async def read(self, limit: int) -> Lines:
        while self._allowed <= 0:
            self._more.clear()
            await self._more.wait()
        first, count = self._next, min(limit, self._allowed)
        self._allowed -= count
        self._next += count
        now = time.perf_counter()
        numbers = range(first, first + count)
        self._sent.update(dict.fromkeys(numbers, now))
        return Lines([self._encode(self._event(number)) for number in numbers], numbers, [], self._next)

    async def close(self) -> None:
        pass

    def came_out(self, ids: list[int], at: float) -> None:
        """Outputs have come out of the sink."""
        self.first_done_at = self.first_done_at or at
        for id in ids:
            sent = self._sent.pop(id, None)
            if sent is not None:
                self.latencies.append(at - sent)
        self.done += len(ids)
        if self.looping:
            self.allow(len(ids))
        if self.done >= self._goal:
            self._reached.set()


class Outlet:
    """The sink."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._decode = msgspec.json.Decoder(_Output).decode_lines

    def as_sink(self) -> Outlet:
        return self

    def paths(self) -> Sequence[str]:
        return ()

    def open(self, position: Any | None, pending: Iterable[bytes]) -> None:
        return None

    def append(self, chunks: Sequence[bytes]) -> None:
        now = time.perf_counter()
        ids = [output.id for chunk in chunks for output in self._decode(chunk)]
        self._loop.call_soon_threadsafe(self._feed.came_out, ids, now)

    def close(self) -> None:
        pass
